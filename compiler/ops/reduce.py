"""Reductions over axes. `axes = None` means all of them; `keep` leaves the axes, with size 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import (
    expand_like,
    kept,
    number,
    require_bool,
    require_floating,
    require_numeric,
)
from .compare import EQUAL
from .elementwise import CAST, DIV, MUL, SUB, WHERE
from .shape import product

Axes = tuple[int, ...] | None
Samples = Sequence[Mapping[str, Any]]

SAMPLES: Samples = (
    {"x": (5, 7)},
    {"x": (2, 3, 5), "axes": (0, 2)},
    {"x": (2, 3, 5), "axes": (1,), "keep": True},
    {"x": (3,), "axes": (0,)},
)
SCALAR: Samples = ({"x": ()},)
_INTEGERS: Samples = ({"x": ((3, 5), "i32"), "axes": (1,)},)
_TIES: Samples = ({"x": [[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]], "axes": (1,)},)
_BOOLS: Samples = (
    {"x": ((5, 3), "bool"), "axes": (1,)},
    {"x": ((2, 3, 2), "bool"), "axes": (0, 2), "keep": True},
    {"x": ((5,), "bool")},
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
    return product([x.shape[axis] for axis in all_axes(x, axes)])


def reduction(
    name: str,
    eval: Callable[..., Any],
    grad: Callable[..., Any] | None,
    *,
    samples: Samples,
    require: Callable[..., None] = require_floating,
    body: Callable[..., Value] | None = None,
    rounding: str = "body",
    kinks: str = "",
    doc: str,
) -> Op:
    """An op on `x` over `axes`; its rule is grad(b, g, y, x, axes, keep) -> the gradient of x."""

    def infer(x: Type, axes: Axes, keep: bool) -> Type:
        require(name, x)
        return reduced(x, axes, keep)

    def rule(b: Build, g: Value, y: Value, x: Value, axes: Axes, keep: bool) -> list[Value]:
        assert grad is not None
        return [grad(b, g, y, x, all_axes(x.type, axes), keep)]

    return Op(
        name, ("x",), infer, eval, config=CONFIG, body=body,
        grad=rule if grad else None, samples=tuple(samples), layout="axes",
        rounding=rounding, kinks=kinks, doc=doc,
    )  # fmt: skip


CONFIG = {
    "axes": Config("axes", None, doc="the axes to reduce; all of them if not given"),
    "keep": Config("bool", False, doc="whether the reduced axes stay, with size 1"),
}

# -------------------------------------------------------------------------- sums and products


def _mean_body(b: Build, x: Value, axes: Axes, keep: bool) -> Value:
    total = b(SUM, x, axes=axes, keep=keep)
    result: Value = b(DIV, total, number(b, count(x.type, axes), x))
    return result


def _mean_grad(b: Build, g: Value, y: Value, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    share = b(DIV, g, number(b, count(x.type, axes), x))
    return expand_like(b, share, x, axes, keep)


def _prod_grad(b: Build, g: Value, y: Value, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    """g times the product of the others, which is not y / x where x is 0."""
    zero = b(EQUAL, x, 0.0)
    safe = b(WHERE, zero, 1.0, x)
    ones = b(CAST, zero, dtype=x.type.dtype)
    zeros_beside = b(SUB, b(SUM, ones, axes=axes, keep=True), ones)
    others = b(DIV, b(PROD, safe, axes=axes, keep=True), safe)
    slope = b(WHERE, b(EQUAL, zeros_beside, 0.0), others, 0.0)
    result: Value = b(MUL, kept(b, g, axes, keep), slope)
    return result


SUM = reduction(
    "sum",
    lambda x, axes, keep: np.sum(x, axes, dtype=x.dtype, keepdims=keep),
    lambda b, g, y, x, axes, keep: expand_like(b, g, x, axes, keep),
    require=require_numeric,
    samples=(*SAMPLES, *SCALAR, *_INTEGERS),
    rounding="sum",
    doc="The sum of the elements.",
)
MEAN = reduction(
    "mean",
    lambda x, axes, keep: np.mean(x, axes, keepdims=keep),
    _mean_grad,
    body=_mean_body,
    samples=(*SAMPLES, *SCALAR),
    rounding="sum",
    doc="The sum of the elements, divided by their number.",
)
PROD: Op = reduction(
    "prod",
    lambda x, axes, keep: np.prod(x, axes, dtype=x.dtype, keepdims=keep),
    _prod_grad,
    require=require_numeric,
    samples=(
        *SAMPLES, *SCALAR, *_INTEGERS,
        {"x": [[2.0, 0.0, 3.0], [0.0, 5.0, 0.0], [1.0, 2.0, 4.0]], "axes": (1,)},
    ),
    rounding="elementwise",
    doc="The product of the elements.",
)  # fmt: skip

# ---------------------------------------------------------------------------------- extremes


def extreme_grad(
    b: Build, g: Value, y: Value, x: Value, axes: tuple[int, ...], keep: bool
) -> Value:
    """The gradient of x, of which y is the largest or smallest element: an even share each."""
    hit = b(EQUAL, x, kept(b, y, axes, keep))
    hits = b(SUM, b(CAST, hit, dtype=x.type.dtype), axes=axes, keep=True)
    result: Value = b(WHERE, hit, b(DIV, kept(b, g, axes, keep), hits), 0.0)
    return result


_TIE = "elements that share the extreme share its gradient evenly"

MAX = reduction(
    "max",
    lambda x, axes, keep: np.max(x, axes, keepdims=keep),
    extreme_grad,
    require=require_numeric,
    samples=(*SAMPLES, *SCALAR, *_INTEGERS, *_TIES),
    rounding="exact",
    kinks=_TIE,
    doc="The largest element.",
)
MIN = reduction(
    "min",
    lambda x, axes, keep: np.min(x, axes, keepdims=keep),
    extreme_grad,
    require=require_numeric,
    samples=(*SAMPLES, *SCALAR, *_INTEGERS, *_TIES),
    rounding="exact",
    kinks=_TIE,
    doc="The smallest element.",
)
ANY = reduction(
    "any",
    lambda x, axes, keep: np.any(x, axes, keepdims=keep),
    None,
    require=require_bool,
    samples=_BOOLS,
    rounding="exact",
    doc="Whether one element is true.",
)
ALL = reduction(
    "all",
    lambda x, axes, keep: np.all(x, axes, keepdims=keep),
    None,
    require=require_bool,
    samples=_BOOLS,
    rounding="exact",
    doc="Whether every element is true.",
)


def _arg(name: str, eval: Callable[..., Any], doc: str) -> Op:
    def infer(x: Type, axis: int, keep: bool) -> Type:
        require_numeric(name, x)
        return reduced(x, (axis,), keep, "i32")

    return Op(
        name,
        inputs=("x",),
        config={
            "axis": Config("axis", -1, doc="the axis along which to look"),
            "keep": Config("bool", False, doc="whether that axis stays, with size 1"),
        },
        infer=infer,
        eval=eval,
        grad=None,
        rounding="exact",
        layout="axes",
        samples=(
            {"x": (5, 7)},
            {"x": (2, 3, 5), "axis": 1, "keep": True},
            {"x": ((3, 5), "i32"), "axis": 0},
            {"x": [[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]},
        ),
        doc=doc,
    )


ARGMAX = _arg(
    "argmax",
    lambda x, axis, keep: np.argmax(x, axis, keepdims=keep).astype(np.int32),
    "Where along an axis the largest element is, as i32; the first of several.",
)
ARGMIN = _arg(
    "argmin",
    lambda x, axis, keep: np.argmin(x, axis, keepdims=keep).astype(np.int32),
    "Where along an axis the smallest element is, as i32; the first of several.",
)

REDUCE = (SUM, MEAN, PROD, MAX, MIN, ANY, ALL, ARGMAX, ARGMIN)
