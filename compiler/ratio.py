"""Exact quotients of sizes that are not known yet: `H / 2`, and what arithmetic makes of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .dim import Dim, Size


class Ratio:
    """An exact quotient of sizes that are not known yet: `H / 2`.

    `ceil` and `floor` round it. Any other arithmetic takes it for an integer, see `settle`.
    """

    __slots__ = ("denominator", "numerator")

    def __init__(self, numerator: Dim, denominator: Dim) -> None:
        self.numerator = numerator
        self.denominator = denominator

    def __str__(self) -> str:
        return f"{_factor(self.numerator)} / {_factor(self.denominator)}"

    def __add__(self, other: Any) -> Any:
        return settle(self) + settle(other)

    def __sub__(self, other: Any) -> Any:
        return settle(self) - settle(other)

    def __rsub__(self, other: Any) -> Any:
        return other - settle(self)

    def __mul__(self, other: Any) -> Any:
        return settle(self) * settle(other)

    def __floordiv__(self, other: Any) -> Any:
        return settle(self) // settle(other)

    def __rfloordiv__(self, other: Any) -> Any:
        return other // settle(self)

    def __mod__(self, other: Any) -> Any:
        return settle(self) % settle(other)

    def __rmod__(self, other: Any) -> Any:
        return other % settle(self)

    def __pow__(self, power: int) -> Any:
        return settle(self) ** power

    def __neg__(self) -> Any:
        return -settle(self)

    __radd__ = __add__
    __rmul__ = __mul__


def _factor(x: Dim) -> str:
    text = str(x)
    return text if isinstance(x, int) or text.isidentifier() else f"({text})"


def settle(x: Any) -> Any:
    """A Ratio as the size that it must be, recording the fact that it divides; else `x` itself.

    The fact goes where `op.collecting` says. Raises ValueError where it can never divide.
    """
    if not isinstance(x, Ratio):
        return x
    from .op import TypeMismatch, require_divides

    message = f"{x} is not an integer"
    try:
        return require_divides(x.denominator, x.numerator, message)
    except TypeMismatch:
        raise ValueError(message) from None


def divide(a: Any, b: Any) -> Any:
    """`a / b`: exact for integers (a Fraction if need be), a Ratio where sizes are unknown."""
    b = settle(b)
    if isinstance(a, Ratio):
        return divide(a.numerator, a.denominator * b)
    if isinstance(a, Size) or isinstance(b, Size):
        quotient = a // b
        return quotient if quotient * b == a else Ratio(a, b)
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return whole(Fraction(a) / Fraction(b))


def whole(x: Any) -> Any:
    """A Fraction that is an integer as an int."""
    return int(x) if isinstance(x, Fraction) and x.denominator == 1 else x
