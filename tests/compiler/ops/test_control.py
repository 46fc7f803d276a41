"""Ops with blocks: what they compute, their types, and their reverse mode, against PyTorch."""

import numpy as np
import pytest
import torch

from mlc.compiler.check import check
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Input
from mlc.compiler.ops import OPS, control
from mlc.compiler.ops.control import IF, WHILE, scan
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from tests.compiler.build import names, numbers, start, weight


def recurrent(axis=1, reverse=False, shape=("B", "T", 3)):
    """h = tanh(x_t @ w + h @ u), collected; a running sum of numbers beside it."""
    inner = [size for i, size in enumerate(shape) if i != axis]
    graph, b, x, h0 = start(x=shape, h0=(*inner[:-1], 4))
    w, u = weight(graph, "w", (3, 4)), weight(graph, "u", (4, 4))

    def step(b, carries, elements, captured):
        h, total = carries
        (x_t,), (w, u) = elements, captured
        h = b(OPS["tanh"], b(OPS["add"], b(OPS["matmul"], x_t, w), b(OPS["matmul"], h, u)))
        size = b(OPS["sum"], b(OPS["mul"], h, h), axes=None)
        return (h, b(OPS["add"], total, size)), (h, size)

    total = b.constant(0.5, "f32")
    (last, total), (hs, sizes) = scan(
        b, step, (h0, total), (x,), (w, u), axis=axis, reverse=reverse
    )
    graph.outputs = {"last": last, "total": total, "hs": hs, "sizes": sizes}
    return graph


def oracle(x, h, w, u, axis, reverse):
    total, hs, sizes = torch.tensor(0.5, dtype=torch.float64), [], []
    steps = x.unbind(axis)
    for x_t in reversed(steps) if reverse else steps:
        h = torch.tanh(x_t @ w + h @ u)
        sizes.append((h * h).sum())
        total = total + sizes[-1]
        hs.append(h)
    if reverse:
        hs, sizes = hs[::-1], sizes[::-1]
    return {
        "last": h, "total": total, "hs": torch.stack(hs, min(axis, 2)), "sizes": torch.stack(sizes),
    }  # fmt: skip


@pytest.mark.parametrize(("axis", "reverse"), [(1, False), (0, True), (1, True)])
def test_a_scan_and_its_gradient_are_those_of_a_loop_in_torch(axis, reverse):
    shape = ("B", "T", 3) if axis else ("T", "B", 3)
    graph = recurrent(axis, reverse, shape)
    check(graph)
    arrays = {
        "x": numbers(2, 5, 3) if axis else numbers(5, 2, 3), "h0": numbers(2, 4, seed=1),
        "w": numbers(3, 4, seed=2), "u": numbers(4, 4, seed=3),
    }  # fmt: skip
    given = {k: torch.tensor(a, requires_grad=True) for k, a in arrays.items()}
    truth = oracle(given["x"], given["h0"], given["w"], given["u"], axis, reverse)
    seeds = {name: numbers(*y.shape, seed=9) for name, y in truth.items()}
    sum((y * torch.tensor(seeds[name])).sum() for name, y in truth.items()).backward()

    cotangents = {n: Input(f"d{n}", v.type) for n, v in graph.outputs.items()}
    graph.inputs += cotangents.values()
    leaves = [*graph.inputs[:2], *graph.weights.values()]
    found = gradients(graph, cotangents, leaves)
    check(graph, "gradients")
    graph.outputs |= {f"grad.{leaf.name}": g for leaf, g in found.items()}
    assert names(graph).count("scan") == 2, "the forward scan is replaced, not repeated"

    feed = {**{k: arrays[k] for k in ("x", "h0")}, **{f"d{n}": s for n, s in seeds.items()}}
    result = run(graph, feed, {k: arrays[k] for k in ("w", "u")}).outputs
    for name, y in truth.items():
        np.testing.assert_allclose(result[name], y.detach().numpy(), rtol=1e-12)
    for name, leaf in given.items():
        np.testing.assert_allclose(result[f"grad.{name}"], leaf.grad.numpy(), rtol=1e-9)


