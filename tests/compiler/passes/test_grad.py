"""Reverse mode: against central differences, and in what it builds."""

import numpy as np
import pytest

from mlc.compiler.check import check
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError, Source, Span
from mlc.compiler.graph import Input, Type
from mlc.compiler.op import Op
from mlc.compiler.ops import OPS
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from tests.compiler.build import names, numbers, start, weight


def with_cotangents(graph, outputs=None):
    """An input for the cotangent of each output, named `d` and the output's name."""
    given = {}
    for name in outputs or graph.outputs:
        given[name] = Input(f"d{name}", graph.outputs[name].type)
        graph.inputs.append(given[name])
    return given


def assert_numeric(graph, feed, weights=None, wrt=None, at=1e-6):
    """Gradients of all float inputs and weights equal central differences in random directions."""
    weights = weights or {}
    forward, _ = clone(graph)
    wrt = wrt or [v for v in (*graph.inputs, *graph.weights.values()) if v.type.floating]
    cotangents = with_cotangents(graph)
    found = gradients(graph, cotangents, wrt)
    check(graph, "gradients")
    for value, gradient in found.items():
        graph.outputs[f"grad {value.name}"] = gradient
    first = run(forward, feed, weights)
    seeds = {f"d{k}": numbers(*v.shape, seed=i) for i, (k, v) in enumerate(first.outputs.items())}
    got = run(graph, {**feed, **seeds}, weights).outputs
    for value in wrt:
        place = feed if isinstance(value, Input) else weights
        direction = numbers(*np.shape(place[value.name]), seed=7)
        ends = []
        for sign in (1, -1):
            moved = {value.name: place[value.name] + sign * at * direction}
            nearby = run(
                forward,
                {**feed, **moved} if place is feed else feed,
                {**weights, **moved} if place is weights else weights,
            )
            ends.append(sum(np.sum(v * seeds[f"d{k}"]) for k, v in nearby.outputs.items()))
        numeric = (ends[0] - ends[1]) / (2 * at)
        analytic = np.sum(got[f"grad {value.name}"] * direction)
        np.testing.assert_allclose(analytic, numeric, rtol=1e-5, atol=1e-7, err_msg=value.name)


def test_a_net_with_shared_tied_and_broken_paths():
    graph, b, x, ids = start(x=("B", 3), ids=("i32", ("B",)))
    w = weight(graph, "w", (3, 3))
    table = weight(graph, "table", (5, 3))
    h = b(OPS["tanh"], b(OPS["matmul"], x, w))
    h = b(OPS["mul"], h, b(OPS["matmul"], h, b(OPS["transpose"], w)))
    h = b(OPS["add"], h, b(OPS["embedding"], ids, table, count=5, width=3))
    graph.outputs["y"] = b(OPS["matmul"], b(OPS["gelu"], h), b(OPS["transpose"], table))
    graph.outputs["z"] = b(OPS["sum"], b(OPS["softmax"], h, axis=-1), axes=(0,))
    feed = {"x": numbers(2, 3), "ids": np.array([4, 1])}
    assert_numeric(graph, feed, {"w": numbers(3, 3, seed=1), "table": numbers(5, 3, seed=2)})


def test_several_outputs_of_one_node():
    graph, b, x = start(x=(2, 6))
    first, _, third = b(OPS["split"], x, parts=3, axis=1)
    graph.outputs["y"] = b(OPS["mul"], first, b(OPS["exp"], third))
    assert_numeric(graph, {"x": numbers(2, 6)})


def test_absent_inputs():
    graph, b, x = start(x=(2, 3))
    w = weight(graph, "w", (4, 3))
    graph.outputs["y"] = b(OPS["linear"], x, w, None, features=4, bias=False)
    assert_numeric(graph, {"x": numbers(2, 3)}, {"w": numbers(4, 3)})


def test_an_output_that_is_an_input():
    graph, b, x = start(x=(2,))
    graph.outputs["x"] = x
    graph.outputs["y"] = b(OPS["square"], x)
    assert_numeric(graph, {"x": numbers(2)})


