"""Reductions in torch."""

from __future__ import annotations

import torch


def axes_of(x: torch.Tensor, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else axes


REDUCE = {
    "sum": lambda x, axes, keep: torch.sum(x, axes_of(x, axes), keepdim=keep, dtype=x.dtype),
}
