"""Reductions over axes. `axes = None` means all of them; `keep` leaves the axes, with size 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import (
    expand_like,
    require_numeric,
)

Axes = tuple[int, ...] | None

AXES = {
    "axes": Config("axes", None, doc="the axes to reduce; all of them if not given"),
    "keep": Config("bool", False, doc="whether the reduced axes stay, with size 1"),
}
SAMPLES = (
    {"x": (5, 7)},
    {"x": (2, 3, 5), "axes": (0, 2)},
    {"x": (2, 3, 5), "axes": (1,), "keep": True},
    {"x": (3,), "axes": (0,)},
    {"x": ()},
)


def all_axes(x: Type, axes: Axes) -> tuple[int, ...]:
    """The axes that a reduction of `x` works on; raises on one named twice."""
    if axes is None:
        return tuple(range(x.rank))
    if len(set(axes)) < len(axes):
        raise TypeMismatch(f"axes {axes} of {x} name one axis twice", "axis")
    return axes


def reduced(x: Type, axes: Axes, keep: bool, dtype: str | None = None) -> Type:
    """The type of a reduction: the axes and their labels go, or have size 1 and no label."""
    gone = all_axes(x, axes)
    shape: list[Dim] = []
    labels: list[str | None] = []
    for i, (size, label) in enumerate(zip(x.shape, x.labels, strict=True)):
        if i not in gone:
            shape.append(size)
            labels.append(label)
        elif keep:
            shape.append(1)
            labels.append(None)
    return Type(dtype or x.dtype, tuple(shape), tuple(labels))


def count(x: Type, axes: Axes) -> Dim:
    """How many elements go into one of the result."""
    size: Dim = 1
    for axis in all_axes(x, axes):
        size = size * x.shape[axis]
    return size


def _infer(
    name: str, require: Callable[..., None], dtype: str | None = None
) -> Callable[..., Type]:
    def infer(x: Type, axes: Axes, keep: bool, **_: Any) -> Type:
        require(name, x)
        return reduced(x, axes, keep, dtype)

    return infer


# ------------------------------------------------------------------------------- sum and mean


def _sum_grad(b: Build, g: Value, y: Value, x: Value, axes: Axes, keep: bool) -> list[Value]:
    return [expand_like(b, g, x, all_axes(x.type, axes), keep)]


SUM = Op(
    "sum",
    inputs=("x",),
    config=AXES,
    infer=_infer("sum", require_numeric),
    eval=lambda x, axes, keep: np.sum(x, axes, dtype=x.dtype, keepdims=keep),
    grad=_sum_grad,
    rounding="sum",
    layout="axes",
    samples=(*SAMPLES, {"x": ((3, 5), "i32"), "axes": (1,)}),
    doc="The sum of elements.",
)

REDUCE = (SUM,)
