"""Shapes, indexing and matrix products in torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tests.compiler.ops.oracle_elementwise import DTYPES


def unsqueeze(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def pad(x: torch.Tensor, pads: Any, mode: str, value: float) -> torch.Tensor:
    if mode == "constant":
        return F.pad(x, [n for pair in reversed(pads) for n in pair], value=value)
    for axis, (low, high) in enumerate(pads):
        last = x.shape[axis] - 1
        places = torch.arange(-low, last + 1 + high)
        if mode == "reflect":
            places = places.abs()
            places = last - (last - places).abs()
        x = x.index_select(axis, places.clamp(0, last))
    return x


def cut(x: torch.Tensor, starts: Any, ends: Any, steps: Any, axes: Any) -> torch.Tensor:
    steps = (steps,) * len(axes) if isinstance(steps, int) else steps
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(places)))
    return x


def gather(x: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    flat = x.index_select(axis, index.flatten())
    return flat.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


SHAPE = {
    "reshape": lambda x, shape: x.reshape(shape),
    "flatten": lambda x, start, end: x.flatten(start, end),
    "transpose": lambda x, axes: x.mT if axes is None else x.permute(axes),
    "relayout": lambda x, order: x * 1,
    "flip": lambda x, axes: x.flip(axes),
    "squeeze": lambda x, axes: x.squeeze(axes),
    "unsqueeze": unsqueeze,
    "expand": lambda x, shape: x.expand(shape),
    "tile": lambda x, repeats: x.tile(repeats),
    "concat": lambda *xs, axis: torch.cat(xs, axis),
    "stack": lambda *xs, axis: torch.stack(xs, axis),
    "split": lambda x, parts, axis: torch.tensor_split(x, parts, axis),
    "pad": pad,
}

INDEX = {
    "slice": cut,
    "gather": gather,
    "gather_elements": lambda x, index, axis: x.gather(axis, index.long()),
    "scatter_add": lambda x, index, updates, axis: x.scatter_add(axis, index.long(), updates),
    "embedding_bag": lambda index, share, weight, count, width, mode: F.embedding_bag(
        index.long(), weight, mode=mode, per_sample_weights=share
    ),
    "embedding": lambda index, weight, count, width, padding: F.embedding(index, weight, padding),
    "iota": lambda size, dtype: torch.arange(size, dtype=DTYPES[dtype]),
    "one_hot": lambda index, depth, dtype: F.one_hot(index.long(), depth).to(DTYPES[dtype]),
    "cumsum": lambda x, axis: x.cumsum(axis, dtype=x.dtype),
    "tril": lambda x, k: x.tril(k),
    "triu": lambda x, k: x.triu(k),
}

LINEAR = {
    "matmul": torch.matmul,
    "linear": lambda x, weight, bias, /, **_: F.linear(x, weight, bias),
    "outer": lambda a, b: torch.einsum("...i,...j->...ij", a, b),
}

TENSOR = {**SHAPE, **INDEX, **LINEAR}
