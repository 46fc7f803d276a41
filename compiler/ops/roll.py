"""Moving elements along axes; what leaves at one end comes in at the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from ..array import np
from ..dim import Dim, Size, bounds
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most
from .index import cut
from .join import CONCAT

Shifts: TypeAlias = "Dim | Sequence[Dim]"


def _moves(x: Type, shift: Shifts, axes: Sequence[int]) -> Iterator[tuple[int, Dim]]:
    """The axes that move, and how many of their last elements come to the front."""
    shifts = (shift,) if isinstance(shift, (int, Size)) else tuple(shift)
    if len(shifts) != len(axes) or len(set(axes)) < len(axes):
        text = f"roll of {x} takes different axes and a shift for each, not {shift} and {axes}"
        raise TypeMismatch(text)
    for axis, places in zip(axes, shifts, strict=True):
        size = x.shape[axis]
        if isinstance(size, int) and isinstance(places, int):
            places = places % size
        elif bounds(places)[1] < 0:
            places = size + places
        if places != 0:
            yield axis, places


def _roll_infer(x: Type, shift: Shifts, axes: Sequence[int]) -> Type:
    for axis, places in _moves(x, shift, axes):
        size = x.shape[axis]
        message = f"roll of {x} by {places} places of axis {axis}"
        require_at_most(1, places, message)
        require_at_most(places + 1, size, message)
    return x


def _roll_body(b: Build, x: Value, shift: Shifts, axes: Sequence[int]) -> Value:
    for axis, places in _moves(x.type, shift, axes):
        size = x.type.shape[axis]
        ends = cut(b, x, axis, size - places, size), cut(b, x, axis, 0, size - places)
        x = b(CONCAT, *ends, axis=axis)
    return x


def _roll_grad(b: Build, g: Value, y: Value, x: Value, shift: Any, axes: Any) -> list[Value]:
    back = tuple(-n for n in shift) if isinstance(shift, (tuple, list)) else -shift
    return [b(ROLL, g, shift=back, axes=axes)]


ROLL = Op(
    "roll",
    inputs=("x",),
    config={
        "shift": Config("ints", doc="how far, towards the end: a number for each axis"),
        "axes": Config("axes"),
    },
    infer=_roll_infer,
    eval=lambda x, shift, axes: np.roll(x, shift, tuple(axes)),
    body=_roll_body,
    grad=_roll_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (2, 5, 3), "shift": 2, "axes": (1,)},
        {"x": (5, 4, 3), "shift": (-1, 2), "axes": (0, 2)},
        {"x": (3, 4), "shift": (-2, 1), "axes": (1, 0)},
        {"x": ((5,), "i32"), "shift": 1, "axes": 0},
    ),
    doc="The elements moved along axes; those that leave at the end come in at the front.",
)

ROLLS = (ROLL,)
