"""Cutting and replacing a part that starts where a tensor says: what caches are made of."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..diagnose import MlcError
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most, require_equal
from .broadcast import require_integer, require_same_dtype
from .compare import GREATER_EQUAL, LESS, LOGICAL_AND
from .elementwise import ADD, CLAMP, SUB, WHERE
from .index import GATHER
from .sequence import IOTA
from .shape import RESHAPE, require_sizes, zeros


def _require_start(name: str, start: Type) -> None:
    require_integer(name, start)
    if start.rank:
        raise TypeMismatch(f"{name} takes one number as its start, and gets {start}")


def _checked_start(name: str, start: Any, size: int, whole: int) -> int:
    """The start, if the part lies within the axis; raises MlcError otherwise."""
    first = int(start)
    if not 0 <= first <= whole - size:
        raise MlcError("feed", f"{name} of {size} elements at {first} of an axis of size {whole}")
    return first


def _slice_infer(x: Type, start: Type, size: Dim, axis: int) -> Type:
    _require_start("dynamic_slice", start)
    require_sizes("dynamic_slice", (size,))
    message = f"dynamic_slice takes {size} of {x.shape[axis]} elements of axis {axis} of {x}"
    require_at_most(size, x.shape[axis], message)
    return x.with_(shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))


def _slice_eval(x: Any, start: Any, size: int, axis: int) -> Any:
    first = _checked_start("dynamic_slice", start, size, x.shape[axis])
    return np.take(x, np.arange(first, first + size), axis)


def _slice_grad(
    b: Build, g: Value, y: Value, x: Value, start: Value, size: Dim, axis: int
) -> list[Value | None]:
    return [b(DYNAMIC_UPDATE, zeros(b, x.type), g, start, axis=axis), None]


DYNAMIC_SLICE = Op(
    "dynamic_slice",
    inputs=("x", "start"),
    config={
        "size": Config("size", doc="how many elements are taken"),
        "axis": Config("axis", 0),
    },
    infer=_slice_infer,
    eval=_slice_eval,
    body=lambda b, x, start, size, axis: b(
        GATHER, x, b(ADD, start, b(IOTA, size=size, dtype=start.type.dtype)), axis=axis
    ),
    grad=_slice_grad,
    rounding="exact",
    samples=(
        {"x": (5, 3), "start": ((), "i32", 2, 3), "size": 2},
        {"x": (2, 7, 3), "start": ((), "i64", 0, 1), "size": 5, "axis": 1},
        {"x": (2, 7), "start": ((), "i32", 4, 5), "size": 3, "axis": -1},
        {"x": ((4,), "i32"), "start": ((), "i32", 0, 1), "size": 4},
    ),
    doc="`size` elements of an axis, from the one that the tensor start (of rank 0) names. To go"
    " beyond the ends of the axis is an error: frameworks clamp, wrap or fail.",
)


def _update_infer(x: Type, update: Type, start: Type, axis: int) -> Type:
    _require_start("dynamic_update", start)
    require_same_dtype("dynamic_update", x, update)
    message = f"dynamic_update puts {update} into axis {axis} of {x}"
    if x.rank != update.rank:
        raise TypeMismatch(message)
    for i, (whole, part) in enumerate(zip(x.shape, update.shape, strict=True)):
        if i == axis:
            require_at_most(part, whole, message)
        else:
            require_equal(whole, part, message)
    return x


def _update_eval(x: Any, update: Any, start: Any, axis: int) -> Any:
    size = update.shape[axis]
    first = _checked_start("dynamic_update", start, size, x.shape[axis])
    result = np.array(x)
    result[(slice(None),) * axis + (slice(first, first + size),)] = update
    return result


def _inside(b: Build, x: Value, start: Value, size: Dim, axis: int) -> tuple[Value, Value]:
    """How far each place of the axis is from the start, and whether the part lies there."""
    far = b(SUB, b(IOTA, size=x.type.shape[axis], dtype=start.type.dtype), start)
    end = b.constant(size, start.type.dtype)
    there = b(LOGICAL_AND, b(GREATER_EQUAL, far, 0), b(LESS, far, end))
    return far, b(RESHAPE, there, shape=(x.type.shape[axis], *(1,) * (x.type.rank - 1 - axis)))


def _update_body(b: Build, x: Value, update: Value, start: Value, axis: int) -> Value:
    size = update.type.shape[axis]
    far, there = _inside(b, x, start, size, axis)
    if size == 1:
        result: Value = b(WHERE, there, update, x)
        return result
    low = b(CLAMP, far, min=0)
    last = b.constant(size - 1, start.type.dtype)
    index = b(WHERE, b(LESS, low, last), low, last)
    result = b(WHERE, there, b(GATHER, update, index, axis=axis), x)
    return result


def _update_grad(
    b: Build, g: Value, y: Value, x: Value, update: Value, start: Value, axis: int
) -> list[Value | None]:
    size = update.type.shape[axis]
    _, there = _inside(b, x, start, size, axis)
    part = b(DYNAMIC_SLICE, g, start, size=size, axis=axis)
    return [b(WHERE, there, 0.0, g), part, None]


DYNAMIC_UPDATE: Op = Op(
    "dynamic_update",
    inputs=("x", "update", "start"),
    config={"axis": Config("axis", 0)},
    infer=_update_infer,
    eval=_update_eval,
    body=_update_body,
    grad=_update_grad,
    rounding="exact",
    samples=(
        {"x": (5, 3), "update": (2, 3), "start": ((), "i32", 2, 3)},
        {"x": (2, 7, 3), "update": (2, 1, 3), "start": ((), "i64", 6, 7), "axis": 1},
        {"x": (2, 7), "update": (2, 7), "start": ((), "i32", 0, 1), "axis": -1},
        {"x": ((4,), "i32"), "update": ((3,), "i32"), "start": ((), "i32", 1, 2)},
    ),
    doc="x, in which the elements of an axis from the one that the tensor start (of rank 0) names"
    " are those of update. To go beyond the ends of the axis is an error.",
)

DYNAMIC = (DYNAMIC_SLICE, DYNAMIC_UPDATE)
