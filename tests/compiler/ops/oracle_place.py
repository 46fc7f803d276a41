"""Order, scattering and parts that start where a tensor says, in torch."""

from __future__ import annotations

import torch


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


PLACE = {
    "sort": sort,
    "argsort": argsort,
    "top_k": top_k,
    "scatter": scatter,
    "scatter_max": scatter_max,
    "dynamic_slice": dynamic_slice,
    "dynamic_update": dynamic_update,
}
