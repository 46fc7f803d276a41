"""Joining, cutting and padding along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim, bounds
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most, require_divides, require_equal
from .broadcast import require_same_dtype
from .elementwise import ADD
from .shape import FLIP, UNSQUEEZE, zeros

Pads = Sequence[Sequence[Dim]]


def require_alike(op: str, xs: Sequence[Type], axis: int | None = None) -> None:
    """Raises unless all types have one dtype and, except at `axis`, one shape."""
    if not xs:
        raise TypeMismatch(f"{op} takes at least one tensor")
    require_same_dtype(op, *xs)
    for x in xs[1:]:
        message = (
            f"{op} takes tensors of one shape{'' if axis is None else f' but for axis {axis}'}"
        )
        message += f", and gets {xs[0]} and {x}"
        if x.rank != xs[0].rank:
            raise TypeMismatch(message)
        for i, (a, b) in enumerate(zip(xs[0].shape, x.shape, strict=True)):
            if i != axis:
                require_equal(a, b, message)


def _labels(xs: Sequence[Type]) -> list[str | None]:
    """For each axis, the label that is known, of several the first."""
    columns = zip(*(x.labels for x in xs), strict=True)
    return [next((label for label in column if label is not None), None) for column in columns]


def _concat_infer(*xs: Type, axis: int) -> Type:
    require_alike("concat", xs, axis)
    total: Dim = 0
    for x in xs:
        total = total + x.shape[axis]
    shape = (*xs[0].shape[:axis], total, *xs[0].shape[axis + 1 :])
    return Type(xs[0].dtype, shape, tuple(_labels(xs)))


def _concat_grad(b: Build, g: Value, y: Value, *xs: Value, axis: int) -> list[Value]:
    from .index import cut

    parts: list[Value] = []
    start: Dim = 0
    for x in xs:
        end = start + x.type.shape[axis]
        parts.append(cut(b, g, axis, start, end))
        start = end
    return parts


CONCAT = Op(
    "concat",
    inputs=("*xs",),
    config={"axis": Config("axis")},
    infer=_concat_infer,
    eval=lambda *xs, axis: np.concatenate(xs, axis),
    grad=_concat_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"xs": ((2, 3, 5), (2, 1, 5), (2, 7, 5)), "axis": 1},
        {"xs": (((3,), "i32"), ((2,), "i32")), "axis": -1},
        {"xs": ((2, 3),), "axis": 0},
    ),
    doc="Joins tensors along an axis.",
)


def _stack_infer(*xs: Type, axis: int) -> Type:
    require_alike("stack", xs)
    labels = _labels(xs)
    shape = (*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:])
    return Type(xs[0].dtype, shape, (*labels[:axis], None, *labels[axis:]))


STACK = Op(
    "stack",
    inputs=("*xs",),
    config={"axis": Config("new_axis", 0, doc="where the new axis stands in the result")},
    infer=_stack_infer,
    eval=lambda *xs, axis: np.stack(xs, axis),
    body=lambda b, *xs, axis: b(CONCAT, *(b(UNSQUEEZE, x, axes=axis) for x in xs), axis=axis),
    rounding="exact",
    samples=(
        {"xs": ((2, 3), (2, 3), (2, 3)), "axis": 1},
        {"xs": ((3,), (3,)), "axis": -1},
        {"xs": (((3,), "i32"),)},
    ),
    doc="Joins tensors along a new axis.",
)


def _split_infer(x: Type, parts: int, axis: int) -> tuple[Type, ...]:
    if parts < 1:
        raise TypeMismatch(f"split takes at least one part, and gets {parts}")
    message = f"axis {axis} of {x} does not divide into {parts} parts"
    size = require_divides(parts, x.shape[axis], message)
    part = x.with_(shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))
    return (part,) * parts


def _split_grad(b: Build, g: Any, y: Any, x: Value, parts: int, axis: int) -> list[Value]:
    if parts == 1:
        return [g]
    gs = [zeros(b, part.type) if gi is None else gi for gi, part in zip(g, y, strict=True)]
    return [b(CONCAT, *gs, axis=axis)]


SPLIT = Op(
    "split",
    inputs=("x",),
    config={"parts": Config("int"), "axis": Config("axis")},
    infer=_split_infer,
    eval=lambda x, parts, axis: tuple(np.split(x, parts, axis)),
    grad=_split_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (2, 6, 5), "parts": 3, "axis": 1},
        {"x": ((4, 3), "i32"), "parts": 2, "axis": 0},
        {"x": (2, 3), "parts": 1, "axis": -1},
    ),
    doc="Cuts an axis into `parts` tensors of one size.",
)


# -------------------------------------------------------------------------------------- padding


def _pad_infer(x: Type, pads: Pads, mode: str, value: float) -> Type:
    if isinstance(pads, int) or len(pads) != x.rank or any(isinstance(p, int) for p in pads):
        raise TypeMismatch(f"pad of {x} takes {x.rank} pairs (low, high), and gets {pads}")
    shape: list[Dim] = []
    for size, (low, high) in zip(x.shape, pads, strict=True):
        for amount in (low, high):
            if bounds(amount)[1] < 0:
                raise TypeMismatch(f"pad of {x} by {amount}", help="write a slice to cut elements")
            if mode == "reflect" and amount != 0:
                message = f"pad of {x} reflects {amount} elements of an axis of size {size}"
                require_at_most(amount + 1, size, message)
        shape.append(size + low + high)
    return x.with_(shape=tuple(shape))


def _pad_eval(x: Any, pads: Pads, mode: str, value: float) -> Any:
    if mode == "constant":
        return np.pad(x, pads, constant_values=value)
    return np.pad(x, pads, mode)


def _pad_grad(
    b: Build, g: Value, y: Value, x: Value, pads: Pads, mode: str, value: float
) -> list[Value]:
    for axis, (low, high) in enumerate(pads):
        if low != 0 or high != 0:
            g = _fold_back(b, g, axis, low, x.type.shape[axis], high, mode)
    return [g]


def _fold_back(b: Build, g: Value, axis: int, low: Dim, size: Dim, high: Dim, mode: str) -> Value:
    """The gradient of one padded axis: what was copied outside is added where it came from."""
    from .index import cut

    end = low + size
    result = cut(b, g, axis, low, end)
    if mode != "constant" and low != 0:
        part = _source(b, cut(b, g, axis, 0, low), axis, mode)
        before = 1 if mode == "reflect" else 0
        result = b(ADD, result, _placed(b, part, axis, before, size))
    if mode != "constant" and high != 0:
        part = _source(b, cut(b, g, axis, end, end + high), axis, mode)
        after = 1 if mode == "reflect" else 0
        result = b(ADD, result, _placed(b, part, axis, size - after - part.type.shape[axis], size))
    return result


def _source(b: Build, part: Value, axis: int, mode: str) -> Value:
    """The padding's gradient in the order of the elements that it was copied from."""
    from .reduce import SUM

    if mode == "reflect":
        result: Value = b(FLIP, part, axes=(axis,))
    else:
        result = b(SUM, part, axes=(axis,), keep=True)
    return result


