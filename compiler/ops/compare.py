"""Comparisons and logic: element by element, with results of dtype bool and no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import np
from ..graph import Type
from ..op import Op
from .broadcast import (
    broadcast,
    require_bool,
    require_floating,
    require_numeric,
    require_same_dtype,
)

_TIES = {"a": [1.0, 2.0, 3.0, float("nan")], "b": [1.0, 3.0, 2.0, float("nan")]}
_NUMBERS = (
    {"a": (3, 5), "b": (3, 5)},
    {"a": (2, 1, 7), "b": (3, 1)},
    {"a": ((3, 5), "i32"), "b": ((), "i32")},
    _TIES,
)
_BOOLS = (
    {"a": ((3, 5), "bool"), "b": ((3, 5), "bool")},
    {"a": ((2, 1, 7), "bool"), "b": ((3, 1), "bool")},
)
_SPECIAL = ({"x": (3, 5)}, {"x": [0.0, float("inf"), -float("inf"), float("nan"), 3e38]})


def _any(name: str, *types: Type) -> None:
    """Every dtype will do."""


def _relation(
    name: str, require: Callable[..., None], samples: Any, eval: Callable[..., Any], doc: str
) -> Op:
    def infer(a: Type, b: Type) -> Type:
        require(name, a, b)
        require_same_dtype(name, a, b)
        return broadcast(a, b, dtype="bool")

    return Op(
        name, ("a", "b"), infer, eval, grad=None, samples=samples, layout="any",
        rounding="exact", doc=doc,
    )  # fmt: skip


def _test(
    name: str, require: Callable[..., None], samples: Any, eval: Callable[..., Any], doc: str
) -> Op:
    def infer(x: Type) -> Type:
        require(name, x)
        return x.with_(dtype="bool")

    return Op(
        name, ("x",), infer, eval, grad=None, samples=samples, layout="any", rounding="exact",
        doc=doc,
    )  # fmt: skip


def _isfinite_infer(x: Type) -> Type:
    require_floating("isfinite", x)
    return x.with_(dtype="bool")


EQUAL = _relation(
    "equal", _any, _NUMBERS + _BOOLS, lambda a, b: np.equal(a, b), "a == b; NaN equals nothing."
)
NOT_EQUAL = _relation(
    "not_equal", _any, _NUMBERS + _BOOLS, lambda a, b: np.not_equal(a, b), "a != b."
)
LESS = _relation("less", require_numeric, _NUMBERS, lambda a, b: np.less(a, b), "a < b.")
LESS_EQUAL = _relation(
    "less_equal", require_numeric, _NUMBERS, lambda a, b: np.less_equal(a, b), "a <= b."
)
GREATER = _relation(
    "greater", require_numeric, _NUMBERS, lambda a, b: np.greater(a, b), "a > b."
)  # fmt: skip
GREATER_EQUAL = _relation(
    "greater_equal", require_numeric, _NUMBERS, lambda a, b: np.greater_equal(a, b), "a >= b."
)
LOGICAL_AND = _relation(
    "logical_and", require_bool, _BOOLS, lambda a, b: np.logical_and(a, b), "Both are true."
)
LOGICAL_OR = _relation(
    "logical_or", require_bool, _BOOLS, lambda a, b: np.logical_or(a, b), "One or both are true."
)
LOGICAL_XOR = _relation(
    "logical_xor", require_bool, _BOOLS, lambda a, b: np.logical_xor(a, b), "One alone is true."
)
LOGICAL_NOT = _test(
    "logical_not",
    require_bool,
    ({"x": ((3, 5), "bool")},),
    lambda x: np.logical_not(x),
    "x is false.",
)
ISNAN = _test("isnan", require_floating, _SPECIAL, lambda x: np.isnan(x), "x is not a number.")
ISINF = _test(
    "isinf", require_floating, _SPECIAL, lambda x: np.isinf(x), "x is infinite, of either sign."
)
ISFINITE = Op(
    "isfinite",
    inputs=("x",),
    infer=_isfinite_infer,
    eval=lambda x: np.isfinite(x),
    body=lambda b, x: b(LOGICAL_NOT, b(LOGICAL_OR, b(ISNAN, x), b(ISINF, x))),
    grad=None,
    rounding="exact",
    layout="any",
    samples=_SPECIAL,
    doc="x is a number, and not infinite.",
)

COMPARE = (
    EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, LOGICAL_AND, LOGICAL_OR,
    LOGICAL_NOT, LOGICAL_XOR, ISNAN, ISINF, ISFINITE,
)  # fmt: skip
