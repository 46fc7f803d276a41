"""What one call of a dropout layer did, from its input and output."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .protocol import Drop


def observe(
    name: str, rate: float, x: np.ndarray, y: np.ndarray, shared: Sequence[int] = ()
) -> Drop:
    """Counts the zeros, measures the scale of the rest, and names the mask.

    Along the axes in `shared` all elements have one fate, and only the first is looked at.
    """
    for axis in shared:
        x, y = np.take(x, [0], axis), np.take(y, [0], axis)
    alive = x != 0
    zeros = alive & (y == 0)
    kept = alive & ~zeros
    wanted = x[kept].astype(np.float64) / (1 - rate) if rate < 1 else x[kept]
    scale = float(np.max(np.abs(y[kept] / wanted - 1), initial=0.0))
    digest = hashlib.sha256(np.packbits(zeros).tobytes()).hexdigest()[:16]
    return Drop(name, float(rate), int(alive.sum()), int(zeros.sum()), scale, digest)
