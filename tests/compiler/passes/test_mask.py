"""Masks of dropout as inputs: names, shapes, and what they do."""

import numpy as np

import mlc
from mlc.compiler.check import check
from mlc.compiler.passes.mask import mask
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run

NET = """
model Net:
    in  x: f32[B, 4, H]
    out y: like x

    drop = dropout(0.25)
    y = x -> drop -> channel_dropout(0.5) -> drop_path(0.2) -> drop -> dropout(0.0)
"""


def test_every_draw_has_a_mask_of_its_own():
    graph = mlc.load(NET)
    resolve(graph, training=True)
    rates = mask(graph)
    check(graph)
    assert rates == {
        "drop.keep": 0.25, "channel_dropout.keep": 0.5, "drop_path.keep": 0.2, "drop.keep_1": 0.25,
    }  # fmt: skip
    shapes = [str(x.type) for x in graph.inputs]
    assert shapes[1:4] == ["f32[B, 4, H]", "f32[B, 4, 1]", "f32[B, 1, 1]"]
    feed = {"x": np.ones((2, 4, 3))}
    for name, rate in rates.items():
        shape = {"channel_dropout.keep": (2, 4, 1), "drop_path.keep": (2, 1, 1)}
        feed[name] = np.full(shape.get(name, (2, 4, 3)), 1 - rate)
    np.testing.assert_allclose(run(graph, feed, {}).outputs["y"], 1.0, rtol=1e-15)
    feed["drop_path.keep"] = np.array([1.0, 0.0]).reshape(2, 1, 1)
    found = run(graph, feed, {}).outputs["y"]
    np.testing.assert_allclose(found[0], 1 / 0.8)
    assert not found[1].any()
    assert mask(graph) == {}


def test_nothing_is_drawn_in_inference():
    graph = mlc.load(NET)
    resolve(graph, training=False)
    assert mask(graph) == {}
    assert [x.name for x in graph.inputs] == ["x"]
