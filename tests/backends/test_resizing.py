"""Which resizing each framework has itself, and probes of what it does otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F

from mlc.backends.jax import emit as emit_jax
from mlc.backends.keras import emit as emit_keras
from mlc.backends.onnx import emit as emit_onnx
from mlc.backends.pytorch import emit as emit_pytorch
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends import single

EMIT = {"pytorch": emit_pytorch, "keras": emit_keras, "jax": emit_jax, "onnx": emit_onnx}


OWN = [
    ("pytorch", "resize(scale = 2)", "F.interpolate(self.conv(x), scale_factor=2)"),
    ("pytorch", 'resize(scale = 2, mode = "linear")', 'mode="bilinear"'),
    ("pytorch", 'resize(size = [5, 7], mode = "cubic")', 'size=(5, 7), mode="bicubic"'),
    (
        "pytorch",
        'resize(size = [5, 7], mode = "linear", coordinates = "align_corners")',
        "align_corners=True",
    ),
    ("pytorch", "pixel_shuffle(2)", "F.pixel_shuffle("),
    ("keras", "resize(scale = 2)", "keras.layers.UpSampling2D()("),
    ("keras", 'resize(size = [5, 7], mode = "linear")', "keras.ops.image.resize("),
    ("jax", "resize(scale = 2)", "jnp.repeat(jnp.repeat("),
    ("jax", 'resize(size = [5, 7], mode = "linear")', "antialias=False"),
    ("onnx", 'resize(scale = 2, mode = "linear")', "= Resize"),
    ("onnx", 'resize(size = [5, 7], mode = "cubic", a = -0.5)', "cubic_coeff_a: float = -0.5"),
]


@pytest.mark.parametrize(("target", "stage", "words"), OWN)
def test_a_framework_says_it_in_its_own_words(target: str, stage: str, words: str) -> None:
    assert words in emitted(target, stage)


def emitted(target: str, stage: str, sizes: str = "8, 6") -> str:
    channels = 1 if "shuffle" in stage else 4
    after = _after(stage, sizes)
    text = (
        f"model M:\n    in x: f32[B, 4, {sizes}]\n    out y: f32[B, {channels}, {after}]\n"
        f"    y = x -> conv(4, 1) -> {stage}\n"
    )
    return EMIT[target](load(text, "net"), "net").source


def _after(stage: str, sizes: str) -> str:
    if "size = [" in stage:
        return stage.split("size = [")[1].split("]")[0]
    return ", ".join(f"{2 * int(size)}" for size in sizes.split(", "))


OTHER = [
    ("pytorch", 'resize(size = [5, 7], mode = "cubic", a = -0.5)'),
    ("pytorch", 'resize(size = [5, 7], mode = "linear", coordinates = "asymmetric")'),
    ("pytorch", 'resize(size = [5, 7], rounding = "ceil")'),
    ("jax", 'resize(size = [5, 7], mode = "cubic")'),
    ("jax", 'resize(size = [5, 7], mode = "linear", coordinates = "align_corners")'),
    ("keras", 'resize(size = [5, 7], mode = "cubic", a = -0.5, renormalise = true)'),
    ("onnx", "resize(size = [5, 7])"),
]


@pytest.mark.parametrize(("target", "stage"), OTHER)
def test_what_means_something_else_is_written_out(target: str, stage: str) -> None:
    text = emitted(target, stage)
    assert all(word not in text for word in ("interpolate", "image.resize", "= Resize"))


# ---------------------------------------------------------------------------------------- probes


def test_pytorch_finds_another_nearest_element_by_floats(tmp_path: Path) -> None:
    """When this turns red, `F.interpolate` may be written for any known size."""
    text = "model M:\n    in x: f32[1, 1, 4]\n    out y: f32[1, 1, 41]\n"
    text += "    y = resize(x, size = [41])\n"
    graph = load(text, "net")
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    want = run(graph, {"x": x}, {}).outputs["y"]
    theirs = F.interpolate(torch.from_numpy(x), size=41, mode="nearest-exact").numpy()
    assert not np.array_equal(theirs, want)
    artefact = emit_pytorch(graph, "net")
    assert "interpolate" not in artefact.source
    ours = single.build(artefact, {}, tmp_path)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(ours, want)


def _cubic(x: np.ndarray) -> Any:
    text = "model M:\n    in x: f32[1, 1, 7, 5]\n    out y: f32[1, 1, 4, 11]\n"
    text += '    y = resize(x, size = [4, 11], mode = "cubic", a = -0.5, renormalise = true)\n'
    return run(load(text, "net"), {"x": x}, {}).outputs["y"]


def test_tensorflow_reads_its_cubic_from_a_table() -> None:
    """When this turns red, Keras' own cubic may be written."""
    x = np.random.default_rng(0).normal(size=(1, 1, 7, 5)).astype(np.float32)
    found = keras.ops.image.resize(tf.constant(x.transpose(0, 2, 3, 1)), (4, 11), "bicubic")
    away = np.abs(np.asarray(found).transpose(0, 3, 1, 2) - _cubic(x)).max()
    assert 1e-5 < away < 1e-2


def test_jax_blends_as_the_language_does_unless_told_otherwise() -> None:
    """Its cubic is the one of -0.5 that leaves out what lies outside."""
    x = np.random.default_rng(0).normal(size=(1, 1, 7, 5)).astype(np.float32)
    found = jax.image.resize(jnp.asarray(x), (1, 1, 4, 11), "cubic", antialias=False)
    np.testing.assert_allclose(np.asarray(found), _cubic(x), rtol=0, atol=1e-5)
