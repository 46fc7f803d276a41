"""Faults are found at their layer, in every framework."""

from pathlib import Path

import pytest

import mlc
from mlc.equivalence import verify
from mlc.equivalence.engines.pool import Pool
from tests.handwritten.folders import CONFIG, folder

EXAMPLES = Path(__file__).parents[2] / "examples"
PLANTED = {
    "pytorch": ("gpt", "(h)))", '(h)), approximate="tanh")', "layers.0.linear2", "gelu"),
    "jax": ("gpt", "approximate=False", "approximate=True", "layers.0.linear2", "gelu"),
    "keras": (
        "tiny_resnet", 'use_bias=False, name=f"{name}_conv1")(h)',
        'use_bias=False, name=f"{name}_conv1")(h * 1.001)', "blocks.0.conv1", "conv",
    ),
    "openvino": (
        "tiny_resnet", "[pad] * 2, [pad] * 2, [1, 1], name=name",
        "[2 * pad] * 2, [0] * 2, [1, 1], name=name", "conv", "conv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("target", PLANTED)
def test_the_first_layer_that_is_off_is_named(pool: Pool, tmp_path: Path, target: str) -> None:
    name, old, new, layer, op = PLANTED[target]
    graph = mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name])
    place = folder(name, target, graph.weights, tmp_path, (old, new))
    pool.start([target])
    report = verify(graph, {target: place}, pool=pool, sizes=1, modes=["inference"])
    (finding,) = report.findings
    assert finding.layer == layer
    assert any(suspect.startswith(f"{op} ") for suspect in finding.suspects)
    assert len(finding.suspects) <= 3
    assert all(f"{name}.mdl:" in suspect for suspect in finding.suspects)
    assert any(line.startswith(f"{name}.py:") for line in finding.lines) or target == "openvino"
    assert layer in report.text()


def test_a_fault_behind_the_last_layer_is_named_so(pool: Pool, tmp_path: Path) -> None:
    graph = mlc.load(EXAMPLES / "gpt.mdl", **CONFIG["gpt"])
    edit = (
        "F.linear(self.layer_norm(h), self.token",
        "1.001 * F.linear(self.layer_norm(h), self.token",
    )
    place = folder("gpt", "pytorch", graph.weights, tmp_path, edit)
    pool.start(["pytorch"])
    report = verify(graph, {"pytorch": place}, pool=pool, sizes=1, modes=["inference"])
    (finding,) = report.findings
    assert finding.layer == ""
    assert any(suspect.startswith("matmul at ") for suspect in finding.suspects)
