"""Biases that are moved, so that nothing lies on a step."""

import numpy as np
import pytest

import mlc
from mlc.equivalence import feeds
from mlc.equivalence.case import settle
from mlc.equivalence.clearance import clear
from mlc.equivalence.noise import measure
from mlc.equivalence.reference import Feed, Joint, joint

RELU = """
model Net():
    in  x: f32[B, 6]
    out y: f32[B, 4]
    y = x -> linear(4) -> relu
"""
SUM = """
model Net():
    in  x: f32[B, 6]
    out y: f32[B, 4]
    y = relu((x -> linear(4, bias = false)) + (x -> linear(4)))
"""


def case(text: str) -> tuple[Joint, Feed]:
    """A net, and a feed of which one element lies on the kink of its relu."""
    graph = mlc.load(text)
    rng = feeds.seeded(0)
    sizes = {"B": 5}
    weights = feeds.weights(graph, rng)
    given = feeds.inputs(graph, sizes, rng, optional=True)
    bias = next(path for path in weights if path.endswith("bias"))
    total = sum(w for path, w in weights.items() if path.endswith("weight"))
    weights[bias][2] = -(given["x"][3] @ total[2])
    return joint(graph, False), Feed(sizes, given, feeds.cotangents(graph, sizes, rng), weights)


def hazards(whole: Joint, feed: Feed) -> int:
    noise = measure(whole, feed, feeds.seeded(1), strict=False)
    return sum(hazard.count for hazard in noise.hazards)


@pytest.mark.parametrize("text", [RELU, SUM], ids=["bias", "bias of a sum"])
def test_what_lies_on_a_kink_is_moved_off_it(text: str) -> None:
    whole, feed = case(text)
    assert hazards(whole, feed) == 1
    moved = clear(whole, feed, feeds.seeded(0), set(feed.weights))
    assert hazards(whole, moved) == 0
    changed = [path for path in feed.weights if moved.weights[path] is not feed.weights[path]]
    assert [path.rpartition(".")[2] for path in changed] == ["bias"]
    by = np.abs(moved.weights[changed[0]] - feed.weights[changed[0]])
    assert moved.weights[changed[0]].dtype == np.float32
    assert 0 < by[2] < 1e-4
    assert by.sum() == by[2]


def test_weights_that_are_given_stay() -> None:
    whole, feed = case(RELU)
    assert clear(whole, feed, feeds.seeded(0), ()) is feed


def test_every_gradient_of_a_deep_network_is_seen() -> None:
    from tests.proof.examples import load

    graph = load("resnet18")
    whole = joint(graph, True)
    weights = feeds.weights(graph, feeds.seeded(2))
    sizes = {"B": 13, "H": 5, "W": 7}
    found = settle(
        graph, whole, "training", sizes, 2, weights, optional=True, free=set(weights)
    )  # fmt: skip
    assert found.moved
    assert not found.unseen
    assert found.gradient_error < 1e-8