def _placed(b: Build, part: Value, axis: int, start: Dim, size: Dim) -> Value:
    """`part` at `start` within an axis of zeros of this size."""
    pair = (start, size - start - part.type.shape[axis])
    pads = tuple(pair if i == axis else (0, 0) for i in range(part.type.rank))
    result: Value = b(PAD, part, pads=pads)
    return result


PAD = Op(
    "pad",
    inputs=("x",),
    config={
        "pads": Config("pads", doc="(low, high) for each axis"),
        "mode": Config("str", "constant", ("constant", "reflect", "edge")),
        "value": Config("float", 0.0, doc="what the mode constant fills with"),
    },
    infer=_pad_infer,
    eval=_pad_eval,
    grad=_pad_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (2, 3), "pads": ((0, 1), (2, 0))},
        {"x": (2, 3), "pads": ((0, 0), (1, 2)), "value": -1.5},
        {"x": (2, 5, 4), "pads": ((0, 0), (3, 4), (1, 0)), "mode": "reflect"},
        {"x": (2, 3, 5), "pads": ((1, 0), (0, 4), (2, 3)), "mode": "edge"},
        {"x": ((3,), "i32"), "pads": ((1, 1),)},
    ),
    doc="Adds elements at both ends of axes: a constant, the mirrored tensor (without its edge"
    " element), or copies of the edge.",
)

JOIN = (CONCAT, STACK, SPLIT, PAD)
