"""Values that an operator is not defined for are an error that names them, not a guess."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.ops import OPS

X = np.arange(5.0)


def i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("scatter", (X, i32(1, 1), X[:2]), {"axis": 0}, "more than one element at (1,)"),
    ("dynamic_slice", (X, np.int32(4)), {"size": 2, "axis": 0}, "2 elements at 4"),
    ("dynamic_slice", (X, np.int32(-1)), {"size": 2, "axis": 0}, "2 elements at -1"),
    ("dynamic_update", (X, X[:2], np.int32(4)), {"axis": 0}, "2 elements at 4"),
    ("shift_left", (i32(1), i32(32)), {}, "32 bits are shifted by 32 to 32"),
    ("shift_right", (i32(1), i32(-1)), {}, "shifted by -1 to -1"),
    ("nll_loss", (X[None], i32(5)), {"axis": 1, "reduction": "mean"}, "labels of 5 classes"),
    (
        "cross_entropy",
        (X[None], i32(-1), None),
        {"axis": 1, "reduction": "mean", "smoothing": 0.0, "ignore": 5},
        "labels of 5 classes",
    ),
]


@pytest.mark.parametrize(("name", "inputs", "attrs", "words"), CASES)
def test_what_is_not_defined_is_refused(
    name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], words: str
) -> None:
    with pytest.raises(MlcError) as caught:
        OPS[name].eval(*inputs, **attrs)
    assert caught.value.code == "feed"
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["scatter", "scatter_max", "gather", "gather_elements"])
@pytest.mark.parametrize("place", [-1, 5])
def test_places_outside_are_refused(name: str, place: int) -> None:
    updates = (X[:1],) if name.startswith("scatter") else ()
    with pytest.raises(IndexError, match=f"{place} to {place} into an axis of size 5"):
        OPS[name].eval(X, i32(place), *updates, axis=0)


def test_infinite_and_missing_numbers() -> None:
    nan, inf = float("nan"), float("inf")
    a, b = np.array([-inf, inf, nan, inf]), np.array([-inf, 1.0, 1.0, -inf])
    with np.errstate(all="ignore"):
        assert np.array_equal(OPS["logaddexp"].eval(a, b), [-inf, inf, nan, inf], equal_nan=True)
        found = OPS["xlogy"].eval(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, inf, nan, 0.0]))
    assert np.array_equal(found, [0.0, 0.0, nan, -inf], equal_nan=True)
    assert OPS["lp_norm"].eval(np.array([inf, 1.0]), 3.0, None, False) == inf
