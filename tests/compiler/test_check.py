"""The checks find what is wrong, and name the node and the pass."""

import pytest

from mlc.compiler import passes
from mlc.compiler.check import Broken, check, neutral, settings
from mlc.compiler.clone import clone
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Fact, Node, Scope, Type, Value
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from mlc.compiler.passes import CLEAN, apply
from tests.compiler.build import start, weight


def net():
    graph, b, x = start(x=("B", 4))
    w = weight(graph, "w", (4, 4))
    state = weight(graph, "state", (4,), trainable=False)
    h = b(OPS["softmax"], b(OPS["matmul"], x, w), axis=1)
    graph.outputs["y"] = b(OPS["add"], h, state)
    graph.updates[state] = (b(OPS["mean"], h, axes=(0,)), "training")
    return graph


def nodes(graph):
    return {node.op.name: node for node in graph}


def torn(graph):
    nodes(graph)["softmax"].prev = nodes(graph)["add"]


def miscounted(graph):
    graph._size = 3


def late(graph):
    softmax = nodes(graph)["softmax"]
    matmul = nodes(graph)["matmul"]
    w = matmul.inputs[1]
    matmul.set_inputs([softmax.output, w])


def foreign(graph):
    add = nodes(graph)["add"]
    add.set_inputs([add.inputs[0], Value(Type("f32", (4,)))])


def unrecorded(graph):
    add = nodes(graph)["add"]
    del add.inputs[0].users[add]


def stale(graph):
    graph.inputs[0].users[nodes(graph)["add"]] = None


def absent(graph):
    nodes(graph)["add"].set_inputs([None, graph.weights["state"]])


def short(graph):
    nodes(graph)["add"].set_inputs([graph.inputs[0]])


def without(graph):
    del nodes(graph)["softmax"].attrs["axis"]


def mistyped(graph):
    nodes(graph)["softmax"].output.type = Type("f32", (symbol("B"), 5))


def homeless(graph):
    nodes(graph)["add"].scope = Scope("model")


def stolen(graph):
    add = nodes(graph)["add"]
    add.outputs[0].node = nodes(graph)["softmax"]


def dangling(graph):
    graph.outputs["y"] = Value(Type("f32", ()))


def misfiled(graph):
    graph.weights["v"] = graph.weights["w"]


def misupdated(graph):
    graph.updates = {graph.weights["state"]: (graph.inputs[0], "always")}


def trained(graph):
    graph.updates = {graph.weights["w"]: (graph.weights["w"], "always")}


FAULTS = [
    (torn, "the list is torn"),
    (miscounted, "5 nodes on the list, and 3 counted"),
    (late, "a is not made before it is used"),
    (foreign, "b is not made before it is used"),
    (unrecorded, "the use of a is not recorded"),
    (stale, "records a use that is not there"),
    (absent, "a is absent"),
    (short, "1 inputs for 2 places"),
    (without, r"attributes \[\] for \['axis'\]"),
    (mistyped, r"its type is f32\[B, 5\], and should be f32\[B, 4\]"),
    (homeless, "its scope '' does not hang on the graph's"),
    (stolen, "output 0 belongs elsewhere"),
    (dangling, "the output y is not in the graph"),
    (misfiled, "the weight w is filed under v"),
    (misupdated, r"state is f32\[4\], and is updated to f32\[B, 4\]"),
    (trained, "w cannot be updated"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_fault_is_found(fault, message):
    graph = net()
    if fault is miscounted:
        graph.append(Node(OPS["iota"], (), [Type("i32", (4,))], {"size": 4, "dtype": "i32"},
                          scope=graph.root))  # fmt: skip
    check(graph)
    fault(graph)
    with pytest.raises(Broken, match=message) as caught:
        check(graph, "a pass")
    assert str(caught.value).startswith("net after a pass")


def drops_the_state(graph):
    add = nodes(graph)["add"]
    graph.replace(add.output, add.inputs[0])
    return 1


def moves_an_axis(graph):
    nodes(graph)["softmax"].attrs["axis"] = 0
    return 1


def breaks_the_list(graph):
    torn(graph)
    return 1


BLAMED = [
    (drops_the_state, r"net after drops_the_state: y differs \(B = "),
    (moves_an_axis, "net after moves_an_axis: y differs"),
    (breaks_the_list, "net after breaks_the_list, at <Node matmul"),
]


@pytest.mark.parametrize(("step", "message"), BLAMED, ids=[s.__name__ for s, _ in BLAMED])
def test_a_pass_that_changes_the_meaning_is_named(monkeypatch, step, message):
    monkeypatch.setenv("MLC_CHECK", "1")
    with pytest.raises(Broken, match=message):
        apply(net(), (*CLEAN, step))
    monkeypatch.setenv("MLC_CHECK", "0")
    assert apply(net(), (step,)) == 1


def test_clean_passes_are_checked_one_by_one(monkeypatch):
    monkeypatch.setenv("MLC_CHECK", "1")
    graph = net()
    b = Build(graph)
    graph.outputs["z"] = b(OPS["identity"], b(OPS["mul"], graph.outputs["y"], 1.0))
    assert apply(graph, CLEAN) == 3
    assert graph.outputs["z"] is graph.outputs["y"]
    assert passes.CLEAN == CLEAN


def test_a_changed_update_and_a_lost_output_differ():
    graph = net()
    other, _ = clone(graph)
    other.outputs["z"] = other.outputs.pop("y")
    with pytest.raises(Broken, match="y differs"):
        neutral(graph, other)
    other, values = clone(graph)
    state = graph.weights["state"]
    other.updates[values[state]] = (other.weights["state"], "always")
    graph.updates[state] = (graph.updates[state][0], "always")
    with pytest.raises(Broken, match="state differs"):
        neutral(graph, other)


def test_sizes_respect_facts_and_differ():
    graph, b, x = start(x=("B", "H", "W"))
    height, width = symbol("H"), symbol("W")
    graph.facts += [
        Fact("divides", 7, height),
        Fact("divides", 2, height),
        Fact("<", width, height),
        Fact("==", width % 3, 1),
    ]
    graph.outputs["y"] = b(OPS["slice"], x, starts=(2,), ends=(None,), axes=(2,))
    first, second = settings(graph, 2)
    for sizes in (first, second):
        assert sizes["H"] % 14 == 0
        assert 2 < sizes["W"] < sizes["H"]
        assert sizes["W"] % 3 == 1
    assert all(first[name] != second[name] for name in "BHW")


def test_where_a_size_can_only_be_one_it_is_that():
    graph, _, x = start(x=("B", "T"))
    graph.facts.append(Fact("<=", symbol("T"), 1))
    graph.outputs["y"] = x
    assert [sizes["T"] for sizes in settings(graph, 2)] == [1, 1]
