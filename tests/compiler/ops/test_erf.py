"""The error function, against the C library's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlc.compiler.ops.erf import erf, erfc


@pytest.mark.parametrize(("ours", "theirs"), [(erf, math.erf), (erfc, math.erfc)])
def test_erf_is_right_to_the_last_digits(ours: object, theirs: object) -> None:
    random = np.random.default_rng(0)
    edges = [0.0, 0.5, -0.5, 4.0, -4.0, 6.0, 1e-300, np.inf, -np.inf]
    x = np.concatenate([random.uniform(-7, 26, 20000), random.normal(size=1000) * 1e-3, edges])
    want = np.array([theirs(value) for value in x])
    assert np.all(np.abs(ours(x) - want) <= 2e-15 * np.abs(want))


def test_erf_keeps_shape_and_dtype() -> None:
    assert np.isnan(erf(np.array([np.nan, 0.0])))[0]
    for dtype in (np.float16, np.float32, np.float64):
        assert erf(np.zeros((2, 3), dtype)).dtype == dtype
        assert erfc(np.zeros((), dtype)).shape == ()
