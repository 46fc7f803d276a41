"""Fold, algebra, cse and dce, op by op."""

import math

import numpy as np
import pytest

from mlc.compiler.check import check, neutral
from mlc.compiler.clone import clone
from mlc.compiler.dim import symbol
from mlc.compiler.expr import parse
from mlc.compiler.graph import Definition, Loop, Scope
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.passes.algebra import algebra
from mlc.compiler.passes.cse import cse
from mlc.compiler.passes.dce import dce
from mlc.compiler.passes.fold import fold
from tests.compiler.build import names, start, weight

SIZE = symbol("B")


def op(name):
    return OPS[name]


# ---------------------------------------------------------------------------------------- algebra

GONE = {
    "identity": lambda b, x: b(op("identity"), x),
    "x - 0.0": lambda b, x: b(op("sub"), x, 0.0),
    "x + -0.0": lambda b, x: b(op("add"), x, -0.0),
    "-0.0 + x": lambda b, x: b(op("add"), b.constant(-0.0), x),
    "x * 1": lambda b, x: b(op("mul"), x, 1),
    "1.0 * x": lambda b, x: b(op("mul"), b.constant(1.0), x),
    "x / 1": lambda b, x: b(op("div"), x, 1),
    "-(-x)": lambda b, x: b(op("neg"), b(op("neg"), x)),
    "max(x, x)": lambda b, x: b(op("maximum"), x, x),
    "transpose twice": lambda b, x: b(op("transpose"), b(op("transpose"), x)),
    "transpose by identity": lambda b, x: b(op("transpose"), x, axes=(0, 1, 2)),
    "three rotations": lambda b, x: b(
        op("transpose"),
        b(op("transpose"), b(op("transpose"), x, axes=(1, 2, 0)), axes=(1, 2, 0)),
        axes=(1, 2, 0),
    ),
    "reshape to its shape": lambda b, x: b(op("reshape"), x, shape=(SIZE, 3, 4)),
    "reshape and back": lambda b, x: b(
        op("reshape"), b(op("reshape"), x, shape=(-1,)), shape=(SIZE, 3, 4)
    ),
    "expand to its shape": lambda b, x: b(op("expand"), x, shape=(SIZE, 3, 4)),
    "cast to its dtype": lambda b, x: b(op("cast"), x, dtype="f32"),
    "cast there and back": lambda b, x: b(op("cast"), b(op("cast"), x, dtype="f64"), dtype="f32"),
    "pad by nothing": lambda b, x: b(op("pad"), x, pads=((0, 0),) * 3),
    "the whole slice": lambda b, x: b(op("slice"), x, starts=(0,), ends=(3,), axes=(1,)),
    "concat of one": lambda b, x: b(op("concat"), x, axis=1),
    "flip of no axis": lambda b, x: b(op("flip"), x, axes=()),
    "tile once": lambda b, x: b(op("tile"), x, repeats=(1, 1, 1)),
    "flatten of one axis": lambda b, x: b(op("flatten"), x, start=1, end=1),
    "where of equals": lambda b, x: b(op("where"), b(op("less"), x, 0.0), x, x),
}


@pytest.mark.parametrize("build", GONE.values(), ids=GONE)
def test_goes(build):
    graph, b, x = start(x=("B", 3, 4))
    graph.outputs["y"] = build(b, x)
    before, _ = clone(graph)
    assert algebra(graph) > 0
    check(graph)
    neutral(before, graph)
    dce(graph)
    assert graph.outputs["y"] is x
    assert names(graph) == []


STAYS = {
    "x + 0.0 (of -0.0)": lambda b, x: b(op("add"), x, 0.0),
    "x - -0.0": lambda b, x: b(op("sub"), x, -0.0),
    "x * 0.0": lambda b, x: b(op("mul"), x, 0.0),
    "x - x": lambda b, x: b(op("sub"), x, x),
    "1 - x": lambda b, x: b(op("sub"), b.constant(1.0), x),
    "1 / x": lambda b, x: b(op("div"), b.constant(1.0), x),
    "cast through f16": lambda b, x: b(op("cast"), b(op("cast"), x, dtype="f16"), dtype="f32"),
    "cast through i32": lambda b, x: b(op("cast"), b(op("cast"), x, dtype="i32"), dtype="f32"),
    "one that broadcasts": lambda b, x: b(
        op("mul"), b(op("slice"), x, starts=(0,), ends=(1,), axes=(1,)), ones(b)
    ),
    "every second element": lambda b, x: b(
        op("slice"), x, starts=(0,), ends=(3,), steps=(2,), axes=(1,)
    ),
    "stop_gradient": lambda b, x: b(op("stop_gradient"), x),
    "reshape of as many elements": lambda b, x: b(op("reshape"), x, shape=(SIZE, 4, 3)),
}


