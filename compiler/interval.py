"""Intervals of integers, whose ends may be infinite. Integers stay exact, however large."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

Interval: TypeAlias = "tuple[float, float]"


def infinite(x: float) -> bool:
    """Whether `x` is an infinity (`math.isinf` fails on integers beyond the floats)."""
    return x in (math.inf, -math.inf)


def _product(x: float, y: float) -> float:
    """A product in which 0 * inf is 0."""
    if 0 in (x, y):
        return 0
    if infinite(x) or infinite(y):
        return math.inf if (x > 0) == (y > 0) else -math.inf
    return x * y


def times(a: Interval, b: Interval) -> Interval:
    """What products of a number in `a` and one in `b` lie in."""
    products = [_product(x, y) for x in a for y in b]
    return min(products), max(products)


def scale(a: Interval, factor: float) -> Interval:
    """`a` times a number."""
    return times(a, (factor, factor))


def total(intervals: Iterable[Interval]) -> Interval:
    """What sums of one number from each interval lie in."""
    low: float = 0
    high: float = 0
    for a, b in intervals:
        low = -math.inf if infinite(a) or infinite(low) else low + a
        high = math.inf if infinite(b) or infinite(high) else high + b
    return low, high


def floor(a: float, b: float) -> float:
    """`a // b` for b >= 1, and its limit where one of them is infinite."""
    if infinite(a):
        return a
    return (0 if a >= 0 else -1) if infinite(b) else a // b