def test_a_value_on_the_way():
    graph, b, x = start(x=(2,))
    h = b(OPS["square"], x)
    graph.outputs["y"] = b(OPS["exp"], h)
    graph.outputs["h"] = h
    cotangents = with_cotangents(graph, ["y"])
    graph.outputs["dh"] = gradients(graph, cotangents, [h])[h]
    got = run(graph, {"x": [0.5, 2.0], "dy": [1.0, 1.0]}, {}).outputs
    np.testing.assert_allclose(got["dh"], np.exp([0.25, 4.0]))


def test_what_nothing_depends_on_is_zeros_of_its_shape():
    graph, b, x, z = start(x=("B", 3), z=("B", 2))
    graph.outputs["y"] = b(OPS["add"], x, b(OPS["cast"], b(OPS["round"], x), dtype="f32"))
    w = weight(graph, "w", ())
    found = gradients(graph, with_cotangents(graph), [z, w])
    check(graph)
    graph.outputs = {"dz": found[z], "dw": found[w]}
    got = run(graph, {"x": numbers(4, 3), "z": numbers(4, 2), "dy": numbers(4, 3)}, {"w": 1.0})
    assert got.outputs["dz"].shape == (4, 2)
    assert got.outputs["dw"].shape == ()
    assert not got.outputs["dz"].any()
    assert got.outputs["dw"] == 0


def test_integers_and_comparisons_stop_it():
    graph, b, x = start(x=(3,))
    chosen = b(OPS["where"], b(OPS["greater"], x, 0.0), x, b(OPS["mul"], x, 3.0))
    whole = b(OPS["cast"], b(OPS["cast"], x, dtype="i32"), dtype="f32")
    graph.outputs["y"] = b(OPS["mul"], chosen, whole)
    assert_numeric(graph, {"x": np.array([1.5, -2.5, 3.25])})


def test_nothing_is_computed_that_nobody_asked_for():
    graph, b, x = start(x=(2, 3))
    w = weight(graph, "w", (3, 4))
    graph.outputs["y"] = b(OPS["matmul"], x, w)
    forward = len(graph)
    found = gradients(graph, with_cotangents(graph), [w])
    assert names(graph)[forward:] == ["transpose", "matmul"]
    assert list(found) == [w]
    assert gradients(graph, {"y": graph.inputs[-1]}, []) == {}
    assert names(graph)[forward:] == ["transpose", "matmul"]


def test_gradients_through_a_body_leave_none_of_the_forward_that_they_do_not_need():
    graph, b, x = start(x=(2, 3))
    graph.outputs["y"] = b(OPS["flatten"], x, start=0)
    found = gradients(graph, with_cotangents(graph), [x])
    graph.outputs["dx"] = found[x]
    assert names(graph) == ["flatten", "reshape"]


def test_new_nodes_stand_where_the_forward_does():
    graph, b, x = start(x=(2,))
    b.site, b.span = 5, Span(Source("m.mdl", "y = exp(x)"), 1, 1, 1, 5)
    graph.outputs["y"] = b(OPS["exp"], x)
    graph.outputs["dx"] = gradients(graph, with_cotangents(graph), [x])[x]
    node = graph.outputs["dx"].node
    assert (node.site, node.span, node.scope) == (5, b.span, graph.root)


def test_an_op_without_a_gradient_is_named():
    broken = Op("broken", ("x",), lambda x: x, lambda x: x, grad=None)
    graph, b, x, z = start(x=(2,), z=(2,))
    b.span = Span(Source("m.mdl", "y = broken(x)"), 1, 5, 1, 14)
    graph.outputs["y"] = b(OPS["add"], b(broken, x), z)
    cotangents = with_cotangents(graph)
    with pytest.raises(MlcError, match="broken has no gradient") as caught:
        gradients(graph, cotangents, [x])
    assert (caught.value.code, caught.value.span) == ("gradient", b.span)
    assert gradients(graph, cotangents, [z])[z].type == Type("f32", (2,))


def test_second_derivatives():
    graph, b, x = start(x=(3,))
    graph.outputs["y"] = b(OPS["mul"], b(OPS["square"], x), x)
    graph.outputs["dy/dx"] = gradients(graph, with_cotangents(graph), [x])[x]
    del graph.outputs["y"]
    assert_numeric(graph, {"x": numbers(3), "dy": numbers(3, seed=1)}, wrt=[x])
