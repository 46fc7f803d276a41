"""Angles, inverse hyperbolic functions, and logarithms and powers of other bases."""

from __future__ import annotations

import math
from typing import Any

from ..array import np
from ..graph import Value
from ..op import Build, Op
from .broadcast import require_floating
from .compare import EQUAL, GREATER, ISINF, LESS, LESS_EQUAL, LOGICAL_AND, LOGICAL_OR
from .elementwise import ADD, DIV, MAXIMUM, MINIMUM, MUL, NEG, SUB, WHERE, binary
from .function import ABS, ATAN, EXP, LOG, LOG1P, POW, SIGN, SQRT, unary

_FAR = 1e8
"""From here on asinh(x) and acosh(x) are log(2 x), in float64 too."""

_SMALL = [1e-30, -1e-8, 1e-4, 0.3]
_LOG2, _LOG10 = math.log(2), math.log(10)


def _atan2_body(b: Build, u: Value, v: Value) -> Value:
    """The angle of the shorter side over the longer, at most pi / 4, turned to where it belongs."""
    up, along = b(ABS, u), b(ABS, v)
    even = b(EQUAL, up, along)
    longer = b(WHERE, even, 1.0, b(MAXIMUM, up, along))
    none = b(LOGICAL_AND, even, b(EQUAL, up, 0.0))
    ratio = b(WHERE, even, b(WHERE, none, b.constant(0.0, u.type.dtype), 1.0),
              b(DIV, b(MINIMUM, up, along), longer))  # fmt: skip
    angle = b(ATAN, ratio)
    angle = b(WHERE, b(GREATER, up, along), b(SUB, math.pi / 2, angle), angle)
    angle = b(WHERE, b(LESS, v, 0.0), b(SUB, math.pi, angle), angle)
    result: Value = b(WHERE, b(LESS, u, 0.0), b(NEG, angle), angle)
    return result


def _atan2_grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> tuple[Value, Value]:
    """(v, -u) / (u^2 + v^2), in units of the longer side so that no square over- or underflows."""
    side = b(MAXIMUM, b(ABS, u), b(ABS, v))
    unit = b(WHERE, b(EQUAL, side, 0.0), 1.0, side)
    up, along = b(DIV, u, unit), b(DIV, v, unit)
    square = b(ADD, b(MUL, up, up), b(MUL, along, along))
    share = b(DIV, b(DIV, g, b(WHERE, b(EQUAL, side, 0.0), 1.0, square)), unit)
    return b(MUL, share, along), b(NEG, b(MUL, share, up))


ATAN2 = binary(
    "atan2",
    lambda a, b: np.arctan2(a + 0.0, b + 0.0),
    _atan2_grad,
    require=require_floating,
    samples=(
        {"a": (3, 5), "b": (3, 5)},
        {"a": (2, 1, 7), "b": (3, 1)},
        {"a": [0.0, 1.0, -1.0, 0.0, 1e-9, -3.0], "b": [1.0, 0.0, 0.0, -2.0, 1e-9, -1e-9]},
    ),
    kinks="its derivative at the origin is 0, and on the cut (a = 0, b < 0) that beside it",
    body=_atan2_body,
    doc="The angle in (-pi, pi] of the point whose height is a and whose width is b; 0 at the"
    " origin.",
)  # fmt: skip


def _asinh_body(b: Build, x: Value) -> Value:
    size = b(ABS, x)
    far = b(GREATER, size, _FAR)
    near = b(WHERE, far, 1.0, size)
    square = b(MUL, near, near)
    more = b(DIV, square, b(ADD, b(SQRT, b(ADD, square, 1.0)), 1.0))
    line = b(ADD, b(LOG, b(WHERE, far, size, 1.0)), _LOG2)
    result: Value = b(MUL, b(SIGN, x), b(WHERE, far, line, b(LOG1P, b(ADD, near, more))))
    return result


def _asinh_slope(b: Build, g: Value, y: Value, x: Value) -> Value:
    """g / sqrt(x^2 + 1), without squares of what is large."""
    unit = b(MAXIMUM, b(ABS, x), 1.0)
    part, one = b(DIV, x, unit), b(DIV, 1.0, unit)
    root = b(SQRT, b(ADD, b(MUL, part, part), b(MUL, one, one)))
    result: Value = b(DIV, b(MUL, g, one), root)
    return result


def _acosh_body(b: Build, x: Value) -> Value:
    far = b(GREATER, x, _FAR)
    more = b(SUB, b(WHERE, far, 1.0, x), 1.0)
    root = b(SQRT, b(MUL, more, b(ADD, more, 2.0)))
    line = b(ADD, b(LOG, b(WHERE, far, x, 1.0)), _LOG2)
    result: Value = b(WHERE, far, line, b(LOG1P, b(ADD, more, root)))
    return result


def _acosh_slope(b: Build, g: Value, y: Value, x: Value) -> Value:
    root = b(MUL, b(SQRT, b(SUB, x, 1.0)), b(SQRT, b(ADD, x, 1.0)))
    result: Value = b(DIV, g, root)
    return result


def _atanh_body(b: Build, x: Value) -> Value:
    size = b(ABS, x)
    ratio = b(DIV, b(MUL, size, 2.0), b(SUB, 1.0, size))
    result: Value = b(MUL, b(SIGN, x), b(MUL, b(LOG1P, ratio), 0.5))
    return result