def ones(b):
    return b(op("expand"), b.constant(1.0), shape=(SIZE, 3, 4))


@pytest.mark.parametrize("build", STAYS.values(), ids=STAYS)
def test_stays(build):
    graph, b, x = start(x=("B", 3, 4))
    graph.outputs["y"] = build(b, x)
    before = names(graph)
    assert algebra(graph) == 0
    assert names(graph) == before


def test_pairs_become_one():
    graph, b, x = start(x=("B", 3, 4))
    y = b(op("transpose"), b(op("transpose"), x, axes=(1, 2, 0)), axes=(2, 1, 0))
    y = b(op("reshape"), b(op("reshape"), y, shape=(-1,)), shape=(12, SIZE))
    y = b(op("relu"), b(op("relu"), y))
    graph.outputs["y"] = b(op("cast"), b(op("cast"), y, dtype="f64"), dtype="f16")
    before, _ = clone(graph)
    apply(graph, CLEAN)
    check(graph)
    neutral(before, graph)
    assert names(graph) == ["transpose", "reshape", "relu", "cast"]


def test_integers_add_zero():
    graph, b, n = start(n=("i32", ("B",)))
    graph.outputs["y"] = b(op("add"), n, 0)
    assert algebra(graph) == 1
    assert graph.outputs["y"] is n


def test_what_came_from_a_hyper_parameter_stays():
    graph, b, x = start(x=("B", 3))
    factor = b.constant(1.0)
    factor.node.exprs["value"] = parse("scale")
    y = b(op("mul"), x, factor)
    shaped = b.node(op("reshape"), [y], {"shape": (SIZE, 3)}, exprs={"shape": parse("(B, width)")})
    graph.outputs["y"] = shaped.output
    assert apply(graph, CLEAN) == 0
    assert names(graph) == ["constant", "mul", "reshape"]


# ------------------------------------------------------------------------------------------- fold


def test_numbers_are_computed():
    graph, b, x = start(x=(2,))
    half = b(op("div"), b.constant(1.0), b.constant(8.0))
    graph.outputs["y"] = b(op("mul"), x, b(op("sqrt"), b(op("mul"), half, 2)))
    assert fold(graph) == 3
    dce(graph)
    constant, _ = graph
    assert constant.attrs == {"value": 0.5, "dtype": "f32"}
    check(graph)


def test_small_arrays_are_computed_and_large_results_are_not():
    graph, b, _x = start(x=(2,))
    small = b.constant(np.arange(6).reshape(2, 3), "i32")
    graph.outputs["small"] = b(op("transpose"), b(op("mul"), small, 2))
    graph.outputs["large"] = b(op("expand"), b.constant(0.0), shape=(4, 4))
    many = b.constant(np.zeros(100))
    graph.outputs["many"] = b(op("exp"), many)
    graph.outputs["infinite"] = b(op("log"), b.constant(0.0))
    graph.outputs["position"] = b(op("iota"), size=4)
    before, _ = clone(graph)
    apply(graph, CLEAN)
    check(graph)
    neutral(before, graph)
    assert graph.outputs["small"].node.attrs["value"].tolist() == [[0, 6], [2, 8], [4, 10]]
    made = {name: value.node.op.name for name, value in graph.outputs.items()}
    assert made == {
        "small": "constant", "large": "expand", "many": "exp", "infinite": "log",
        "position": "iota",
    }  # fmt: skip


def test_numbers_keep_their_kind():
    graph, b, _x = start(x=(2,))
    graph.outputs["b"] = b(op("less"), b.constant(1.0), b.constant(2.0))
    graph.outputs["i"] = b(op("neg"), b.constant(3, "i32"))
    graph.outputs["z"] = b(op("neg"), b.constant(0.0))
    fold(graph)
    values = {name: value.node.attrs["value"] for name, value in graph.outputs.items()}
    assert values["b"] is True
    assert (values["i"], type(values["i"])) == (-3, int)
    assert math.copysign(1, values["z"]) == -1
    check(graph)


# --------------------------------------------------------------------------------------- cse, dce


def test_equal_nodes_merge_and_so_do_their_users():
    graph, b, x = start(x=("B", 3))
    twice = [b(op("softmax"), b(op("exp"), x), axis=1) for _ in range(2)]
    graph.outputs["y"] = b(op("add"), *twice)
    assert cse(graph) == 2
    check(graph)
    assert names(graph) == ["exp", "softmax", "add"]


