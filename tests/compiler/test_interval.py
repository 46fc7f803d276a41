"""Intervals with infinite ends."""

from math import inf

import pytest

from mlc.compiler.interval import floor, infinite, scale, times, total

LARGE = 10**400


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ((1, 2), (3, 4), (3, 8)),
        ((-1, 2), (3, 4), (-4, 8)),
        ((1, inf), (-2, 3), (-inf, inf)),
        ((0, inf), (0, 0), (0, 0)),
        ((-inf, -1), (2, inf), (-inf, -2)),
        ((1, LARGE), (2, LARGE), (2, LARGE * LARGE)),
    ],
)
def test_times(a, b, wanted):
    assert times(a, b) == wanted
    assert times(b, a) == wanted


def test_total_and_scale():
    assert total([(1, 2), (3, inf), (-LARGE, 4)]) == (4 - LARGE, inf)
    assert total([]) == (0, 0)
    assert scale((1, inf), -2) == (-inf, -2)


def test_floor():
    assert [floor(7, 2), floor(-7, 2), floor(7, inf), floor(-7, inf)] == [3, -4, 0, -1]
    assert floor(-inf, 3) == -inf
    assert infinite(-inf)
    assert not infinite(LARGE)
