"""Judges a target's tensors: by their error's ratio to the rounding noise of the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .noise import FLOOR, Yardstick
from .reference import Key, Truth

LIMIT = 16.0
"""The ratio above which a target differs, for every tensor, in L2 and in the largest element.

Frozen. Over 380 honest runs of PyTorch, Keras, JAX, ONNX Runtime and OpenVINO it was at most 9.0.
"""

ROUGH = 4.0
"""The same where matrices are multiplied in bf16: that rounds so much more than all else that its
noise tells the error of an honest run to within a few times."""

PROVEN_ZERO = 1e-10
"""A gradient this small, against the largest of its kind, is zero in float64: as attention's key
bias has it. What engines give for it is noise, and is compared with the noise."""

VERDICTS = ("equal", "unseen", "suspicious", "different", "failed")
"""From best to worst. `suspicious` is above the limit for one draw of the inputs and below it for
another; `unseen` could not be judged; `failed` is a target that raised."""


@dataclass(frozen=True)
class Row:
    """One tensor of one target: by how much it is off, and what that means.

    `rms` and `largest` are the ratios of its error to rounding noise, in L2 and in the largest
    element; `digits` are the decimal digits on which it agrees with the reference.
    """

    target: str
    mode: str
    size: str
    kind: str
    name: str
    verdict: str
    rms: float = 0.0
    largest: float = 0.0
    digits: float = math.inf
    note: str = ""

    @property
    def ratio(self) -> float:
        """The larger of both ratios: what is held to LIMIT."""
        return max(self.rms, self.largest)

    @property
    def key(self) -> Key:
        return Key(self.kind, self.name)


@dataclass(frozen=True)
class Scale:
    """What a tensor's error is measured in: its yardstick, floor included, and its own size."""

    yardstick: Yardstick
    noise: Yardstick
    size: float
    largest: float
    limit: float = LIMIT

    @property
    def zero(self) -> bool:
        """Whether float64 proves the tensor to be zero."""
        return self.size <= PROVEN_ZERO * self.largest

    @property
    def hidden(self) -> bool:
        """Whether noise covers the tensor, so that even zeros in its place would pass."""
        return self.size <= self.limit * self.noise.rms and not self.zero


def scales(truth: Truth, noise: Mapping[Key, Yardstick], limit: float = LIMIT) -> dict[Key, Scale]:
    """The scale of every tensor. The floor is FLOOR of its size, or of a millionth of the largest
    of its kind, for tensors that are all but zero."""
    sizes = {key: _size(array) for key, array in truth.items()}
    largest: dict[str, float] = {}
    for key, (rms, _) in sizes.items():
        largest[key.kind] = max(largest.get(key.kind, 0.0), rms)
    result = {}
    for key, (rms, most) in sizes.items():
        least = 1e-6 * largest[key.kind]
        yardstick = Yardstick(
            max(noise[key].rms, FLOOR * max(rms, least)),
            max(noise[key].most, FLOOR * max(most, least)),
        )
        result[key] = Scale(yardstick, noise[key], rms, largest[key.kind], limit)
    return result


def judge(row: Row, found: Any, wanted: Any, scale: Scale) -> Row:
    """`row` with the verdict on the array `found` where the reference has `wanted`."""
    if found.shape != wanted.shape:
        note = f"its shape is {found.shape}, not {wanted.shape}"
        return replace(
            row, verdict="different", rms=math.inf, largest=math.inf, digits=0, note=note
        )
    if wanted.dtype.kind != "f":
        wrong = int(np.sum(found != wanted))
        if not wrong:
            return replace(row, verdict="equal")
        note = f"{wrong} of {wanted.size} elements differ"
        return replace(
            row, verdict="different", rms=math.inf, largest=math.inf, digits=0, note=note
        )
    rms, most = _error(found, wanted)
    row = replace(
        row,
        rms=_ratio(rms, scale.yardstick.rms),
        largest=_ratio(most, scale.yardstick.most),
        digits=-math.log10(rms / scale.size) if rms and not scale.zero else math.inf,
    )
    if row.ratio > scale.limit:
        return replace(row, verdict="different", note=_where(found, wanted))
    if scale.hidden:
        return replace(row, verdict="unseen", note="rounding noise covers the tensor")
    return replace(row, verdict="equal")


def _apart(row: Row, note: str) -> Row:
    """`row` with a difference that no ratio measures."""
    return replace(row, verdict="different", rms=math.inf, largest=math.inf, digits=0.0, note=note)


def _error(found: Any, wanted: Any) -> tuple[float, float]:
    """Root mean square and largest difference; infinite where only one of both is finite."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(invalid="ignore"):
        away = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    away = np.where(np.isnan(away), np.inf, away)
    return (float(np.sqrt(np.mean(away**2))), float(np.max(away))) if away.size else (0.0, 0.0)


def _ratio(error: float, yardstick: float) -> float:
    if error == 0:
        return 0.0
    return error / yardstick if yardstick else math.inf


def _where(found: Any, wanted: Any) -> str:
    """The element that is off the most, with both values."""
    if not wanted.size:
        return ""
    with np.errstate(invalid="ignore"):
        away = np.abs(np.asarray(found, np.float64) - wanted)
    away = np.where(np.isnan(away), np.inf, away)
    place = np.unravel_index(int(np.argmax(away)), away.shape)
    index = ", ".join(map(str, place))
    element = f"element [{index}] is" if index else "it is"
    return f"{element} {float(found[place]):.6g}, not {float(wanted[place]):.6g}"


def _size(array: Any) -> tuple[float, float]:
    """Root mean square and largest magnitude of what is finite."""
    x = np.asarray(array, np.float64)
    x = np.abs(x[np.isfinite(x)])
    return (float(np.sqrt(np.mean(x**2))), float(np.max(x))) if x.size else (0.0, 0.0)
