"""What spells an op becomes the op, and nothing else does."""

import math

import pytest

from mlc.compiler.check import check, neutral
from mlc.compiler.clone import clone
from mlc.compiler.dim import symbol
from mlc.compiler.match import Pattern, fuse
from mlc.compiler.ops import OPS
from mlc.compiler.passes.dce import dce
from mlc.compiler.passes.expand import expand
from tests.compiler.build import names, start, weight
from tests.compiler.passes.test_clean import blocks

B = symbol("B")
CORE = frozenset(op for op in OPS.values() if op.body is None)


def op(name):
    return OPS[name]


def fused(graph, *ops):
    """The ops of the graph after fusing, having checked that it is sound and equal."""
    before, _ = clone(graph)
    count = sum(fuse(graph, op(name)) for name in ops)
    check(graph, "fuse")
    dce(graph)
    neutral(before, graph, "fuse")
    return count, [name for name in names(graph) if name != "constant"]


def softmax(b, x, axis):
    e = b(op("exp"), b(op("sub"), x, b(op("max"), x, axes=(axis,), keep=True)))
    return b(op("div"), e, b(op("sum"), e, axes=(axis,), keep=True))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis):
    graph, b, x = start(x=("B", 3, 4))
    graph.outputs["y"] = softmax(b, x, axis)
    assert fused(graph, "softmax") == (1, ["softmax"])
    assert graph.outputs["y"].node.attrs["axis"] == axis


def test_a_softmax_over_other_axes_in_its_parts_is_none():
    graph, b, x = start(x=(3, 3))
    e = b(op("exp"), b(op("sub"), x, b(op("max"), x, axes=(0,), keep=True)))
    graph.outputs["y"] = b(op("div"), e, b(op("sum"), e, axes=(1,), keep=True))
    assert fuse(graph, op("softmax")) == 0


def test_what_is_used_elsewhere_is_not_taken():
    graph, b, x = start(x=("B", 3))
    graph.outputs["y"] = softmax(b, x, 1)
    graph.outputs["e"] = graph.outputs["y"].node.inputs[0]
    assert fuse(graph, op("softmax")) == 0


def test_gelu_with_its_operands_turned_round():
    graph, b, x = start(x=("B", 3))
    curve = b(op("erf"), b(op("mul"), b.constant(math.sqrt(0.5)), x))
    graph.outputs["y"] = b(op("mul"), b(op("add"), b.constant(1.0), curve), b(op("mul"), x, 0.5))
    assert fused(graph, "gelu") == (1, ["gelu"])
    assert graph.outputs["y"].node.attrs == {"approximate": "none"}


def test_gelu_by_tanh():
    graph, b, x = start(x=("B", 3))
    graph.outputs["y"] = op("gelu").body(b, x, approximate="tanh")
    assert fused(graph, "gelu") == (1, ["gelu"])
    assert graph.outputs["y"].node.attrs == {"approximate": "tanh"}


def test_gelu_with_another_number_is_none():
    graph, b, x = start(x=("B", 3))
    curve = b(op("erf"), b(op("mul"), x, 0.7))
    graph.outputs["y"] = b(op("mul"), b(op("mul"), x, 0.5), b(op("add"), curve, 1.0))
    assert fuse(graph, op("gelu")) == 0


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm(bias):
    graph, b, x = start(x=("B", 3, 4))
    w = weight(graph, "w", (4,), "ones")
    shift = weight(graph, "b", (4,)) if bias else None
    body = op("layer_norm").body
    graph.outputs["y"] = body(b, x, w, shift, axes=(2,), eps=1e-3, affine=True, bias=bias)
    assert fused(graph, "layer_norm") == (1, ["layer_norm"])
    node = graph.outputs["y"].node
    assert node.inputs == (x, w, shift)
    assert node.attrs == {"axes": (2,), "eps": 1e-3, "affine": True, "bias": bias}


def test_linear_takes_its_size_from_the_weight():
    graph, b, x = start(x=("B", 5))
    w, shift = weight(graph, "w", (7, 5)), weight(graph, "b", (7,))
    graph.outputs["y"] = b(op("add"), shift, b(op("matmul"), x, b(op("transpose"), w)))
    assert fused(graph, "linear") == (1, ["linear"])
    assert graph.outputs["y"].node.attrs == {"features": 7, "bias": True}


def test_a_number_is_a_hole():
    graph, b, x = start(x=("B", 3))
    graph.outputs["y"] = op("leaky_relu").body(b, x, slope=0.3)
    graph.outputs["z"] = op("elu").body(b, graph.outputs["y"], alpha=0.7)
    count, left = fused(graph, "elu", "leaky_relu")
    assert (count, left) == (2, ["leaky_relu", "elu"])
    assert graph.outputs["y"].node.attrs == {"slope": 0.3}
    assert graph.outputs["z"].node.attrs == {"alpha": 0.7}


def test_another_spelling():
    def hypot(b, x):
        return b(op("sqrt"), b(op("sum"), b(op("square"), x), axes=None, keep=False))

    graph, b, x = start(x=("B", 3))
    graph.outputs["y"] = hypot(b, x)
    assert fuse(graph, op("l2_norm"), lambda b, x, axes, keep: hypot(b, x)) == 1
    assert graph.outputs["y"].node.op is op("l2_norm")


def test_patterns_fire_in_all_instances_or_none():
    graph, _, x = start(x=("B", 3))

    def either(b, x, i):
        y = softmax(b, x, 1)
        if i == 1:
            graph.outputs["e"] = y.node.inputs[0]
        return y

    graph.outputs["y"] = blocks(graph, x, 3, either)
    assert fuse(graph, op("softmax")) == 0
    del graph.outputs["e"]
    assert fused(graph, "softmax") == (3, ["softmax"] * 3)


def test_find_names_the_nodes():
    graph, b, x = start(x=("B", 3))
    y = softmax(b, x, 1)
    pattern = Pattern(op("softmax"), *op("softmax").patterns)
    found = pattern.find(y.node)
    assert found.inputs == (x,)
    assert found.nodes == {*graph}
    assert pattern.find(y.node.inputs[0].node) is None


BACK = [
    "softmax",
    "log_softmax",
    "gelu",
    "silu",
    "softplus",
    "mish",
    "logsumexp",
    "glu",
    "rms_norm",
]


@pytest.mark.parametrize("name", BACK)
def test_every_body_is_found_again(name):
    graph, b, x = start(x=(2, 4))
    attrs = {"affine": False} if name == "rms_norm" else {}
    weights = [None] * len(op(name).weights)
    node = b.node(op(name), [x, *weights], attrs)
    graph.outputs["y"] = node.output
    wanted = dict(node.attrs)
    inner = op(name).body
    probe, pb, px = start(x=(2, 4))
    inner(pb, px, *weights, **wanted)
    expand(graph, {n.op for n in probe} | CORE)
    assert fused(graph, name) == (1, [name])
    assert graph.outputs["y"].node.attrs == wanted


def test_a_large_graph_is_searched_quickly():
    graph, b, x = start(x=("B", 8))
    for _ in range(60):
        x = softmax(b, b(op("add"), x, b(op("tanh"), x)), 1)
    graph.outputs["y"] = x
    assert fuse(graph, op("softmax")) == 60
