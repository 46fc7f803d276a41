"""Arithmetic and choice, element by element; shapes broadcast as NumPy's do.

Nothing is promoted: the tensors of one op have one dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import (
    broadcast,
    require_bool,
    require_floating,
    require_numeric,
    require_same_dtype,
    unbroadcast,
)
from .compare import EQUAL, GREATER_EQUAL, LESS_EQUAL
from .constant import numpy_dtype

PAIRS = (
    {"a": (3, 5), "b": (3, 5)},
    {"a": (2, 3, 5), "b": (5,)},
    {"a": (2, 1, 7), "b": (3, 1)},
    {"a": (), "b": (5,)},
)
INTEGERS = ({"a": ((3, 5), "i32"), "b": ((5,), "i32")},)
_NEVER_ZERO = (
    {"a": (3, 5), "b": ((3, 5), "f32", 0.5, 3.0)},
    {"a": (2, 1, 7), "b": ((3, 1), "f32", -3.0, -0.5)},
    {"a": (), "b": ((5,), "f32", 0.5, 3.0)},
)
_DIVIDED_INTEGERS = (
    {"a": ((3, 5), "i32", -9, 9), "b": ((5,), "i32", 1, 5)},
    {"a": ((3, 5), "i32", -9, 9), "b": ((5,), "i32", -5, -1)},
)


def binary(
    name: str,
    eval: Callable[..., Any],
    grad: Callable[..., tuple[Value | None, Value | None]],
    *,
    require: Callable[..., None] = require_numeric,
    samples: Sequence[dict[str, Any]] = PAIRS + INTEGERS,
    rounding: str = "elementwise",
    kinks: str = "",
    body: Callable[..., Value] | None = None,
    doc: str,
) -> Op:
    """An op on `a` and `b`; `grad` gives the gradients before they are summed over broadcasting."""

    def infer(u: Type, v: Type) -> Type:
        require(name, u, v)
        require_same_dtype(name, u, v)
        return broadcast(u, v)

    def gradients(b: Build, g: Value, y: Value, u: Value, v: Value) -> list[Value | None]:
        pairs = zip(grad(b, g, y, u, v), (u, v), strict=True)
        return [None if part is None else unbroadcast(b, part, like) for part, like in pairs]

    return Op(
        name, ("a", "b"), infer, eval, body=body, grad=gradients, samples=tuple(samples),
        layout="any", rounding=rounding, kinks=kinks, doc=doc,
    )  # fmt: skip


def _neg_infer(x: Type) -> Type:
    require_numeric("neg", x)
    return x


def _picked(picks: Op, other: Op) -> Callable[..., tuple[Value, Value]]:
    """The gradient of an extreme: to the side that was picked, half to each in a tie."""

    def grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> tuple[Value, Value]:
        share = b(WHERE, b(EQUAL, u, v), b(MUL, g, 0.5), g)
        return b(WHERE, b(picks, u, v), share, 0.0), b(WHERE, b(other, u, v), share, 0.0)

    return grad


_TIES = ({"a": [1.0, 2.0, 3.0], "b": [1.0, 3.0, 2.0]},)
_TIE = "where both are equal, each gets half of the gradient"

ADD = binary("add", lambda a, b: np.add(a, b), lambda b, g, y, u, v: (g, g), doc="a + b.")
SUB = binary(
    "sub", lambda a, b: np.subtract(a, b), lambda b, g, y, u, v: (g, b(NEG, g)), doc="a - b."
)
MUL: Op = binary(
    "mul",
    lambda a, b: np.multiply(a, b),
    lambda b, g, y, u, v: (b(MUL, g, v), b(MUL, g, u)),
    doc="a * b.",
)
DIV: Op = binary(
    "div",
    lambda a, b: np.divide(a, b),
    lambda b, g, y, u, v: (b(DIV, g, v), b(NEG, b(MUL, g, b(DIV, y, v)))),
    require=require_floating,
    samples=(*_NEVER_ZERO, {"a": [1.0, 1e-30, 3e30], "b": [3.0, 1e5, -7.0]}),
    doc="a / b of floats; integers are divided by floor_div.",
)
NEG: Op = Op(
    "neg",
    inputs=("x",),
    infer=_neg_infer,
    eval=lambda x: np.negative(x),
    grad=lambda b, g, y, x: [b(NEG, g)],
    rounding="exact",
    layout="any",
    samples=({"x": (3, 5)}, {"x": ()}, {"x": ((3, 5), "i32")}),
    doc="-x.",
)
MAXIMUM = binary(
    "maximum",
    lambda a, b: np.maximum(a, b),
    _picked(GREATER_EQUAL, LESS_EQUAL),
    samples=PAIRS + INTEGERS + _TIES,
    rounding="exact",
    kinks=_TIE,
    doc="The larger of a and b.",
)
MINIMUM = binary(
    "minimum",
    lambda a, b: np.minimum(a, b),
    _picked(LESS_EQUAL, GREATER_EQUAL),
    samples=PAIRS + INTEGERS + _TIES,
    rounding="exact",
    kinks=_TIE,
    doc="The smaller of a and b.",
)
FLOOR_DIV = binary(
    "floor_div",
    lambda a, b: np.floor_divide(a, b),
    lambda b, g, y, u, v: (None, None),
    samples=_NEVER_ZERO + _DIVIDED_INTEGERS,
    rounding="exact",
    kinks="its derivative is 0, at the steps too",
    doc="a / b rounded towards minus infinity, of floats or integers.",
)
MOD = binary(
    "mod",
    lambda a, b: np.mod(a, b),
    lambda b, g, y, u, v: (g, b(NEG, b(MUL, g, b(FLOOR_DIV, u, v)))),
    samples=_NEVER_ZERO + _DIVIDED_INTEGERS,
    kinks="at the steps its derivative is that between them: 1 by a, -floor(a / b) by b",
    doc="The remainder a - b * floor(a / b): it has the sign of b.",
)


# ------------------------------------------------------------------------- clamp, where, cast


def _clamp_infer(x: Type, min: float | None, max: float | None) -> Type:
    require_numeric("clamp", x)
    if min is None and max is None:
        raise TypeMismatch("clamp takes a min or a max, and gets neither", "value")
    if not x.floating and any(
        end is not None and not float(end).is_integer() for end in (min, max)
    ):
        raise TypeMismatch(f"clamp of {x} takes integers, and gets {min} and {max}", "dtype")
    return x


def _ends(x: Any, *ends: float | None) -> list[float | int | None]:
    """The ends as numbers of the kind that the tensor (or NumPy array) has."""
    floating = x.type.floating if isinstance(x, Value) else x.dtype.kind not in "iu"
    return [end if end is None or floating else int(end) for end in ends]


def _clamp_body(b: Build, x: Value, min: float | None, max: float | None) -> Value:
    low, high = _ends(x, min, max)
    raised = x if low is None else b(MAXIMUM, x, low)
    result: Value = raised if high is None else b(MINIMUM, raised, high)
    return result


def _clamp_grad(
    b: Build, g: Value, y: Value, x: Value, min: float | None, max: float | None
) -> list[Value]:
    if min is not None:
        g = b(WHERE, b(GREATER_EQUAL, x, min), g, 0.0)
    return [g if max is None else b(WHERE, b(LESS_EQUAL, x, max), g, 0.0)]


CLAMP = Op(
    "clamp",
    inputs=("x",),
    config={
        "min": Config("float", None, doc="smaller elements become this"),
        "max": Config("float", None, doc="larger elements become this"),
    },
    infer=_clamp_infer,
    eval=lambda x, min, max: np.clip(x, *_ends(x, min, max)),
    body=_clamp_body,
    grad=_clamp_grad,
    rounding="exact",
    layout="any",
    kinks="its derivative is 1 at both ends",
    samples=(
        {"x": (3, 5), "min": -0.5, "max": 0.5},
        {"x": [-1.0, 0.0, 2.0, 3.0, float("nan")], "min": -1.0, "max": 2.0},
        {"x": (7,), "min": 0.0},
        {"x": ((3, 5), "i32"), "max": 2},
    ),
    doc="Elements below `min` become `min`, elements above `max` become `max`.",
)


def _where_infer(condition: Type, a: Type, b: Type) -> Type:
    require_bool("the condition of where", condition)
    require_same_dtype("where", a, b)
    return broadcast(condition, a, b, dtype=a.dtype)


def _where_grad(
    b: Build, g: Value, y: Value, condition: Value, u: Value, v: Value
) -> list[Value | None]:
    left = unbroadcast(b, b(WHERE, condition, g, 0.0), u)
    return [None, left, unbroadcast(b, b(WHERE, condition, 0.0, g), v)]


WHERE = Op(
    "where",
    inputs=("condition", "a", "b"),
    infer=_where_infer,
    eval=lambda condition, a, b: np.where(condition, a, b),
    grad=_where_grad,
    rounding="exact",
    layout="any",
    samples=(
        {"condition": ((3, 5), "bool"), "a": (3, 5), "b": (3, 5)},
        {"condition": ((3, 1), "bool"), "a": (2, 1, 7), "b": ()},
        {"condition": ((5,), "bool"), "a": ((3, 5), "i32"), "b": ((), "i32")},
        {"condition": ((5,), "bool"), "a": ((5,), "bool"), "b": ((5,), "bool")},
        {"condition": ([True, False], "bool"), "a": [1.0, float("nan")], "b": [float("inf"), 2.0]},
    ),
    doc="a where the condition is true, else b.",
)


def _cast_grad(b: Build, g: Value, y: Value, x: Value, dtype: str) -> list[Value | None]:
    back = x.type.floating and y.type.floating
    return [b(CAST, g, dtype=x.type.dtype) if back else None]


CAST = Op(
    "cast",
    inputs=("x",),
    config={"dtype": Config("dtype", doc="the dtype of the result")},
    infer=lambda x, dtype: x.with_(dtype=dtype),
    eval=lambda x, dtype: x.astype(numpy_dtype(dtype)),
    grad=_cast_grad,
    rounding="exact",
    layout="any",
    samples=(
        {"x": ((3, 5), "f32", -9.0, 9.0), "dtype": "i32"},
        {"x": ((3, 5), "i32"), "dtype": "f32"},
        {"x": ((3, 5), "bool"), "dtype": "f32"},
        {"x": [0.0, -0.5, 2.0], "dtype": "bool"},
        {"x": ((3, 5), "i32", 0, 200), "dtype": "u8"},
        {"x": ((5,), "f32", 1.0, 2.0), "dtype": "f32"},
    ),
    doc="The same numbers in another dtype; floats become integers by dropping the fraction, and "
    "bools by being other than 0.",
)

IDENTITY = Op(
    "identity",
    inputs=("x",),
    infer=lambda x: x,
    eval=lambda x: x,
    grad=lambda b, g, y, x: [g],
    rounding="exact",
    layout="any",
    samples=({"x": (3, 5)}, {"x": ((3,), "i32")}, {"x": ()}),
    doc="Its input.",
)
STOP_GRADIENT = Op(
    "stop_gradient",
    inputs=("x",),
    infer=lambda x: x,
    eval=lambda x: x,
    grad=lambda b, g, y, x: [None],
    rounding="exact",
    layout="any",
    samples=({"x": (3, 5)}, {"x": ()}),
    doc="Its input, as a constant to differentiation.",
)

ELEMENTWISE = (
    ADD, SUB, MUL, DIV, NEG, MAXIMUM, MINIMUM, FLOOR_DIV, MOD, CLAMP, WHERE, CAST, IDENTITY,
    STOP_GRADIENT,
)  # fmt: skip
"""The family, in the order in which `mlc ops` lists it."""
