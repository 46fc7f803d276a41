"""Models that draw noise, on all targets: what they make of given noise, and what they draw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mlc
from mlc.backends.artefact import read_interface
from mlc.equivalence.engines.pool import Pool
from mlc.request import verify

MODEL = """
block Jitter(scale = 0.1):
    in  x: f32[B, T, D]
    out y: like x
    noise e: f32[B, T, D] = normal
    noise u: like x = uniform

    y = x + scale * e * (1.0 + u) -> linear(D)

model Shaken(layers = 2, D = 4):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    out kept: bool[B, T]

    shake = Jitter(0.5)
    h = x -> shake -> tanh -> shake -> dropout(0.2)
    repeat layers:
        noise e: f32[B, 1, D] = normal
        h = (h + e) -> Jitter -> relu
    noise u: f32[B, T] = uniform
    kept = bernoulli(u, sigmoid(mean(h, axes = [2])))
    y = h
"""

KEYS = [
    "shake.e", "shake.u", "shake.e_1", "shake.u_1",
    "e", "layers.0.e", "layers.0.u", "e_1", "layers.1.e", "layers.1.u", "u",
]  # fmt: skip


ALL = ("pytorch", "jax", "keras", "onnx", "openvino")
DRAWING = ("pytorch", "jax", "keras")
"""The targets whose files draw; the others are given noise."""

STYLES = [(ALL, None, ["inference", "training"]), (("jax",), "functional", ["training"])]


@pytest.mark.parametrize(("targets", "style", "modes"), STYLES)
def test_given_noise_makes_the_same_on_all_targets(
    targets: tuple[str, ...], style: str | None, modes: list[str], pool: Pool
) -> None:
    graph = mlc.load(MODEL)
    report = verify(graph, targets, None, 1, modes, None, style=style, pool=pool)
    report.assert_equivalent()
    for target in targets:
        rows = [r for r in report.rows if r.target == target and r.verdict == "equal"]
        assert {row.mode for row in rows} == {*modes}
        assert {row.name for row in rows if row.kind == "input gradient"} == {"x"}
        drawn = [row.name for row in rows if row.kind == "noise"]
        assert drawn == (KEYS if target in DRAWING else [])


def test_files_say_what_they_draw_in_their_order(tmp_path: Path) -> None:
    graph = mlc.load(MODEL)
    for target in DRAWING:
        folder = mlc.compile(graph, target).save(tmp_path)
        interface, _ = read_interface(folder)
        assert [port.name for port in interface.noise] == KEYS
        assert {port.noise for port in interface.noise} == {"normal", "uniform"}
        assert (
            "`shake.e_1` f32[B, T, 4] (standard normal noise)" in (folder / "README.md").read_text()
        )
    folder = mlc.compile(graph, "openvino").save(tmp_path)
    interface, _ = read_interface(folder)
    assert [port.name for port in interface.inputs] == ["x", *KEYS]


def test_files_with_gradients_have_none_by_noise() -> None:
    graph = mlc.load(MODEL)
    for target in ("onnx", "openvino"):
        interface = mlc.compile(graph, target, gradients=True, training=True).interface
        assert {*KEYS, "dropout.keep"} <= {port.name for port in interface.inputs}
        assert interface.gradients is not None
        assert {*interface.gradients.inputs} == {"x"}


def test_frameworks_draw_as_their_users_write() -> None:
    graph = mlc.load(MODEL)
    pytorch = mlc.compile(graph, "pytorch").source
    assert "e = torch.randn(B, T, D, device=x.device)" in pytorch
    assert "u = torch.rand(B, T, device=x.device)" in pytorch
    jax = mlc.compile(graph, "jax").source
    assert "self.rngs = rngs.fork()" in jax
    assert "e = jax.random.normal(self.rngs.noise(), (B, T, D))" in jax
    keras = mlc.compile(graph, "keras").source
    assert "self.seed_generator = keras.random.SeedGenerator()" in keras
    assert "e = NormalNoise()(x)" in keras
    functional = mlc.compile(graph, "jax", style="functional").source
    assert "u = jax.random.uniform(next(noise_keys), (B, T, D))" in functional


FAULTS = {
    "another distribution": (r"torch\.randn\(", "torch.rand("),
    "a draw that is missing": (r"u = torch\.rand\(B, T, D.*", "u = 0.5"),
    "another scale": (r"(e = torch\.randn\(B, T, D.*)", r"\1 * 1.01"),
    "the same at each call": (r"(u = torch\.rand\(B, T, .*)", r"torch.manual_seed(0)\n        \1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_draws_otherwise_is_found(fault: str, tmp_path: Path, pool: Pool) -> None:
    from mlc.equivalence import verify as run

    graph = mlc.load(MODEL)
    folder = mlc.compile(graph, "pytorch").save(tmp_path)
    file = next(path for path in folder.glob("*.py") if path.name != "__init__.py")
    text, count = re.subn(*FAULTS[fault], file.read_text())
    assert count
    file.write_text(text)
    report = run(graph, {"pytorch": folder}, modes=["inference"], sizes=1, pool=pool)
    assert not report.equal
    if fault == "the same at each call":
        assert {row.kind for row in report.faults} == {"noise"}


MASKED = """
block Part(rate = 0.3):
    in  x: f32[B, T, D]
    in  keep: bool[B, T, D]
    out y: like x
    y = x -> linear(D) -> dropout(rate, keep = keep) -> relu

