"""Long sums: what adding in order loses is part of the yardstick, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mlc.equivalence.noise import EPS
from mlc.equivalence.summation import SAMPLES, in_order


def node(name: str) -> Any:
    return SimpleNamespace(op=SimpleNamespace(name=name))


def test_equal_terms_lose_what_pytorch_loses() -> None:
    """The gradient of a bias is added in order there: 128,000 equal numbers, three digits."""
    terms = np.full((4, 128_000), np.float32(0.3) / 25_600)
    found = in_order(node("sum"), [terms], {"axes": (1,)})
    assert found is not None
    places, lost = found
    assert list(places) == [0, 1, 2, 3]
    given = torch.tensor(terms, dtype=torch.float32).reshape(4, 5, 1, 25_600).transpose(0, 1)
    layer = torch.nn.Conv2d(1, 4, 1)
    layer(torch.zeros(5, 1, 1, 25_600)).backward(given)
    assert layer.bias.grad is not None
    seen = np.abs(layer.bias.grad.numpy() - terms.sum(1, dtype=np.float64))
    assert np.all(lost > 1000 * EPS * terms.sum(1)[0])
    assert np.all(seen < 1.5 * lost)


def test_sums_of_both_signs_lose_no_more_than_an_eps_and_short_ones_little_more() -> None:
    random = np.random.default_rng(0)
    for terms, most in ((random.normal(size=(50, 4000)), 1), (np.full((50, 40), 0.1), 4)):
        found = in_order(node("sum"), [terms], {"axes": (1,)})
        assert found is not None
        assert np.all(found[1] <= most * EPS * np.abs(terms).sum(1))


def test_products_are_sampled_row_by_row() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((3, 5, 700)), random.random((700, 40))
    found = in_order(node("matmul"), [a, b], {})
    assert found is not None
    places, lost = found
    assert len(places) == SAMPLES
    whole = (a @ b).reshape(-1)[places]
    added = [
        np.add.accumulate((a[p // 200, p // 40 % 5] * b[:, p % 40]).astype("f4"))[-1]
        for p in places
    ]
    assert np.abs(np.abs(np.array(added) - whole) - lost).max() < 30 * EPS * whole.max()


@pytest.mark.parametrize("name", ["conv", "relu", "softmax"])
def test_other_ops_have_the_bound_alone(name: str) -> None:
    assert in_order(node(name), [np.ones((2, 2))], {}) is None
