"""How far a long sum in f32 goes astray where its terms are added one after the other.

One eps of the sum of absolute values covers sums in blocks or in pairs. Frameworks add in order
too, and where the terms are alike, so are the errors of all steps: the gradient of a convolution's
bias before a mean over 160 x 160 places, 128,000 equal numbers, keeps three digits in PyTorch. No
engine is asked to do better than the plain order, at these very numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from ..compiler.graph import Node

SAMPLES = 64
"""How many sums of a tensor are looked at; of a smaller one all."""

TERMS = 4_000_000
"""The most terms that are added up, to bound time and memory; fewer sums are looked at instead."""


def in_order(node: Node, arrays: Any, attrs: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Places in the flat result of a sum, and what adding in order loses there; None for ops whose
    sums are short, or whose terms have both signs."""
    match node.op.name:
        case "sum" | "mean":
            return _reduction(arrays[0], attrs["axes"], node.op.name == "mean")
        case "matmul":
            return _product(arrays[0], arrays[1])
    return None


def _reduction(x: Any, axes: Any, mean: bool) -> tuple[Any, Any] | None:
    if x.dtype.kind != "f" or not x.size:
        return None
    axes = tuple(range(x.ndim)) if axes is None else tuple(axes)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    count = prod(x.shape[axis] for axis in axes)
    lines = x.transpose(*kept, *axes).reshape(-1, count)
    places = _places(len(lines), count)
    return places, _lost(lines[places]) / (count if mean else 1)


def _product(a: Any, b: Any) -> tuple[Any, Any] | None:
    if a.dtype.kind != "f" or not a.size or not b.size:
        return None
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*stack, *a.shape[-2:]))
    b = np.broadcast_to(b, (*stack, *b.shape[-2:]))
    shape = (*stack, a.shape[-2], b.shape[-1])
    places = _places(prod(shape), a.shape[-1])
    *where, i, j = np.unravel_index(places, shape)
    return places, _lost(a[(*where, i)] * b.swapaxes(-1, -2)[(*where, j)])


def _places(rows: int, count: int) -> Any:
    """Which sums to look at: evenly spread, the first among them."""
    most = max(1, min(SAMPLES, TERMS // max(count, 1)))
    return np.arange(rows) if rows <= most else np.linspace(0, rows - 1, most).astype(int)


def _lost(terms: Any) -> Any:
    """The error of each row's sum in f32, in order."""
    rounded = terms.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        added = np.add.accumulate(rounded, axis=-1)[..., -1]
        lost = np.abs(added - rounded.sum(axis=-1, dtype=np.float64))
    return np.where(np.isfinite(lost), lost, 0.0)


__all__ = ["in_order"]
