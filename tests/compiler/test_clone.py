"""Copies of graphs."""

import numpy as np

from mlc.compiler.check import check
from mlc.compiler.clone import clone
from mlc.compiler.ops import OPS
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.run import run
from tests.compiler.build import names, numbers, start, weight


def net():
    graph, b, x = start(x=("B", 3))
    w = weight(graph, "w", (3, 3))
    state = weight(graph, "state", (3,), trainable=False)
    h = b(OPS["matmul"], x, w)
    h = b(OPS["identity"], h)
    h.name = "h"
    graph.outputs["y"] = b(OPS["add"], h, state)
    graph.updates[state] = (b(OPS["sum"], h, axes=(0,)), "always")
    graph.root.outputs["y"] = graph.outputs["y"]
    graph.root.values["hidden"] = h
    return graph


def test_a_copy_computes_the_same_and_shares_no_value():
    graph = net()
    copy, values = clone(graph)
    check(copy)
    assert names(copy) == names(graph)
    assert {*values} == {
        *graph.inputs,
        *graph.weights.values(),
        *(v for n in graph for v in n.outputs),
    }
    assert not {*values} & {*values.values()}
    assert [v.name for n in copy for v in n.outputs] == [v.name for n in graph for v in n.outputs]
    feed = {"x": numbers(2, 3)}, {"w": numbers(3, 3), "state": numbers(3)}
    a, b = run(graph, *feed), run(copy, *feed)
    np.testing.assert_array_equal(a.outputs["y"], b.outputs["y"])
    np.testing.assert_array_equal(a.updates["state"], b.updates["state"])


def test_changing_the_copy_leaves_the_original():
    graph = net()
    before = names(graph)
    copy, _ = clone(graph)
    assert apply(copy, CLEAN)
    assert names(copy) != before
    assert names(graph) == before
    check(graph)


def test_scope_records_are_found_in_the_copy_through_rewrites():
    graph = net()
    hidden = graph.root.values["hidden"]
    copy, values = clone(graph)
    assert copy.current(hidden) is values[hidden]
    apply(copy, CLEAN)
    assert copy.current(hidden).node.op is OPS["matmul"]
    assert copy.current(graph.root.outputs["y"]) is copy.outputs["y"]
    again, _ = clone(copy)
    assert again.current(graph.root.outputs["y"]) is again.outputs["y"]
    assert again.current(hidden).node.graph is again
