"""The steps from a model's own tensors to those of a target: each linear, with what undoes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

Shape: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True, slots=True)
class Step:
    """One linear step on a tensor, or on several; `args` are ints or tuples of ints.

    permute  (axes)          axis i of the result is axis axes[i], as in NumPy's transpose
    reshape  (before, after) both shapes, so that it can be inverted
    flip     (axes)          reverses these axes
    concat   (axis, sizes)   joins the tensors, whose sizes along `axis` are `sizes`, to one
    take     (axis, size, places) of the `size` slices along `axis` those at `places`, each once:
                             another order of gates, or the part of a packed weight
    stack    (*counts)       joins that many tensors along new axes in front, the last one fastest
    sum      (count)         adds that many tensors, as where two biases become one
    """

    kind: str
    args: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.kind not in STEPS:
            raise ValueError(f"{self.kind} is no step of a weight map")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of step does to a list of tensors, and what undoes it; all take the step's args.

    `transpose` is the transpose of the linear map: how a gradient goes back. `shape` is `apply` on
    shapes, and raises ValueError for those that do not fit. `invert` puts zeros where the tensor
    does not say what stood there; `cover` takes a mask back, false for those. Of a sum the first
    part is all of it, and zeros as the others are as good as any.
    """

    apply: Callable[..., list[Any]]
    invert: Callable[..., list[Any]]
    transpose: Callable[..., list[Any]]
    shape: Callable[..., list[Shape]]
    cover: Callable[..., list[Any]] | None = None


def _permute(tensors: list[Any], *axes: int) -> list[Any]:
    return [x.transpose(axes) for x in tensors]


def _unpermute(tensors: list[Any], *axes: int) -> list[Any]:
    return _permute(tensors, *(axes.index(i) for i in range(len(axes))))


def _permuted(shapes: Sequence[Shape], *axes: int) -> list[Shape]:
    _need(all(sorted(axes) == list(range(len(shape))) for shape in shapes))
    return [tuple(shape[axis] for axis in axes) for shape in shapes]


def _reshape(tensors: list[Any], before: Shape, after: Shape) -> list[Any]:
    del before
    return [x.reshape(after) for x in tensors]


def _unreshape(tensors: list[Any], before: Shape, after: Shape) -> list[Any]:
    return _reshape(tensors, after, before)


def _reshaped(shapes: Sequence[Shape], before: Shape, after: Shape) -> list[Shape]:
    _need(all(shape == before for shape in shapes) and prod(before) == prod(after))
    return [after for _ in shapes]


def _flip(tensors: list[Any], *axes: int) -> list[Any]:
    import numpy as np

    return [np.flip(x, axes) for x in tensors]


def _flipped(shapes: Sequence[Shape], *axes: int) -> list[Shape]:
    _need(all(axis < len(shape) for axis in axes for shape in shapes))
    return list(shapes)


def _concat(tensors: list[Any], axis: int, sizes: Shape) -> list[Any]:
    import numpy as np

    del sizes
    return [np.concatenate(tensors, axis)]


def _unconcat(tensors: list[Any], axis: int, sizes: Shape) -> list[Any]:
    import numpy as np

    (whole,) = tensors
    return list(np.split(whole, np.cumsum(sizes)[:-1], axis))


def _concatenated(shapes: Sequence[Shape], axis: int, sizes: Shape) -> list[Shape]:
    _need(all(axis < len(shape) for shape in shapes))
    _need(tuple(shape[axis] for shape in shapes) == sizes)
    rest = {(*shape[:axis], sum(sizes), *shape[axis + 1 :]) for shape in shapes}
    _need(len(rest) == 1)
    return [*rest]


def _take(tensors: list[Any], axis: int, size: int, places: Shape) -> list[Any]:
    import numpy as np

    del size
    return [np.take(x, places, axis) for x in tensors]


def _untake(tensors: list[Any], axis: int, size: int, places: Shape) -> list[Any]:
    import numpy as np

    whole = []
    for x in tensors:
        y = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
        np.moveaxis(y, axis, 0)[list(places)] = np.moveaxis(x, axis, 0)
        whole.append(y)
    return whole


def _taken(shapes: Sequence[Shape], axis: int, size: int, places: Shape) -> list[Shape]:
    _need(all(axis < len(shape) and shape[axis] == size for shape in shapes))
    _need(len({*places}) == len(places) and all(0 <= place < size for place in places))
    return [(*shape[:axis], len(places), *shape[axis + 1 :]) for shape in shapes]


def _stack(tensors: list[Any], *counts: int) -> list[Any]:
    import numpy as np

    return [np.stack(tensors).reshape(*counts, *tensors[0].shape)]


def _unstack(tensors: list[Any], *counts: int) -> list[Any]:
    (whole,) = tensors
    return list(whole.reshape(prod(counts), *whole.shape[len(counts) :]))


def _stacked(shapes: Sequence[Shape], *counts: int) -> list[Shape]:
    _need(len(shapes) == prod(counts) and len({*shapes}) == 1)
    return [(*counts, *shapes[0])]


def _sum(tensors: list[Any], count: int) -> list[Any]:
    del count
    total, *rest = tensors
    for x in rest:
        total = total + x
    return [total]


def _unsum(tensors: list[Any], count: int) -> list[Any]:
    import numpy as np

    (total,) = tensors
    return [total, *(np.zeros_like(total) for _ in range(count - 1))]


def _spread(tensors: list[Any], count: int) -> list[Any]:
    (total,) = tensors
    return [total] * count


def _summed(shapes: Sequence[Shape], count: int) -> list[Shape]:
    _need(len(shapes) == count and len({*shapes}) == 1)
    return [shapes[0]]


def _need(fits: bool) -> None:
    if not fits:
        raise ValueError("a step of the weight map does not fit the shape")


STEPS: Mapping[str, Kind] = {
    "permute": Kind(_permute, _unpermute, _unpermute, _permuted),
    "reshape": Kind(_reshape, _unreshape, _unreshape, _reshaped),
    "flip": Kind(_flip, _flip, _flip, _flipped),
    "concat": Kind(_concat, _unconcat, _unconcat, _concatenated),
    "take": Kind(_take, _untake, _untake, _taken),
    "stack": Kind(_stack, _unstack, _unstack, _stacked),
    "sum": Kind(_sum, _unsum, _spread, _summed, cover=_spread),
}
"""Every kind of step. All but `sum` only move elements, so the inverse is the transpose as well."""
