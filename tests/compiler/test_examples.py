"""The passes on the examples: bodies, modes and gradients of whole models."""

from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.compiler.check import check, neutral
from mlc.compiler.clone import clone
from mlc.compiler.ops import OPS
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.mode import resolve
from tests.compiler.build import numbers
from tests.compiler.passes.test_grad import assert_numeric

EXAMPLES = Path(__file__).parents[2] / "examples"
CORE = frozenset(op for op in OPS.values() if op.body is None)
MODELS = {
    "mnist": ({}, {"image": (3, 28, 28)}),
    "lenet": ({}, {"image": (3, 1, 28, 28)}),
    "tiny_resnet": ({}, {"image": (3, 3, 8, 6)}),
    "gpt": ({"vocab": 11, "D": 8, "layers": 2, "heads": 2}, {"ids": (2, 5)}),
}


def load(name):
    params, shapes = MODELS[name]
    return mlc.load(EXAMPLES / f"{name}.mdl", **params), shapes


@pytest.mark.parametrize("name", MODELS)
def test_cleaning_and_bodies_keep_the_meaning(name, monkeypatch):
    monkeypatch.setenv("MLC_CHECK", "1")
    graph, _ = load(name)
    check(graph, "load")
    apply(graph, CLEAN)
    before, _ = clone(graph)
    resolve(graph, False)
    resolve(before, False)
    expand(graph, CORE)
    check(graph, "expand")
    neutral(before, graph, "expand")
    apply(graph, CLEAN)


def weights_of(graph):
    """Normal weights; scales and variances near 1."""
    found = {}
    for i, (path, weight) in enumerate(graph.weights.items()):
        array = numbers(*weight.type.shape, seed=i)
        fan = max(1, np.prod(weight.type.shape[1:]))
        found[path] = 1 + 0.3 * np.tanh(array) if weight.init.kind == "ones" else array / fan**0.5
    return found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_slopes(name, training):
    graph, shapes = load(name)
    for node in graph:
        if "rate" in node.attrs:
            node.attrs["rate"] = 0.0
    resolve(graph, training)
    feed = {
        given.name: numbers(*shapes[given.name], seed=5)
        if given.type.floating
        else np.arange(10).reshape(shapes[given.name])
        for given in graph.inputs
        if given.default is None
    }
    weights = weights_of(graph)
    trained = [w for w in graph.weights.values() if w.trainable]
    floats = [given for given in graph.inputs if given.name in feed and given.type.floating]
    assert_numeric(graph, feed, weights, wrt=[*floats, *trained], at=1e-7)
