"""What is dropped as a whole: channels and examples, by each framework's own layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mlc.backends.jax import emit as emit_jax
from mlc.backends.keras import emit as emit_keras
from mlc.backends.pytorch import emit as emit_pytorch
from mlc.compiler.diagnose import MlcError
from mlc.equivalence.engines.dropout import observe
from mlc.frontends.mdl import load
from tests.backends import single

CHANNELS = """model M:
    in x: f32[B, 40, H, 5]
    out y: f32[B, 40, H, 5]
    y = x -> channel_dropout(0.25)
"""
PATHS = """model M:
    in x: f32[B, 3, H, 5]
    out y: f32[B, 3, H, 5]
    y = x -> drop_path(0.25)
"""


def pytorch(text: str, x: np.ndarray, training: bool, folder: Path) -> np.ndarray:
    model = single.build(emit_pytorch(load(text, "net"), "net"), {}, folder).train(training)
    return model(torch.from_numpy(x)).numpy()


def keras(text: str, x: np.ndarray, training: bool, folder: Path) -> np.ndarray:
    artefact = emit_keras(load(text, "net"), "net")
    return stored(artefact, x, lambda z: single.build(artefact, {}, folder)(z, training=training))


def jax(text: str, x: np.ndarray, training: bool, folder: Path) -> np.ndarray:
    artefact = emit_jax(load(text, "net"), "net")
    model = single.build(artefact, {}, folder)
    model.train() if training else model.eval()
    return stored(artefact, x, lambda z: model(jnp.asarray(z)))


def stored(artefact: Any, x: np.ndarray, call: Any) -> np.ndarray:
    (taken,), (given,) = artefact.interface.inputs, artefact.interface.outputs
    return single.moved_back(np.asarray(call(single.stored(x, taken.order))), given.order)


@pytest.mark.parametrize("target", [pytorch, keras, jax])
@pytest.mark.parametrize(("text", "shape", "axes"), [
    (CHANNELS, (30, 40, 2, 5), (2, 3)), (PATHS, (900, 3, 2, 5), (1, 2, 3)),
])  # fmt: skip
def test_a_part_is_kept_or_dropped_as_a_whole(
    target: Any, text: str, shape: tuple[int, ...], axes: tuple[int, ...], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    np.testing.assert_array_equal(target(text, x, False, tmp_path), x)
    y = target(text, x, True, tmp_path)
    fate = y / x
    assert np.ptp(fate, axes).max() < 1e-6
    whole = fate[(..., *(0 for _ in axes))]
    np.testing.assert_allclose(whole[whole != 0], 4 / 3, rtol=1e-6)
    assert abs((whole == 0).mean() - 0.25) < 5 * (0.25 * 0.75 / whole.size) ** 0.5


def test_channels_need_places() -> None:
    text = CHANNELS.replace("B, 40, H, 5", "B, 40")
    with pytest.raises(MlcError, match="channel_dropout takes"):
        load(text, "net")


def test_what_shares_a_fate_is_counted_once() -> None:
    x = np.ones((4, 6, 3), np.float32)
    y = x * (np.arange(24).reshape(4, 6, 1) % 4 > 0) / 0.75
    drop = observe("d", 0.25, x, y, (2,))
    assert (drop.count, drop.zeros) == (24, 6)
    assert observe("d", 0.25, x, y).count == 72