model Masked(layers = 2, D = 4):
    in  x: f32[B, T, D]
    in  keep: bool[B, T, D]
    in  path: f32[B, 1, 1]
    out y: f32[B, T, D]
    noise u: f32[B, T, D] = uniform

    h = x -> dropout(0.25, keep = bernoulli(u, constant(0.75)))
    repeat layers:
        h = (h, keep) -> Part(0.4)
    y = x + (h -> drop_path(0.5, keep = path)) -> dropout(0.1)
"""


@pytest.mark.parametrize(("targets", "style", "modes"), STYLES)
def test_a_given_mask_drops_in_training_alone(
    targets: tuple[str, ...], style: str | None, modes: list[str], pool: Pool
) -> None:
    report = verify(mlc.load(MASKED), targets, None, 1, modes, None, style=style, pool=pool)
    report.assert_equivalent()
    seen = {(r.target, r.mode, r.kind, r.name) for r in report.rows if r.verdict == "equal"}
    for target in targets:
        for mode in modes:
            assert (target, mode, "output", "y") in seen
            assert (target, mode, "input gradient", "path") in seen


def test_masks_are_multiplied_by_as_one_would() -> None:
    graph = mlc.load(MASKED)
    assert "h * path / 0.5 if self.training else h" in mlc.compile(graph, "pytorch").source
    jax = mlc.compile(graph, "jax").source
    assert "h = x if self.deterministic else x * h / 0.75" in jax
    assert "h if self.deterministic or self.rate == 0 else" in jax
    keras = mlc.compile(graph, "keras").source
    assert "def call(self, h, path, training=False):" in keras


IMAGES = """
model Pictures(width = 4):
    in  x: f32[B, 3, H, W]
    out y: f32[B, width]
    noise n: f32[B, 1, H, W] = normal
    noise rows: f32[B, 3, H, 7] = uniform

    h = x + 0.1 * n -> conv(width, 3, pad = 1)
    y = (h -> mean(H, W)) + mean(rows, axes = [1, 2, 3])[:, none]
"""


def test_noise_of_images_is_drawn_as_it_is_stored(pool: Pool) -> None:
    graph = mlc.load(IMAGES)
    jax = mlc.compile(graph, "jax").source
    assert "jax.random.normal(self.rngs.noise(), (B, H, W, 1))" in jax
    assert "jax.random.uniform(self.rngs.noise(), (B, 3, H, 7))" in jax
    assert "transpose" not in jax + mlc.compile(graph, "keras").source
    verify(graph, ["keras"], None, 1, ["inference"], None, pool=pool).assert_equivalent()


def test_a_loop_that_draws_is_no_scan_over_layers() -> None:
    with pytest.raises(mlc.MlcError, match="the loop over layers of Shaken is not scanned"):
        mlc.compile(mlc.load(MODEL), "jax", tpu=True, scan_layers=True)
