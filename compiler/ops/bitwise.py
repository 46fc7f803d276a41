"""Bits of integers, and division that truncates, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import np
from ..diagnose import MlcError
from ..graph import Type, Value
from ..op import Build, Op
from .broadcast import broadcast, require_integer, require_numeric, require_same_dtype
from .compare import LESS, LOGICAL_AND, LOGICAL_XOR, NOT_EQUAL
from .elementwise import ADD, CAST, DIV, FLOOR_DIV, MOD, MUL, NEG, WHERE, binary
from .function import ABS, TRUNC

_PAIRS = (
    {"a": ((3, 5), "i32"), "b": ((5,), "i32")},
    {"a": ((2, 1, 7), "i64", -1000, 1000), "b": ((3, 1), "i64", -1000, 1000)},
    {"a": ((7,), "u8", 0, 255), "b": ((), "u8", 0, 255)},
    {"a": ([-(2**31), 2**31 - 1, 0, -1], "i32"), "b": ([-1, 1, 2**31 - 1, 5], "i32")},
)


def _bits(name: str, eval: Callable[..., Any], samples: Any, doc: str) -> Op:
    def infer(a: Type, b: Type) -> Type:
        require_integer(name, a, b)
        require_same_dtype(name, a, b)
        return broadcast(a, b)

    return Op(
        name, ("a", "b"), infer, eval, grad=None, samples=samples, layout="any",
        rounding="exact", doc=doc,
    )  # fmt: skip


def _counted(shift: Callable[..., Any]) -> Callable[..., Any]:
    """The shift, for counts that the integers have bits for; raises MlcError on others."""

    def eval(a: Any, b: Any) -> Any:
        bits = 8 * a.dtype.itemsize
        if b.size and not (b.min() >= 0 and b.max() < bits):
            text = f"integers of {bits} bits are shifted by {b.min()} to {b.max()}"
            raise MlcError("feed", text, help=f"shift by 0 to {bits - 1}")
        return shift(a, b)

    return eval


def _not_infer(x: Type) -> Type:
    require_integer("bitwise_not", x)
    return x


BITWISE_AND = _bits(
    "bitwise_and", lambda a, b: np.bitwise_and(a, b), _PAIRS, "The bits that both have."
)
BITWISE_OR = _bits(
    "bitwise_or", lambda a, b: np.bitwise_or(a, b), _PAIRS, "The bits that one or both have."
)
BITWISE_XOR = _bits(
    "bitwise_xor", lambda a, b: np.bitwise_xor(a, b), _PAIRS, "The bits that one alone has."
)
BITWISE_NOT = Op(
    "bitwise_not",
    inputs=("x",),
    infer=_not_infer,
    eval=lambda x: np.bitwise_not(x),
    grad=None,
    rounding="exact",
    layout="any",
    samples=({"x": ((3, 5), "i32")}, {"x": ((7,), "u8")}, {"x": ([-(2**31), 0, 5], "i64")}),
    doc="Every bit the other way round; of signed integers it is -x - 1.",
)
_SHIFTED = (
    {"a": ((3, 5), "i32", -100, 100), "b": ((5,), "i32", 0, 8)},
    {"a": ((7,), "u8", 0, 255), "b": ((7,), "u8", 0, 8)},
    {"a": ([-(2**31), 2**31 - 1, 1, -1, 12], "i32"), "b": ([31, 31, 31, 31, 0], "i32")},
    {"a": ((2, 3), "i64", -1000, 1000), "b": ((2, 1), "i64", 0, 20)},
)
SHIFT_LEFT = _bits(
    "shift_left",
    _counted(lambda a, b: np.left_shift(a, b)),
    _SHIFTED,
    "The bits of a, b places higher; what leaves at the top is lost. b is from 0 to below the"
    " number of bits.",
)
SHIFT_RIGHT = _bits(
    "shift_right",
    _counted(lambda a, b: np.right_shift(a, b)),
    _SHIFTED,
    "The bits of a, b places lower: a / 2**b rounded towards minus infinity. b is from 0 to below"
    " the number of bits.",
)

# ------------------------------------------------------------------------- division that truncates

_DIVIDED = (
    {"a": (3, 5), "b": ((3, 5), "f32", 0.5, 3.0)},
    {"a": (2, 1, 7), "b": ((3, 1), "f32", -3.0, -0.5)},
    {"a": ((3, 5), "i32", -9, 9), "b": ((5,), "i32", 1, 5)},
    {"a": ((3, 5), "i32", -9, 9), "b": ((5,), "i32", -5, -1)},
    {"a": ((3, 5), "u8", 0, 200), "b": ((5,), "u8", 1, 9)},
    {"a": [7.5, -7.5, 7.5, -7.5, 0.0], "b": [2.0, 2.0, -2.0, -2.0, 3.0]},
)


def _trunc_div_body(b: Build, u: Value, v: Value) -> Value:
    """Of integers: the floor, one higher where it is below the quotient and that is negative."""
    if u.type.floating:
        result: Value = b(TRUNC, b(DIV, u, v))
        return result
    low = b(FLOOR_DIV, u, v)
    if u.type.dtype[0] == "u":
        result = low
        return result
    below = b(LOGICAL_XOR, b(LESS, u, 0), b(LESS, v, 0))
    higher = b(LOGICAL_AND, below, b(NOT_EQUAL, b(MOD, u, v), 0))
    result = b(ADD, low, b(CAST, higher, dtype=u.type.dtype))
    return result


def _fmod_body(b: Build, u: Value, v: Value) -> Value:
    """The remainder of the absolute values, with the sign of the first."""
    if u.type.dtype[0] == "u":
        plain: Value = b(MOD, u, v)
        return plain
    rest = b(MOD, b(ABS, u), b(ABS, v))
    result: Value = b(WHERE, b(LESS, u, 0), b(NEG, rest), rest)
    return result


def _trunc_div(a: Any, b: Any) -> Any:
    if a.dtype.kind not in "iu":
        return np.trunc(np.divide(a, b))
    return np.floor_divide(a - np.fmod(a, b), b)


TRUNC_DIV: Op = binary(
    "trunc_div",
    _trunc_div,
    lambda b, g, y, u, v: (None, None),
    require=require_numeric,
    samples=_DIVIDED,
    rounding="exact",
    kinks="its derivative is 0, at the steps too",
    body=_trunc_div_body,
    doc="a / b rounded towards zero, of floats or integers.",
)
FMOD = binary(
    "fmod",
    lambda a, b: np.fmod(a, b),
    lambda b, g, y, u, v: (g, b(NEG, b(MUL, g, b(TRUNC_DIV, u, v)))),
    samples=_DIVIDED,
    kinks="at the steps its derivative is that between them: 1 by a, -trunc(a / b) by b",
    body=_fmod_body,
    doc="The remainder a - b * trunc(a / b): it has the sign of a.",
)

BITWISE = (
    BITWISE_AND, BITWISE_OR, BITWISE_XOR, BITWISE_NOT, SHIFT_LEFT, SHIFT_RIGHT, TRUNC_DIV, FMOD,
)  # fmt: skip