def test_only_what_is_the_same_merges():
    graph, b, x = start(x=("B", 3))
    w, v = weight(graph, "w", (3, 3)), weight(graph, "v", (3, 3))
    attrs = {"features": 3, "bias": False}
    pairs = [
        (b(op("softmax"), x, axis=0), b(op("softmax"), x, axis=1)),
        (b(op("linear"), x, w, **attrs), b(op("linear"), x, v, **attrs)),
        (b(op("sub"), x, b(op("exp"), x)), b(op("sub"), b(op("exp"), x), x)),
        (b(op("mul"), x, 0.0), b(op("mul"), x, -0.0)),
        (b(op("dropout"), x, rate=0.5), b(op("dropout"), x, rate=0.5)),
    ]
    for i, (a, c) in enumerate(pairs):
        graph.outputs[f"a{i}"], graph.outputs[f"c{i}"] = a, c
    assert cse(graph) == 1  # exp(x)
    merged = {n.op.name for n in graph}
    assert len({*graph.outputs.values()}) == 10
    assert "dropout" in merged


def test_different_expressions_and_arms_stay_apart():
    graph, b, x = start(x=("B", 3))
    y = b.node(op("softmax"), [x], {"axis": 1}, exprs={"axis": parse("axis")}).output
    z = b(op("softmax"), x, axis=1)
    b.arms = ((4, 0),)
    inside = b(op("softmax"), x, axis=1)
    graph.outputs = {"y": y, "z": z, "inside": inside}
    assert cse(graph) == 0


def test_dead_nodes_go_and_weights_stay():
    graph, b, x = start(x=("B", 6))
    w, count = weight(graph, "w", ()), weight(graph, "count", (), trainable=False)
    b(op("mul"), b(op("exp"), x), w)
    first, _ = b(op("split"), x, parts=2, axis=1)
    graph.outputs["y"] = first
    graph.updates[count] = (b(op("add"), count, 1.0), "always")
    assert dce(graph) == 2
    check(graph)
    assert names(graph) == ["split", "constant", "add"]
    assert list(graph.weights) == ["w", "count"]
    assert not w.users


# --------------------------------------------------------------------- all instances, or none


def blocks(graph, x, count, body):
    """`count` calls of one block, each given the last one's result and its number."""
    definition = Definition("Block", inputs=("x",), outputs=("y",))
    for i in range(count):
        scope = Scope("block", definition, graph.root, f"block{i}", f"block{i}", site=i)
        x = body(Build(graph, scope, site=1), x, i)
    return x


def test_a_rule_fires_for_all_instances_or_none():
    graph, _, x = start(x=("B", 3))

    def scaled(b, x, i):
        return b(op("mul"), b(op("mul"), x, 1.0), 2.0 if i else 1.0)

    graph.outputs["y"] = blocks(graph, x, 3, scaled)
    assert algebra(graph) == 3
    dce(graph)
    assert names(graph) == ["constant", "mul"] * 3
    check(graph)


def test_a_merge_happens_in_all_instances_or_none():
    graph, _, x = start(x=("B", 3))

    def shared(b, x, i):
        y = b(op("add"), b(op("exp"), x), b(op("exp"), x))
        return b(op("add"), b(op("mul"), y, x), b(op("mul"), y, x if i else y))

    graph.outputs["y"] = blocks(graph, x, 2, shared)
    assert cse(graph) == 2
    assert names(graph) == ["exp", "add", "mul", "mul", "add"] * 2
    check(graph)


def test_equal_nodes_of_two_scopes_stay():
    graph, b, x = start(x=("B", 3))
    y = b(op("exp"), x)
    graph.outputs["y"] = blocks(graph, x, 2, lambda b, _x, i: b(op("add"), y, b(op("exp"), x)))
    assert cse(graph) == 0


def test_what_one_iteration_needs_stays_in_all():
    graph, _, x = start(x=("B", 3))
    loop = Loop(2, "blocks", (), parse("3"), 3)
    side = None
    for i in range(3):
        scope = Scope("iteration", parent=graph.root, index=i, loop=loop, site=2)
        b = Build(graph, scope, site=1)
        x, side = b(op("relu"), x), b(op("tanh"), b(op("exp"), x))
        b(op("sin"), x)
        if i == 0:
            graph.outputs["side"] = side
    graph.outputs["y"] = x
    assert dce(graph) == 3
    assert names(graph) == ["relu", "exp", "tanh"] * 3


def test_a_long_chain_takes_linear_time():
    graph, b, x = start(x=(2,))
    y = x
    for _ in range(1500):
        y = b(op("identity"), b(op("neg"), y))
    graph.outputs["y"] = y
    assert apply(graph, CLEAN) >= 2250
    assert graph.outputs["y"] is x
