"""Verdicts on one tensor."""

import math

import numpy as np
import pytest

from mlc.equivalence.compare import LIMIT, Row, judge, scales
from mlc.equivalence.noise import EPS, FLOOR, Yardstick
from mlc.equivalence.reference import Key

KEY = Key("parameter gradient", "w")
OTHER = Key("parameter gradient", "v")
ROW = Row("pytorch", "training", "B = 5", *KEY, "failed")
WANTED = np.random.default_rng(0).normal(size=1000)


def verdict(found: np.ndarray, wanted: np.ndarray = WANTED, noise: float = 1e-6) -> Row:
    yardsticks = {KEY: Yardstick(noise, 3 * noise), OTHER: Yardstick(0.0, 0.0)}
    scale = scales({KEY: wanted, OTHER: np.ones(3)}, yardsticks)[KEY]
    return judge(ROW, found, wanted, scale)


def test_the_limit_is_the_one_that_was_calibrated() -> None:
    assert LIMIT == 16.0


@pytest.mark.parametrize(("times", "expected"), [(1, "equal"), (15, "equal"), (17, "different")])
def test_an_error_is_held_to_the_noise(times: float, expected: str) -> None:
    row = verdict(WANTED + times * 1e-6)
    assert row.verdict == expected
    assert row.rms == pytest.approx(times, rel=1e-6)
    assert row.digits == pytest.approx(6 - math.log10(times), abs=0.1)


def test_one_wrong_element_shows_in_the_largest_alone() -> None:
    found = WANTED.copy()
    found[7] += 60e-6
    row = verdict(found)
    assert (row.verdict, row.rms < LIMIT < row.largest) == ("different", True)
    assert "element [7]" in row.note


def test_no_engine_is_asked_to_be_better_than_the_floor() -> None:
    assert verdict(WANTED * (1 + 10 * FLOOR), noise=0.0).verdict == "equal"
    assert verdict(WANTED * (1 + 20 * FLOOR), noise=0.0).verdict == "different"


def test_a_gradient_below_its_noise_is_unseen_unless_it_is_proven_zero() -> None:
    tiny = WANTED * 1e-9
    assert verdict(tiny + 1e-9, tiny, noise=1e-6).verdict == "unseen"
    zero = WANTED * 1e-17
    assert verdict(zero + 1e-7, zero, noise=1e-6).verdict == "equal"
    assert verdict(zero + 1e-3, zero, noise=1e-6).verdict == "different"


def test_what_zeros_would_pass_for_is_unseen() -> None:
    noise = 0.1
    zeros = np.zeros_like(WANTED)
    assert verdict(zeros, noise=noise).ratio < LIMIT
    assert verdict(zeros, noise=noise).verdict == verdict(WANTED, noise=noise).verdict == "unseen"


def test_zero_everywhere_must_be_zero_almost() -> None:
    zero = np.zeros(5)
    assert verdict(zero, zero, noise=0.0).verdict == "equal"
    assert verdict(zero + 1e-6 * EPS, zero, noise=0.0).verdict == "equal"
    assert verdict(zero + 1e-6, zero, noise=0.0).verdict == "different"


def test_shapes_integers_and_infinities_are_compared_exactly() -> None:
    assert "shape" in verdict(WANTED[:-1]).note
    whole = np.arange(4)
    assert verdict(whole, whole).verdict == "equal"
    assert "1 of 4" in verdict(np.array([0, 1, 2, 5]), whole).note
    gone = np.array([1.0, -np.inf, np.nan])
    assert verdict(gone, gone).verdict == "equal"
    assert verdict(np.array([1.0, 2.0, np.nan]), gone).verdict == "different"
    assert verdict(np.array([np.nan, -np.inf, np.nan]), gone).verdict == "different"
