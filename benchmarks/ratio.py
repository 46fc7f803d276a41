"""Two calls timed in turn: how much longer one takes than the other, with an interval."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

DRAWS = 2_000
"""How often rounds are drawn anew for an interval."""


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of ratios and the interval that holds 95 % of its bootstrap draws."""

    mean: float
    low: float
    high: float
    rounds: int


def compare(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> Ratio:
    """The time of `a` over that of `b`: rounds of a, b, b, a for about so many seconds, at least 8.

    The clock is that of the process: what other processes take is no part of it.
    """
    a(), b()
    gc.collect()
    gc.disable()
    try:
        return bootstrap([*_rounds(a, b, seconds, clock)])
    finally:
        gc.enable()


def _rounds(
    a: Callable[[], object], b: Callable[[], object], seconds: float, clock: Callable[[], float]
) -> Iterator[float]:
    end = clock() + seconds
    count = 0
    while count < 8 or clock() < end:
        # Each stands first as often as last: a drift of the machine is in both.
        first, second = (a, b) if count % 2 else (b, a)
        times = []
        for call in (first, second, second, first):
            start = clock()
            call()
            times.append(clock() - start)
        outer, inner = times[0] + times[3], times[1] + times[2]
        yield math.log(outer / inner if count % 2 else inner / outer)
        count += 1


def bootstrap(logarithms: Sequence[float]) -> Ratio:
    """The mean of logarithms of ratios, as a ratio, and its interval."""
    random.seed(0)
    count = len(logarithms)
    means = sorted(sum(random.choices(logarithms, k=count)) / count for _ in range(DRAWS))
    low, high = means[round(0.025 * DRAWS)], means[round(0.975 * DRAWS) - 1]
    return Ratio(math.exp(sum(logarithms) / count), math.exp(low), math.exp(high), count)


def overall(ratios: Sequence[Ratio]) -> float:
    """The geometric mean of ratios."""
    return math.exp(sum(math.log(ratio.mean) for ratio in ratios) / len(ratios))