ASINH = unary(
    "asinh",
    lambda x: np.arcsinh(x),
    _asinh_slope,
    body=_asinh_body,
    samples=({"x": (3, 5)}, {"x": ()}, {"x": [*_SMALL, 0.0, -50.0, 1e20]}),
    doc="The number whose hyperbolic sine is x.",
)
ACOSH = unary(
    "acosh",
    lambda x: np.arccosh(x),
    _acosh_slope,
    body=_acosh_body,
    samples=({"x": ((3, 5), "f32", 1.1, 9.0)}, {"x": [1.0009765625, 2.0, 50.0, 1e20]}),
    doc="The number, at least 0, whose hyperbolic cosine is x; NaN below 1.",
)
ATANH = unary(
    "atanh",
    lambda x: np.arctanh(x),
    lambda b, g, y, x: b(DIV, g, b(MUL, b(SUB, 1.0, x), b(ADD, 1.0, x))),
    body=_atanh_body,
    samples=({"x": ((3, 5), "f32", -0.95, 0.95)}, {"x": [*_SMALL, 0.0, -0.999]}),
    doc="The number whose hyperbolic tangent is x; infinite at -1 and 1, NaN beyond.",
)
EXP2 = unary(
    "exp2",
    lambda x: np.exp2(x),
    lambda b, g, y, x: b(MUL, g, b(MUL, y, _LOG2)),
    body=lambda b, x: b(POW, 2.0, x),
    samples=({"x": (3, 5)}, {"x": ()}, {"x": [0.0, 1.0, -100.0, 100.0, 1e-8]}),
    doc="2 to the power of x.",
)


def _log(name: str, eval: Any, base: float, doc: str) -> Op:
    return unary(
        name,
        eval,
        lambda b, g, y, x: b(DIV, g, b(MUL, x, base)),
        body=lambda b, x: b(MUL, b(LOG, x), 1 / base),
        samples=(
            {"x": ((3, 5), "f32", 0.1, 3.0)},
            {"x": ((), "f32", 0.1, 3.0)},
            {"x": [1e-30, 1e-3, 1.0, 1e30]},
        ),
        doc=doc,
    )


LOG2 = _log("log2", lambda x: np.log2(x), _LOG2, "The logarithm to the base of 2.")
LOG10 = _log("log10", lambda x: np.log10(x), _LOG10, "The logarithm to the base of 10.")

# ---------------------------------------------------------------------------------- of two numbers


def _logaddexp_body(b: Build, u: Value, v: Value) -> Value:
    apart = b(WHERE, b(EQUAL, u, v), b.constant(0.0, u.type.dtype), b(SUB, u, v))
    result: Value = b(ADD, b(MAXIMUM, u, v), b(LOG1P, b(EXP, b(NEG, b(ABS, apart)))))
    return result


def _logaddexp_grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> tuple[Value, Value]:
    return b(MUL, g, b(EXP, b(SUB, u, y))), b(MUL, g, b(EXP, b(SUB, v, y)))


LOGADDEXP = binary(
    "logaddexp",
    lambda a, b: np.logaddexp(a, b),
    _logaddexp_grad,
    require=require_floating,
    samples=(
        {"a": (3, 5), "b": (3, 5)},
        {"a": (2, 1, 7), "b": (3, 1)},
        {"a": [1e3, -1e3, 5.0, 0.0, -float("inf")], "b": [1e3, 1e3, 5.0, -120.0, 1.0]},
    ),
    rounding="body",
    body=_logaddexp_body,
    doc="log(exp(a) + exp(b)), without overflow.",
)


def _xlogy(a: Any, b: Any) -> Any:
    nothing = (a == 0) & ~np.isnan(b)
    return np.where(nothing, 0 * a, a * np.log(np.where(nothing, 1, b))).astype(a.dtype)


def _nothing(b: Build, u: Value, v: Value) -> Value:
    """Where a is 0 and log(b) is no number to multiply it by."""
    endless = b(LOGICAL_OR, b(LESS_EQUAL, v, 0.0), b(ISINF, v))
    result: Value = b(LOGICAL_AND, b(EQUAL, u, 0.0), endless)
    return result


def _xlogy_body(b: Build, u: Value, v: Value) -> Value:
    nothing = _nothing(b, u, v)
    product = b(MUL, u, b(LOG, b(WHERE, nothing, 1.0, v)))
    result: Value = b(WHERE, nothing, 0.0, product)
    return result


def _xlogy_grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> tuple[Value, Value]:
    log = b(LOG, b(WHERE, _nothing(b, u, v), 1.0, v))
    return b(MUL, g, log), b(MUL, g, b(DIV, u, v))


XLOGY = binary(
    "xlogy",
    _xlogy,
    _xlogy_grad,
    require=require_floating,
    samples=(
        {"a": (3, 5), "b": ((3, 5), "f32", 0.1, 3.0)},
        {"a": (2, 1, 7), "b": ((3, 1), "f32", 0.1, 3.0)},
        {"a": [0.0, 2.0, -1.0, 0.0], "b": [5.0, 1e-30, 1.0, -3.0]},
    ),
    kinks="where a is 0 and b is not positive, its derivative by a is 0",
    body=_xlogy_body,
    doc="a * log(b), and 0 where a is 0, whatever b is but NaN.",
)

INVERSE = (
    ATAN2, ASINH, ACOSH, ATANH, EXP2, LOG2, LOG10, LOGADDEXP, XLOGY,
)  # fmt: skip
