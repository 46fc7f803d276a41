"""Order, scattering and parts that start where a tensor says, in torch."""

from __future__ import annotations

import torch

from tests.compiler.ops.oracle_elementwise import DTYPES


def argsort(x: torch.Tensor, axis: int, descending: bool) -> torch.Tensor:
    return x.sort(dim=axis, descending=descending, stable=True).indices.int()


def sort(x: torch.Tensor, axis: int, descending: bool) -> torch.Tensor:
    return x.sort(dim=axis, descending=descending, stable=True).values


def top_k(x: torch.Tensor, k: int, axis: int, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    values, places = x.sort(dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), places.narrow(axis, 0, k).int()


def scatter(x: torch.Tensor, index: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    return x.scatter(axis, index.long(), updates)


def scatter_max(
    x: torch.Tensor, index: torch.Tensor, updates: torch.Tensor, axis: int
) -> torch.Tensor:
    return x.scatter_reduce(axis, index.long(), updates, "amax")


def dynamic_slice(x: torch.Tensor, start: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    return x.narrow(axis, int(start), size)


def dynamic_update(
    x: torch.Tensor, update: torch.Tensor, start: torch.Tensor, axis: int
) -> torch.Tensor:
    first = int(start)
    return x.slice_scatter(update, axis, first, first + update.shape[axis])


def roll(x: torch.Tensor, shift: int | tuple[int, ...], axes: tuple[int, ...]) -> torch.Tensor:
    return x.roll(shift, axes)


PLACE = {
    "sort": sort,
    "argsort": argsort,
    "top_k": top_k,
    "scatter": scatter,
    "scatter_max": scatter_max,
    "roll": lambda x, shift, axes: x.roll(
        shift if isinstance(shift, tuple) else [shift] * len(axes), axes
    ),
    "arange": lambda start, end, step, dtype: torch.arange(start, end, step, dtype=DTYPES[dtype]),
    "cumprod": lambda x, axis: x.cumprod(axis, dtype=x.dtype),
    "dynamic_slice": dynamic_slice,
    "dynamic_update": dynamic_update,
}
