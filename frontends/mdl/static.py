"""Arithmetic of the static language, bounded so that no source can make it run away."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from ...compiler import expr as expressions
from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import Size
from ...compiler.expr import COMPARISONS, FUNCTIONS, OPERATORS, Ratio, Undecided
from .context import kind_of
from .limits import BITS, DEGREE, ITEMS, TERMS, TEXT

BINARY: Mapping[str, type[ast.operator]] = {
    "+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "//": ast.FloorDiv, "%": ast.Mod,
    "**": ast.Pow,
}  # fmt: skip
COMPARE: Mapping[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE,
    "in": ast.In, "not in": ast.NotIn,
}  # fmt: skip
assert set(COMPARE.values()) == set(COMPARISONS)
assert set(BINARY.values()) == set(OPERATORS)

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, MemoryError, AttributeError)
"""What Python raises where a static computation has no result."""


def guarded(span: Span, what: str, compute: Callable[[], Any]) -> Any:
    """The result of a static computation, within bounds; failures become MlcError."""
    try:
        return bounded(compute(), span)
    except FAILURES as failure:
        reason = "division by zero" if isinstance(failure, ZeroDivisionError) else str(failure)
        raise MlcError("value", f"{what}: {reason or 'no result'}", span) from None


def bounded(value: Any, span: Span) -> Any:
    """`value`, if it is not too large to go on with."""
    match value:
        case bool() | None:
            return value
        case int() if value.bit_length() > BITS:
            raise MlcError("limit", f"an integer of more than {BITS} bits", span)
        case Fraction() if max(value.numerator, value.denominator, key=abs).bit_length() > BITS:
            raise MlcError("limit", f"a fraction of more than {BITS} bits", span)
        case float() if not math.isfinite(value):
            raise MlcError("value", f"the result is {value}", span)
        case complex():
            raise MlcError("value", "the result is not a real number", span)
        case str() | list() | tuple():
            check_count(elements(value), span)
        case Size():
            _check_size(value, span)
        case Ratio():
            bounded(value.numerator, span)
            bounded(value.denominator, span)
    return value


def elements(value: Any) -> int:
    """How many elements a list has, those of lists within it included; counting ends at the bound.

    The characters of strings count too.
    """
    count, waiting = 0, [value]
    while waiting and count <= ITEMS:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            count += len(item)
            waiting += item[:ITEMS]
        elif isinstance(item, str):
            count += len(item)
    return count


def check_count(count: int, span: Span) -> None:
    """MlcError where a list or string has too many elements."""
    if count > ITEMS:
        raise MlcError("limit", f"a list or string of more than {ITEMS} elements", span)


def _check_size(size: Size, span: Span) -> None:
    if len(size.terms) > TERMS:
        raise MlcError("limit", f"a size with more than {TERMS} terms", span)
    for monomial, coefficient in size.terms:
        if coefficient.bit_length() > BITS:
            raise MlcError("limit", f"an integer of more than {BITS} bits", span)
        if sum(power for _, power in monomial) > DEGREE:
            raise MlcError("limit", f"a size with a term of more than {DEGREE} factors", span)
    if len(str(size)) > TEXT:
        raise MlcError("limit", f"a size that takes more than {TEXT} characters", span)


def binary(operator: str, a: Any, b: Any, span: Span) -> Any:
    """`a operator b` of static values."""
    what = f"{kind_of(a)} {operator} {kind_of(b)}"
    _check_kinds(operator, a, b, what, span)
    if operator == "**":
        _check_power(a, b, span)
    if isinstance(a, list) and isinstance(b, int):
        check_count(len(a) * b, span)
    return guarded(span, what, lambda: OPERATORS[BINARY[operator]](a, b))


def _check_kinds(operator: str, a: Any, b: Any, what: str, span: Span) -> None:
    numbers = all(_is_number(x) for x in (a, b))
    joined = operator == "+" and type(a) is type(b) and isinstance(a, (list, tuple, str))
    repeated = operator == "*" and isinstance(a, list) and type(b) is int
    if not (numbers or joined or repeated):
        raise MlcError("value", f"{what} has no meaning", span)
    sizes = [x for x in (a, b) if isinstance(x, (Size, Ratio))]
    if sizes and any(isinstance(x, (float, Fraction)) for x in (a, b)):
        raise MlcError("static", f"{what}: the size {sizes[0]} is not known", span)
    if operator in ("//", "%", "/") and sizes and isinstance(b, int) and b <= 0:
        raise MlcError("value", f"{what}: sizes are divided by positive numbers", span)


def _check_power(a: Any, b: Any, span: Span) -> None:
    if isinstance(a, (Size, Ratio)) or isinstance(b, (Size, Ratio)):
        if not (isinstance(a, Size) and type(b) is int and 0 <= b <= 8):
            raise MlcError("static", f"{a} ** {b}: the size is not known", span)
        if math.comb(len(a.terms) + b - 1, b) > TERMS:
            raise MlcError("limit", f"a size with more than {TERMS} terms", span)
    elif isinstance(a, (int, Fraction)) and isinstance(b, (int, Fraction)):
        digits = max(abs(Fraction(a).numerator), Fraction(a).denominator).bit_length()
        if digits * abs(Fraction(b)) > BITS * 4:
            raise MlcError("limit", f"{a} ** {b} is an integer of more than {BITS} bits", span)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, Fraction, Size, Ratio)) and not isinstance(x, bool)


def compare(operator: str, a: Any, b: Any, span: Span) -> bool:
    """Whether a comparison of static values holds; Undecided where unknown sizes decide it."""
    what = f"{kind_of(a)} {operator} {kind_of(b)}"
    try:
        return bool(expressions.compare(COMPARE[operator](), a, b))
    except Undecided:
        raise Undecided(f"{a} {operator} {b}") from None
    except FAILURES:
        raise MlcError("value", f"{what} has no meaning", span) from None


def call(function: str, arguments: list[Any], span: Span) -> Any:
    """A function of the static language."""
    if function == "range":
        _check_range(arguments, span)
    if function in ("sum", "round") and len(arguments) > 1:
        _check_second(function, arguments, span)
    what = f"{function}({', '.join(map(kind_of, arguments))})"
    return guarded(span, what, lambda: FUNCTIONS[function](*arguments))


def _check_range(arguments: list[Any], span: Span) -> None:
    for argument in arguments:
        if not isinstance(argument, int):
            raise MlcError("value", f"range takes integers, and gets {kind_of(argument)}", span)
    if arguments and len(arguments) <= 3 and all(arguments[2:]):
        check_count(len(range(*arguments)), span)


def _check_second(function: str, arguments: list[Any], span: Span) -> None:
    """`round(x, digits)` and `sum(numbers, start)` take numbers that do not make them long."""
    second = arguments[1]
    if not _is_number(second) or (function == "round" and not -BITS <= second <= BITS):
        raise MlcError("value", f"{function} cannot take {kind_of(second)}", span)


def truth(value: Any, span: Span) -> bool:
    """A condition; only bools are conditions."""
    if isinstance(value, bool):
        return value
    raise MlcError("value", f"a condition must be true or false, and is {kind_of(value)}", span)
