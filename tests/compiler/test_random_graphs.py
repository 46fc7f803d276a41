"""Properties of whole graphs: cleaning changes nothing, gradients are the slopes."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlc.compiler.check import check, neutral
from mlc.compiler.clone import clone
from mlc.compiler.ops import OPS
from mlc.compiler.passes import CLEAN
from mlc.compiler.passes.dce import dce
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.grad import gradients
from tests.compiler.build import numbers
from tests.compiler.passes.test_grad import assert_numeric, with_cotangents
from tests.compiler.random_graph import graphs

CORE = frozenset(op for op in OPS.values() if op.body is None)
common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(graphs())
@settings(common, max_examples=60)
def test_each_cleaning_pass_is_neutral_and_settles(graph):
    for step in CLEAN:
        before, _ = clone(graph)
        step(graph)
        check(graph, step.__name__)
        neutral(before, graph, step.__name__)
    for step in CLEAN:
        step(graph)
    assert sum(step(graph) for step in CLEAN) == 0


@given(graphs())
@settings(common, max_examples=30)
def test_bodies_are_their_ops(graph):
    before, _ = clone(graph)
    expand(graph, CORE)
    check(graph, "expand")
    neutral(before, graph, "expand")


@given(graphs(most=6), st.integers(0, 3))
@settings(common, max_examples=50)
def test_gradients_are_slopes(graph, seed):
    dce(graph)
    feed = {"x": numbers(3, 3, seed=seed) + 0.02, "z": numbers(2, 3, seed=seed + 9)}
    weights = {"w": 0.5 * numbers(3, 3, seed=seed + 1), "v": numbers(3, seed=seed + 2)}
    assert_numeric(graph, feed, weights)


@given(graphs(most=6))
@settings(common, max_examples=30)
def test_cleaned_gradients_are_the_same(graph):
    cotangents = with_cotangents(graph)
    found = gradients(graph, cotangents, [*graph.inputs[:2], *graph.weights.values()])
    for value, gradient in found.items():
        graph.outputs[f"d/d{value.name}"] = gradient
    before, _ = clone(graph)
    for step in CLEAN:
        step(graph)
    check(graph)
    neutral(before, graph, "clean")
