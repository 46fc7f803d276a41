"""Bodies written out."""

import numpy as np

from mlc.compiler import expr
from mlc.compiler.check import check
from mlc.compiler.clone import clone
from mlc.compiler.ops import OPS
from mlc.compiler.passes.expand import expand
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.compiler.build import names, numbers, start, weight

CORE = frozenset(op for op in OPS.values() if op.body is None)


def net():
    graph, b, x = start(x=("B", 4))
    w, bias = weight(graph, "w", (4, 4)), weight(graph, "b", (4,))
    b.site = 3
    h = b(OPS["linear"], x, w, bias, features=4)
    h.name = "h"
    graph.outputs["y"] = b(OPS["silu"], h)
    graph.outputs["h"] = h
    return graph


def test_bodies_go_in_recursively():
    graph = net()
    whole, _ = clone(graph)
    assert expand(graph, CORE) >= 2
    check(graph)
    assert all(node.op in CORE for node in graph)
    feed = {"x": numbers(2, 4)}, {"w": numbers(4, 4), "b": numbers(4)}
    for name, value in run(whole, *feed).outputs.items():
        np.testing.assert_allclose(run(graph, *feed).outputs[name], value, rtol=1e-14)


def test_what_is_kept_stays_and_new_nodes_take_its_place():
    graph = net()
    assert expand(graph, {*CORE, OPS["silu"]}) == 1
    assert names(graph) == ["transpose", "matmul", "add", "silu"]
    assert {node.site for node in graph} == {3}
    assert graph.outputs["h"].name == "h"
    assert expand(graph, {*CORE, OPS["silu"]}) == 0


def test_a_body_that_returns_its_input():
    graph, b, x = start(x=(2, 3))
    mean, var = (weight(graph, n, (3,), trainable=False) for n in ("mean", "var"))
    attrs = {"affine": False, "training": False}
    y, new_mean, _ = b(OPS["batch_norm"], x, None, None, mean, var, **attrs)
    graph.outputs["y"] = y
    graph.updates[mean] = (new_mean, "always")
    expand(graph, CORE)
    check(graph)
    assert graph.updates[mean][0] is mean


def test_a_body_keeps_the_expressions_of_its_numbers():
    text = """
model Best(chosen = 2, slope = 0.1):
    in  x: f32[B, 5]
    out y: f32[B, chosen]
    best, place = x -> leaky_relu(slope) -> top_k(chosen)
    y = best
"""
    graph = load(text)
    (best,) = (node for node in graph if node.op.name == "top_k")
    (leaky,) = (node for node in graph if node.op.name == "leaky_relu")
    facts = list(graph.facts)
    expand(graph, {op for op in OPS.values() if op not in (best.op, leaky.op)}, explained=True)
    shown = {(n.op.name, k): expr.show(e) for n in graph for k, e in n.exprs.items()}
    assert shown.pop(("slice", "ends")) == "(chosen,)"
    assert shown == {("constant", "value"): "slope"}
    assert graph.facts == facts
