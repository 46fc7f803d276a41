"""Starting values: the distributions of PyTorch, from a stream for each weight."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Graph, Init, Scope, Type, Weight
from mlc.compiler.init import fans, initialise, start


def weight(init: Init, shape: tuple, path: str = "w", dtype: str = "f32") -> Weight:
    return Weight(path, Type(dtype, shape), init, trainable=True, scope=Scope("model"), part="w")


@pytest.mark.parametrize(
    ("init", "low", "high", "deviation"),
    [
        (Init("uniform", (-2.0, 1.0)), -2.0, 1.0, 3 / math.sqrt(12)),
        (Init("fan_uniform", (16.0,)), -0.25, 0.25, 0.5 / math.sqrt(12)),
        (Init("kaiming_uniform", (2.0,)), -math.sqrt(3), math.sqrt(3), 1.0),
        (Init("xavier_uniform"), -math.sqrt(6 / 16000), math.sqrt(6 / 16000), math.sqrt(2 / 16000)),
        (Init("normal", (0.02,)), -0.15, 0.15, 0.02),
    ],
    ids=lambda x: x.kind if isinstance(x, Init) else "",
)
def test_draws(init: Init, low: float, high: float, deviation: float) -> None:
    shape = {"kaiming_uniform": (900, 4), "xavier_uniform": (3, 1, 4, 1, 1000)}.get(
        init.kind, (60, 60)
    )
    values = start(weight(init, shape))
    assert values.dtype == np.float32
    assert values.shape == shape
    assert low <= values.min() and values.max() <= high
    assert abs(values.mean() - (low + high) / 2) < 0.1 * deviation
    assert abs(values.std() / deviation - 1) < 0.05


def test_constants() -> None:
    for init, value in ((Init("zeros"), 0), (Init("ones"), 1), (Init("constant", (0.25,)), 0.25)):
        np.testing.assert_array_equal(start(weight(init, (3,))), np.full(3, value))
    assert start(weight(Init("zeros"), (), dtype="i64")).dtype == np.int64


def test_fans_are_those_of_torch() -> None:
    from torch import empty
    from torch.nn.init import _calculate_fan_in_and_fan_out

    for shape in ((5, 3), (5, 3, 2, 7), (8, 1, 3)):
        assert fans(shape) == _calculate_fan_in_and_fan_out(empty(shape))
    assert fans((7,)) == (7, 7)


def test_values_depend_on_path_and_seed_alone() -> None:
    graph = Graph("g", Scope("model"))
    for path in ("a", "b"):
        graph.weights[path] = weight(Init("normal", (1.0,)), (4,), path)
    first, again, other = (initialise(graph, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], other["a"])
    del graph.weights["a"]
    np.testing.assert_array_equal(initialise(graph)["b"], first["b"])
    graph.weights["b"].data = np.ones(4, np.float32)
    np.testing.assert_array_equal(initialise(graph)["b"], np.ones(4))


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(MlcError, match="the size B is not known"):
        start(weight(Init("zeros"), (symbol("B"),)))
