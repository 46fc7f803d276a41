"""Models whose course data decide, on all targets: results, gradients, and what the text says."""

from __future__ import annotations

import numpy as np
import pytest

import mlc
from mlc.compiler.run import run
from mlc.equivalence.engines.pool import Pool
from mlc.request import verify
from tests.backends.control import CONTROL

TARGETS = ("pytorch", "jax", "keras", "openvino", "onnx")
SOME = {
    "nested": ("pytorch", "jax", "openvino"),
    "tagger": ("openvino", "onnx"),
    "folded": ("jax", "keras"),
    "frames": ("jax", "keras"),
}
"""What is shown on these targets alone, since others show the rest: masks, few tensors, images."""


@pytest.mark.parametrize("name", CONTROL)
def test_models_are_the_same_on_all_targets(name: str, pool: Pool) -> None:
    targets = SOME.get(name, TARGETS)
    pool.start(targets)
    report = verify(mlc.load(CONTROL[name]), targets, None, 1, ["inference"], None, pool=pool)
    report.assert_equivalent()
    kinds = {(row.target, row.kind) for row in report.rows if row.verdict == "equal"}
    wanted = {(target, "output") for target in targets}
    if name != "until":
        assert not [str(unseen) for unseen in report.unseen if unseen.target]
        wanted |= {(target, "input gradient") for target in targets}
    assert wanted <= kinds


def source(name: str, target: str) -> str:
    return mlc.compile(mlc.load(CONTROL[name]), target).source


def test_pytorch_runs_them_as_plain_python() -> None:
    text = source("tagger", "pytorch")
    assert "for x_t, keep_t in zip(x.unbind(1), keep.unbind(1), strict=True):" in text
    assert "hs.append(h)" in text
    assert "hs = torch.stack(hs, dim=1)" in text
    assert "for x_t in reversed(x.unbind(1)):" in source("both_ways", "pytorch")
    text = source("choices", "pytorch")
    assert "        if large:\n" in text
    assert "            h = torch.tanh(self.linear(x))\n" in text
    assert "        else:\n" in text
    assert "for _ in range(4):\n            if not torch.abs(h).mean() > 0.1:\n" in text
    assert "while (y * y).sum() > 1.0:" in source("until", "pytorch")


def test_two_carries_change_at_once() -> None:
    text = """model Fibonacci:
    in  x: f32[T]
    out y: f32[T]
    a = x[0] * 0.0
    b = a + 1.0
    ys = []
    scan one in x along 0:
        a, b = b, a + b * one
        ys += [a]
    y = ys
"""
    assert "a, b = (b, b2)" in mlc.compile(mlc.load(text), "pytorch").source
    graph = mlc.load(text)
    found = run(graph, {"x": np.ones(6)}, {}).outputs["y"]
    assert found.tolist() == [1, 1, 2, 3, 5, 8]


def test_jax_has_functions_within_the_call() -> None:
    assert "h, hs = jax.lax.scan(step, h, (x.swapaxes(0, 1), keep.swapaxes(0, 1)))" in source(
        "tagger", "jax"
    )
    assert "jax.lax.cond(large, then, otherwise)" in source("choices", "jax")
    assert "n, y = jax.lax.while_loop(going, step, (h, x))" in source("until", "jax")
    assert "jax.lax.map(" in source("moments", "jax")


def test_layers_and_blocks_in_a_body_are_members() -> None:
    text = source("tagger", "pytorch")
    assert "self.linear1 = nn.Linear(4, width)" in text
    assert "new = torch.tanh(self.linear1(x_t) + self.linear2(h))" in text
    text = source("nested", "pytorch")
    assert "self.mix = Mix(D + width, width)" in text
    assert "h2 = self.mix(torch.cat([x_t, h], dim=-1))" in text
    assert "h = torch.tanh(self.linear(h2)) if h2.mean() > 0.0 else 0.5 * h2" in text
    text = source("members", "jax")
    assert "self.step = Step(D, width, rngs=rngs)" in text
    assert "h, gate = self.step(x_t, h)" in text
    assert text.count("class ") == 3
    text = source("members", "openvino")
    assert 'self.step(x_t, f"{name}.step", h)' in text


def test_weights_within_a_block_are_made_once() -> None:
    graph = mlc.load(CONTROL["both_ways"])
    assert sorted(graph.weights)[:4] == [
        "cell1.layers.0.bias", "cell1.layers.0.weight",
        "cell1.layers.1.bias", "cell1.layers.1.weight",
    ]  # fmt: skip
