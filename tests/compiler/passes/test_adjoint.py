"""Outputs and gradients in one graph: names, values, and that nothing is computed twice."""

from pathlib import Path

import pytest

from mlc.compiler.check import check
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError, Source, Span
from mlc.compiler.graph import Input
from mlc.compiler.op import Op
from mlc.compiler.ops import OPS
from mlc.compiler.passes.adjoint import adjoint
from mlc.compiler.passes.grad import gradients
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends.truth import draw, near, weights_of
from tests.compiler.build import names, numbers, start, weight
from tests.compiler.ops.sample import make

EXAMPLES = Path(__file__).parents[3] / "examples"
SMALL = {
    "gpt": {"vocab": 7, "D": 12, "layers": 2, "heads": 3},
    "lenet": {},
    "mnist": {},
    "tiny_resnet": {},
}


def test_names_inputs_and_outputs():
    graph, b, x, ids = start(x=("B", 3), ids=("i32", ("B",)))
    weight(graph, "w", (3, 4))
    weight(graph, "mean", (3,), trainable=False)
    h = b(OPS["mul"], x, graph.weights["mean"])
    graph.outputs["y"] = b(OPS["matmul"], h, graph.weights["w"])
    graph.outputs["n"] = b(OPS["add"], ids, 1)
    found = adjoint(graph)
    check(found.graph)
    assert [x.name for x in found.graph.inputs] == ["x", "ids", "grad.y"]
    assert list(found.graph.outputs) == ["y", "n", "grad.x", "grad.w"]
    assert found.cotangents == {"y": "grad.y"}
    assert (found.inputs, found.weights) == ({"x": "grad.x"}, {"w": "grad.w"})
    assert found.graph.inputs[-1].type == graph.outputs["y"].type
    assert list(graph.outputs) == ["y", "n"]


def test_names_that_are_taken():
    graph, b, x = start(x=(3,))
    for path in ("weight", "grad.weight", "grad.x"):
        x = b(OPS["mul"], x, weight(graph, path, (3,)))
    graph.outputs["x"] = x
    found = adjoint(graph)
    assert found.cotangents == {"x": "grad.x_1"}
    assert found.inputs == {"x": "grad.x_2"}
    assert found.weights == {
        "weight": "grad.weight_1", "grad.weight": "grad.grad.weight", "grad.x": "grad.grad.x",
    }  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_examples_compute_what_the_graph_and_its_gradients_do(name, training):
    graph = load((EXAMPLES / f"{name}.mdl").read_text(), name, params=SMALL[name])
    for node in graph:
        if "rate" in node.attrs:
            node.attrs["rate"] = 0.0
    resolve(graph, training)
    found = adjoint(graph)
    check(found.graph)
    feed, weights = draw(graph), weights_of(graph)
    forward = run(graph, feed, weights)
    cotangents = {f"grad.{k}": numbers(*y.shape) for k, y in forward.outputs.items()}
    plain, _ = clone(graph)
    plain.inputs += (seeds := [Input(k, found.graph.outputs[k[5:]].type) for k in cotangents])
    leaves = [x for x in (*plain.inputs, *plain.weights.values()) if f"grad.{x.name}" in
              found.graph.outputs]  # fmt: skip
    slopes = gradients(plain, dict(zip(forward.outputs, seeds, strict=True)), leaves)
    plain.outputs |= {f"grad.{x.name}": slopes[x] for x in leaves}
    want = run(plain, feed | cotangents, weights)
    got = run(found.graph, feed | cotangents, weights)
    assert got.outputs.keys() == want.outputs.keys()
    assert got.updates.keys() == want.updates.keys()
    for key, array in (want.outputs | want.updates).items():
        near((got.outputs | got.updates)[key], array, key, tolerance=1e-9, floor=1e-6)


def test_what_is_asked_for_is_all_that_is_computed():
    graph, b, x = start(x=(2, 3))
    graph.outputs["y"] = b(OPS["matmul"], x, weight(graph, "w", (3, 4)))
    assert names(adjoint(graph, ["w"]).graph) == ["matmul", "transpose", "matmul"]
    assert list(adjoint(graph, ["w"]).graph.outputs) == ["y", "grad.w"]
    assert names(adjoint(graph, []).graph) == ["matmul"]
    with pytest.raises(MlcError, match="no input or weight v of floats"):
        adjoint(graph, ["w", "v"])


def test_forward_and_backward_share_what_a_body_computes():
    graph, b, x = start(x=(5,))
    graph.outputs["y"] = b(OPS["gelu"], x)
    assert names(adjoint(graph).graph).count("erf") == 1
    assert "gelu" not in names(adjoint(graph).graph)


def test_all_calls_of_a_block_share_too():
    text = (
        "block Twice(n):\n    in x: f32[B, D]\n    out y: like x\n\n    y = x -> linear(D) -> gelu"
    )
    text += "\n\nmodel Net():\n    in x: f32[B, 4]\n    out y: f32[B, 4]\n\n    y = x -> Twice(1)"
    graph = load(f"{text} -> Twice(2) -> Twice(1)\n")
    resolve(graph, training=False)
    assert names(adjoint(graph).graph).count("erf") == 3


def test_refusals():
    broken = Op("broken", ("x",), lambda x: x, lambda x: x, grad=None)
    graph, b, x, n = start(x=(2,), n=("i32", (2,)))
    graph.outputs["n"] = n
    with pytest.raises(MlcError, match="no output of net is of floats") as caught:
        adjoint(graph)
    b.span = Span(Source("m.mdl", "y = broken(x)"), 1, 5, 1, 14)
    graph.outputs["y"] = b(broken, x)
    with pytest.raises(MlcError, match="broken has no gradient") as caught:
        adjoint(graph)
    assert (caught.value.code, caught.value.span) == ("gradient", b.span)


@pytest.mark.parametrize(
    ("name", "part"),
    [("sdpa", "softmax"), ("layer_norm", "square"), ("rms_norm", "square"), ("group_norm", "mean")],
)
def test_forward_takes_from_the_backward_what_an_op_of_its_own_gradient_computes(name, part):
    sample = make(OPS[name], 0)
    found = names(adjoint(sample.graph).graph)
    assert name not in found
    assert found.count(part) == {"mean": 4}.get(part, 1)


def test_an_op_stays_where_the_backward_computes_little_of_it():
    graph, b, x = start(x=(2, 3))
    graph.outputs["y"] = b(OPS["softmax"], x, axis=1)
    assert names(adjoint(graph).graph)[0] == "softmax"
