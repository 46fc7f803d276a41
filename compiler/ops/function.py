"""The functions of analysis, element by element: steps, powers, logarithms, circles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import Build, Op
from .broadcast import require_floating, require_numeric
from .compare import EQUAL, GREATER_EQUAL, LESS, LOGICAL_AND, LOGICAL_OR
from .elementwise import ADD, DIV, MUL, NEG, SUB, WHERE, binary
from .erf import erf

Samples = Sequence[Mapping[str, Any]]

_SHAPES: Samples = ({"x": (3, 5)}, {"x": (2, 3, 7)}, {"x": ()})
_INTEGERS: Samples = ({"x": ((3, 5), "i32")},)
_POSITIVE: Samples = ({"x": ((3, 5), "f32", 0.1, 3.0)}, {"x": ((), "f32", 0.1, 3.0)})
_UNIT: Samples = ({"x": ((3, 5), "f32", -0.95, 0.95)},)
_HALVES: Samples = ({"x": [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1e9]},)
_SMALL = [1e-30, -1e-8, 1e-4, 0.3]


def unary(
    name: str,
    eval: Callable[[Any], Any],
    slope: Callable[[Build, Value, Value, Value], Value | None],
    *,
    body: Callable[[Build, Value], Value] | None = None,
    require: Callable[..., None] = require_floating,
    samples: Samples = _SHAPES,
    rounding: str = "elementwise",
    kinks: str = "",
    doc: str,
) -> Op:
    """An op on `x`; `slope` builds the gradient of x from (b, g, y, x)."""

    def infer(x: Type) -> Type:
        require(name, x)
        return x

    return Op(
        name, ("x",), infer, eval, body=body, grad=lambda b, g, y, x: [slope(b, g, y, x)],
        samples=tuple(samples), layout="any", rounding=rounding, kinks=kinks, doc=doc,
    )  # fmt: skip


def _flat(b: Build, g: Value, y: Value, x: Value) -> None:
    """No gradient: the function is constant between its steps."""


_STEPS = "its derivative is 0, at the steps too"

# --------------------------------------------------------------------------- signs and steps

ABS = unary(
    "abs",
    lambda x: np.abs(x),
    lambda b, g, y, x: b(MUL, g, b(SIGN, x)),
    require=require_numeric,
    samples=(*_SHAPES, *_INTEGERS, *_HALVES),
    rounding="exact",
    kinks="its derivative at 0 is 0",
    doc="x without its sign.",
)
SIGN: Op = unary(
    "sign",
    lambda x: np.sign(x),
    _flat,
    require=require_numeric,
    samples=(*_SHAPES, *_INTEGERS, *_HALVES),
    rounding="exact",
    kinks=_STEPS,
    doc="-1, 0 or 1.",
)
FLOOR = unary(
    "floor", lambda x: np.floor(x), _flat, samples=(*_SHAPES, *_HALVES), rounding="exact",
    kinks=_STEPS, doc="The greatest whole number that is at most x, as a float.",
)  # fmt: skip
CEIL = unary(
    "ceil", lambda x: np.ceil(x), _flat, samples=(*_SHAPES, *_HALVES), rounding="exact",
    kinks=_STEPS, doc="The least whole number that is at least x, as a float.",
)  # fmt: skip
ROUND = unary(
    "round", lambda x: np.rint(x), _flat, samples=(*_SHAPES, *_HALVES), rounding="exact",
    kinks=_STEPS, doc="The nearest whole number, as a float; halves go to the even one.",
)  # fmt: skip

TRUNC = unary(
    "trunc",
    lambda x: np.trunc(x),
    _flat,
    body=lambda b, x: b(WHERE, b(LESS, x, 0.0), b(CEIL, x), b(FLOOR, x)),
    samples=(*_SHAPES, *_HALVES),
    rounding="exact",
    kinks=_STEPS,
    doc="x without its fraction, as a float.",
)

# --------------------------------------------------------------------- powers and logarithms


def _log1p_body(b: Build, x: Value) -> Value:
    """log(u) * x / (u - 1) with u = 1 + x: the error of the sum cancels in the quotient."""
    u = b(ADD, x, 1.0)
    rest = b(SUB, u, 1.0)
    lost = b(EQUAL, rest, 0.0)
    exact = b(LOGICAL_OR, lost, b(EQUAL, rest, x))
    ratio = b(WHERE, exact, 1.0, b(DIV, x, b(WHERE, lost, 1.0, rest)))
    result: Value = b(WHERE, lost, x, b(MUL, b(LOG, u), ratio))
    return result


def _pow_grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> tuple[Value, Value]:
    slope = b(MUL, v, b(POW, u, b(SUB, v, 1.0)))
    base = b(WHERE, b(EQUAL, v, 0.0), 0.0, b(MUL, g, slope))
    flat = b(LOGICAL_AND, b(EQUAL, u, 0.0), b(GREATER_EQUAL, v, 0.0))
    return base, b(WHERE, flat, 0.0, b(MUL, g, b(MUL, y, b(LOG, u))))


EXP = unary(
    "exp",
    lambda x: np.exp(x),
    lambda b, g, y, x: b(MUL, g, y),
    samples=(*_SHAPES, {"x": [-80.0, 0.0, 80.0, -float("inf"), -1000.0]}),
    doc="e to the power of x.",
)
EXPM1 = unary(
    "expm1",
    lambda x: np.expm1(x),
    lambda b, g, y, x: b(MUL, g, b(EXP, x)),
    body=lambda b, x: b(MUL, b(TANH, b(MUL, x, 0.5)), b(ADD, b(EXP, x), 1.0)),
    samples=(*_SHAPES, {"x": [*_SMALL, 0.0, -50.0, 50.0, -float("inf")]}),
    doc="exp(x) - 1, accurate near 0.",
)
LOG = unary(
    "log",
    lambda x: np.log(x),
    lambda b, g, y, x: b(DIV, g, x),
    samples=(*_POSITIVE, {"x": [1e-30, 1.0, 1e30]}),
    doc="The natural logarithm; of 0 it is -inf, of negative numbers NaN.",
)
LOG1P = unary(
    "log1p",
    lambda x: np.log1p(x),
    lambda b, g, y, x: b(DIV, g, b(ADD, x, 1.0)),
    body=_log1p_body,
    samples=(*_POSITIVE, {"x": [*_SMALL, 0.0, -0.5, 1e30, float("inf")]}),
    doc="log(1 + x), accurate near 0.",
)
SQRT = unary(
    "sqrt",
    lambda x: np.sqrt(x),
    lambda b, g, y, x: b(DIV, g, b(MUL, y, 2.0)),
    samples=(*_POSITIVE, {"x": [1e-30, 1.0, 1e30]}),
    doc="The square root; NaN for negative numbers. Its derivative at 0 is infinite.",
)
RSQRT = unary(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    lambda b, g, y, x: b(MUL, b(MUL, g, -0.5), b(DIV, y, x)),
    body=lambda b, x: b(DIV, 1.0, b(SQRT, x)),
    samples=(*_POSITIVE, {"x": [1e-10, 1.0, 1e10]}),
    doc="1 / sqrt(x).",
)
RECIPROCAL = unary(
    "reciprocal",
    lambda x: 1 / x,
    lambda b, g, y, x: b(NEG, b(MUL, g, b(MUL, y, y))),
    body=lambda b, x: b(DIV, 1.0, x),
    samples=(*_POSITIVE, {"x": [-1e-10, 1e10]}),
    doc="1 / x.",
)
SQUARE = unary(
    "square",
    lambda x: np.square(x),
    lambda b, g, y, x: b(MUL, g, b(MUL, x, 2.0)),
    body=lambda b, x: b(MUL, x, x),
    require=require_numeric,
    samples=(*_SHAPES, *_INTEGERS),
    doc="x * x.",
)
ERF = unary(
    "erf",
    erf,
    lambda b, g, y, x: b(MUL, b(MUL, g, 2.0 / math.sqrt(math.pi)), b(EXP, b(NEG, b(MUL, x, x)))),
    samples=(*_SHAPES, {"x": ((61,), "f32", -6.0, 6.0)}, {"x": [*_SMALL, -9.0, 9.0]}),
    doc="The error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x.",
)

POW = binary(
    "pow",
    lambda a, b: np.power(a, b),
    _pow_grad,
    samples=(
        {"a": ((3, 5), "f32", 0.1, 3.0), "b": (3, 5)},
        {"a": ((2, 1, 7), "f32", 0.1, 3.0), "b": (3, 1)},
        {"a": [0.0, 0.0, 0.0, -2.0, 2.0, -3.0], "b": [0.0, 2.0, 1.0, 3.0, -2.0, 0.0]},
        {"a": ((3, 5), "i32"), "b": ((5,), "i32", 0, 4)},
    ),
    kinks="at b = 0 the gradient of a is 0; at a = 0 with b >= 0 the gradient of b is 0",
    doc="a to the power of b; NaN for a negative float to a fraction.",
)

# ----------------------------------------------------------------- circular and hyperbolic


def _leg(b: Build, x: Value) -> Value:
    """sqrt(1 - x * x), as (1 - x) * (1 + x), which keeps its digits near 1."""
    result: Value = b(SQRT, b(MUL, b(SUB, 1.0, x), b(ADD, x, 1.0)))
    return result


SIN = unary(
    "sin", lambda x: np.sin(x), lambda b, g, y, x: b(MUL, g, b(COS, x)), doc="The sine of radians."
)
COS: Op = unary(
    "cos",
    lambda x: np.cos(x),
    lambda b, g, y, x: b(NEG, b(MUL, g, b(SIN, x))),
    doc="The cosine of radians.",
)
TAN = unary(
    "tan",
    lambda x: np.tan(x),
    lambda b, g, y, x: b(MUL, g, b(ADD, b(MUL, y, y), 1.0)),
    samples=_UNIT,
    doc="The tangent of radians.",
)
ASIN = unary(
    "asin",
    lambda x: np.arcsin(x),
    lambda b, g, y, x: b(DIV, g, _leg(b, x)),
    samples=_UNIT,
    doc="The angle in [-pi / 2, pi / 2] whose sine is x.",
)
ACOS = unary(
    "acos",
    lambda x: np.arccos(x),
    lambda b, g, y, x: b(NEG, b(DIV, g, _leg(b, x))),
    samples=_UNIT,
    doc="The angle in [0, pi] whose cosine is x.",
)
ATAN = unary(
    "atan",
    lambda x: np.arctan(x),
    lambda b, g, y, x: b(DIV, g, b(ADD, b(MUL, x, x), 1.0)),
    samples=(*_SHAPES, {"x": [1e10, -1e10, 0.0]}),
    doc="The angle in [-pi / 2, pi / 2] whose tangent is x.",
)
SINH = unary(
    "sinh",
    lambda x: np.sinh(x),
    lambda b, g, y, x: b(MUL, g, b(COSH, x)),
    samples=(*_SHAPES, {"x": [*_SMALL, -50.0, 50.0]}),
    doc="The hyperbolic sine.",
)
COSH: Op = unary(
    "cosh",
    lambda x: np.cosh(x),
    lambda b, g, y, x: b(MUL, g, b(SINH, x)),
    samples=(*_SHAPES, {"x": [*_SMALL, -50.0, 50.0]}),
    doc="The hyperbolic cosine.",
)
TANH: Op = unary(
    "tanh",
    lambda x: np.tanh(x),
    lambda b, g, y, x: b(MUL, g, b(SUB, 1.0, b(MUL, y, y))),
    samples=(*_SHAPES, {"x": [*_SMALL, -50.0, 50.0]}),
    doc="The hyperbolic tangent.",
)

FUNCTION = (
    ABS, SIGN, FLOOR, CEIL, ROUND, TRUNC, EXP, EXPM1, LOG, LOG1P, SQRT, RSQRT, RECIPROCAL, SQUARE,
    POW, ERF, SIN, COS, TAN, ASIN, ACOS, ATAN, SINH, COSH, TANH,
)  # fmt: skip
