"""Reductions in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def axes_of(x: torch.Tensor, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else axes


def over(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(x, axes, keepdim=)` as an oracle; over no axes it is given a new one of size 1."""

    def reduce(x: Any, axes: Any, keep: bool, **attrs: Any) -> Any:
        if x.ndim == 0:
            return function(x[None], (0,), keepdim=False, **attrs)
        return function(x, axes_of(x, axes), keepdim=keep, **attrs)

    return reduce


def prod(x: torch.Tensor, axes: tuple[int, ...], keepdim: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keepdim, dtype=x.dtype)
    return x


REDUCE = {
    "sum": over(lambda x, axes, keepdim: torch.sum(x, axes, keepdim, dtype=x.dtype)),
    "mean": over(torch.mean),
    "prod": over(prod),
    "max": over(torch.amax),
    "min": over(torch.amin),
    "any": over(torch.any),
    "all": over(torch.all),
    "argmax": lambda x, axis, keep: torch.argmax(x, axis, keep),
    "argmin": lambda x, axis, keep: torch.argmin(x, axis, keep),
    "logsumexp": over(torch.logsumexp),
    "l2_norm": over(lambda x, axes, keepdim: torch.linalg.vector_norm(x, 2, axes, keepdim)),
    "var": over(torch.var),
    "std": over(torch.std),
}