def test_only_what_the_way_back_reads_is_kept():
    graph, b, x = start(x=("T", 3))
    (last,), _ = scan(
        b,
        lambda b, c, e, k: ((b(OPS["add"], *c, *e),), ()),
        (b.constant(np.zeros(3), "f32"),),
        (x,),
    )
    graph.outputs = {"y": last}
    seed = Input("dy", last.type)
    graph.inputs.append(seed)
    (gradient,) = gradients(graph, {"y": seed}, [x]).values()
    graph.outputs["dx"] = gradient
    check(graph)
    assert len(graph.outputs["y"].node.outputs) == 1
    result = run(graph, {"x": numbers(4, 3), "dy": np.arange(3.0)}, {}).outputs
    np.testing.assert_array_equal(result["dx"], np.tile(np.arange(3.0), (4, 1)))


def test_a_scan_within_a_scan_is_differentiated_twice():
    """z = x0**3 * x1**3 ...: the inner loop multiplies three times."""
    graph, b, x = start(x=("T",))

    def outer(b, carries, elements, captured):
        def inner(b, carries, places, captured):
            return (b(OPS["mul"], carries[0], captured[0]),), ()

        places = b(OPS["iota"], size=3)
        last, _ = scan(b, inner, carries, (places,), elements)
        return last, ()

    (y,), _ = scan(b, outer, (b.constant(1.0),), (x,))
    graph.outputs = {"y": y}
    one = b.constant(1.0)
    (first,) = gradients(graph, {"y": one}, [x]).values()
    graph.outputs["first"] = first
    ones = Input("ones", first.type)
    graph.inputs.append(ones)
    (graph.outputs["second"],) = gradients(graph, {"first": ones}, [x]).values()
    check(graph)
    array = np.array([1.5, -0.5, 2.0])

    def cube(x):
        return (x**3).prod()

    given = torch.tensor(array, requires_grad=True)
    (slope,) = torch.autograd.grad(cube(given), given, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), given)
    result = run(graph, {"x": array, "ones": np.ones(3)}, {}).outputs
    np.testing.assert_allclose(result["first"], slope.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(result["second"], curve.numpy(), rtol=1e-12)


def test_copies_are_deep():
    graph = recurrent()
    copy, _ = clone(graph)
    check(copy)
    (node,) = (n for n in graph if n.blocks)
    (twin,) = (n for n in copy if n.blocks)
    assert not {*node.blocks[0].nested()} & {*twin.blocks[0].nested()}


def test_what_is_carried_keeps_its_type():
    _, b, x = start(x=("T", 3))
    with pytest.raises(MlcError, match="carries") as error:
        scan(b, lambda b, c, e, k: (e, ()), (b.constant(0.0),), (x,))
    assert error.value.code == "carry"


def test_what_is_gone_through_together_has_one_length():
    _, b, x, y = start(x=(4, 3), y=(5,))
    with pytest.raises(MlcError, match="differ in length"):
        scan(b, lambda b, c, e, k: ((), e), (), (x, y))


def test_noise_is_drawn_in_each_step():
    graph = recurrent()
    seen = []

    def perturb(node, arrays, results):
        seen.append(node.op.name)
        return results

    feed = {"x": numbers(2, 5, 3), "h0": numbers(2, 4)}
    run(graph, feed, {"w": numbers(3, 4), "u": numbers(4, 4)}, perturb=perturb)
    assert seen.count("tanh") == 5
    assert seen.count("scan") == 1


def choosing():
    """y = x * w if the sum of x is above 0, else tanh(x); z is x or a constant."""
    graph, b, x = start(x=("B", 3))
    w = weight(graph, "w", (3,))
    going = b(OPS["greater"], b(OPS["sum"], x, axes=None), 0.0)
    types = {"x": x.type, "w": w.type}
    then = b.block(types, lambda b, x, w: (b(OPS["mul"], x, w), x))
    orelse = b.block(types, lambda b, x, w: (b(OPS["tanh"], x), b(OPS["neg"], x)))
    y, z = b(IF, going, x, w, blocks=(then, orelse))
    graph.outputs = {"y": y, "z": z}
    return graph


@pytest.mark.parametrize("sign", [1, -1])
def test_a_choice_and_its_gradient(sign):
    graph = choosing()
    check(graph)
    arrays = {"x": sign * np.abs(numbers(2, 3)), "w": numbers(3, seed=1)}
    x, w = (torch.tensor(a, requires_grad=True) for a in arrays.values())
    truth = {"y": x * w, "z": x} if sign > 0 else {"y": torch.tanh(x), "z": -x}
    seeds = {name: numbers(2, 3, seed=i) for i, name in enumerate(truth, 5)}
    sum((y * torch.tensor(seeds[name])).sum() for name, y in truth.items()).backward()
    cotangents = {n: Input(f"d{n}", v.type) for n, v in graph.outputs.items()}
    graph.inputs += cotangents.values()
    found = gradients(graph, cotangents, [graph.inputs[0], graph.weights["w"]])
    check(graph, "gradients")
    graph.outputs |= {f"grad.{leaf.name}": g for leaf, g in found.items()}
    feed = {"x": arrays["x"], **{f"d{n}": seed for n, seed in seeds.items()}}
    result = run(graph, feed, {"w": arrays["w"]}).outputs
    np.testing.assert_allclose(result["y"], truth["y"].detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(result["grad.x"], x.grad.numpy(), rtol=1e-12)
    slope = np.zeros(3) if w.grad is None else w.grad.numpy()
    np.testing.assert_allclose(result["grad.w"], slope, rtol=1e-12)


def halving(bound):
    """x is multiplied by w as long as its largest element is above 1."""
    graph, b, x, w = start(x=("B",), w=())
    types = {"x": x.type, "w": w.type}
    going = b.block(types, lambda b, x, w: (b(OPS["greater"], b(OPS["max"], x, axes=None), 1.0),))
    step = b.block(types, lambda b, x, w: (b(OPS["mul"], x, w),))
    graph.outputs = {"y": b(WHILE, x, w, carried=1, bound=bound, blocks=(going, step))}
    return graph


@pytest.mark.parametrize("bound", [None, 2, 9])
def test_a_loop_runs_as_long_as_its_condition_holds(bound):
    graph = halving(bound)
    check(graph)
    array = np.array([5.0, 3.0])
    times = min(bound or 9, 3)
    result = run(graph, {"x": array, "w": np.array(0.5)}, {}).outputs
    np.testing.assert_array_equal(result["y"], array * 0.5**times)
    expand(graph, lambda node: node.op is WHILE and bound is None)
    check(graph)
    result = run(graph, {"x": array, "w": np.array(0.5)}, {}).outputs
    np.testing.assert_array_equal(result["y"], array * 0.5**times)


def test_a_loop_with_a_bound_has_a_gradient_and_another_has_none():
    graph = halving(9)
    x, w = graph.inputs
    seed = Input("dy", graph.outputs["y"].type)
    graph.inputs.append(seed)
    found = gradients(graph, {"y": seed}, [x, w])
    check(graph, "gradients")
    graph.outputs = {leaf.name: value for leaf, value in found.items()}
    array, slope = np.array([5.0, 3.0]), np.array([1.0, 2.0])
    result = run(graph, {"x": array, "w": np.array(0.5), "dy": slope}, {}).outputs
    np.testing.assert_allclose(result["x"], slope * 0.5**3)
    np.testing.assert_allclose(result["w"], np.sum(slope * array) * 3 * 0.5**2)
    graph = halving(None)
    seed = Input("dy", graph.outputs["y"].type)
    graph.inputs.append(seed)
    with pytest.raises(MlcError, match="without a bound has no gradient") as error:
        gradients(graph, {"y": seed}, graph.inputs[:1])
    assert error.value.code == "gradient"


def test_conditions_are_one_bool():
    _, b, x = start(x=(3,))
    block = b.block({}, lambda b: (b.constant(0.0),))
    with pytest.raises(MlcError, match="takes one bool") as error:
        b(IF, b(OPS["greater"], x, 0.0), blocks=(block, block))
    assert error.value.code == "dtype"


def test_a_loop_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(control, "MOST", 50)
    graph = halving(None)
    with pytest.raises(MlcError, match="goes on for more than 50 steps") as error:
        run(graph, {"x": np.array([5.0]), "w": np.array(1.0)}, {})
    assert error.value.code == "limit"
