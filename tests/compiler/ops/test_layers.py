"""Layers beside PyTorch's modules: names, shapes and starts of weights; modes; extremes; ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlc.compiler.dim import symbol
from mlc.compiler.graph import Graph, Input, Scope, Type
from mlc.compiler.op import Build, complete
from mlc.compiler.ops import OPS
from mlc.compiler.ops.window import Window
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run

MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], Callable[[], nn.Module]]] = [
    ("linear", (2, 6), {"features": 5}, lambda: nn.Linear(6, 5)),
    ("linear", (2, 6), {"features": 5, "bias": False}, lambda: nn.Linear(6, 5, bias=False)),
    (
        "conv",
        (2, 6, 9, 9),
        {"features": 4, "kernel": (3, 5), "groups": 2},
        lambda: nn.Conv2d(6, 4, (3, 5), groups=2),
    ),
    ("conv", (2, 6, 9), {"features": 4, "kernel": 3}, lambda: nn.Conv1d(6, 4, 3)),
    (
        "conv_transpose",
        (2, 6, 9, 9),
        {"features": 4, "kernel": 3, "groups": 2},
        lambda: nn.ConvTranspose2d(6, 4, 3, groups=2),
    ),
    ("rnn", (2, 7, 6), {"hidden": 5, "bias": False}, lambda: nn.RNN(6, 5, bias=False)),
    (
        "lstm",
        (2, 7, 6),
        {"hidden": 5, "layers": 3, "bidirectional": True},
        lambda: nn.LSTM(6, 5, 3, bidirectional=True),
    ),
    ("gru", (2, 7, 6), {"hidden": 5, "layers": 2}, lambda: nn.GRU(6, 5, 2)),
    ("batch_norm", (2, 6, 9), {}, lambda: nn.BatchNorm1d(6)),
    ("layer_norm", (2, 6), {}, lambda: nn.LayerNorm(6)),
    ("rms_norm", (2, 6), {}, lambda: nn.RMSNorm(6)),
    ("group_norm", (2, 6, 9), {"groups": 3}, lambda: nn.GroupNorm(3, 6)),
    ("instance_norm", (2, 6, 9), {}, lambda: nn.InstanceNorm1d(6, affine=True)),
]


@pytest.mark.parametrize(("name", "shape", "attrs", "module"), MODULES)
def test_weights_are_those_of_pytorch(
    name: str, shape: tuple[int, ...], attrs: dict[str, Any], module: Callable[[], nn.Module]
) -> None:
    op = OPS[name]
    assert op.params is not None
    params = op.params(Type("f32", shape), **complete(op, attrs))
    theirs = module()
    wanted = {
        key: tuple(tensor.shape)
        for key, tensor in theirs.state_dict().items()
        if key != "num_batches_tracked"
    }
    assert {key: param.type.shape for key, param in params.items()} == wanted
    trainable = [key for key, param in params.items() if param.trainable]
    assert trainable == [key for key, _ in theirs.named_parameters()]
    for key, param in params.items():
        _starts_alike(theirs.state_dict()[key], param.init)


def _starts_alike(tensor: torch.Tensor, init: Any) -> None:
    if init.kind == "fan_uniform":
        limit = init.args[0] ** -0.5
        assert float(tensor.abs().max()) <= limit
        assert tensor.numel() < 20 or float(tensor.abs().max()) > 0.8 * limit
    else:
        assert init.kind in ("ones", "zeros")
        assert bool((tensor == (1.0 if init.kind == "ones" else 0.0)).all())


def test_embedding_and_attention_weights() -> None:
    embedding, attention = OPS["embedding"], OPS["attention"]
    assert embedding.params is not None and attention.params is not None
    (row,) = embedding.params(Type("i32", (2,)), count=7, width=5).values()
    assert (row.type.shape, row.init.kind, row.init.args) == ((7, 5), "normal", (1.0,))
    attrs = complete(attention, {"heads": 2})
    params = attention.params(Type("f32", (2, 3, 4)), Type("f32", (2, 5, 6)), None, None, **attrs)
    assert list(params) == [name.rstrip("?") for name in attention.weights]
    shapes = [params[f"{part}.weight"].type.shape for part in ("query", "key", "value", "output")]
    assert shapes == [(4, 4), (4, 6), (4, 6), (4, 4)]
    attrs["bias"] = False
    assert len(attention.params(Type("f32", (2, 3, 4)), None, None, None, **attrs)) == 4


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (2, 3), (5, 3), (1, 2)])
def test_same_is_that_of_tensorflow(size: int, kernel: int, stride: int) -> None:
    """ceil(size / stride) windows, and the odd element of padding at the end."""
    ((low, high),) = Window.of((size,), kernel, stride, "same").pads
    x = Type("f32", (1, 1, size))
    assert OPS["max_pool"].infer(
        x, **complete(OPS["max_pool"], {"kernel": kernel, "stride": stride, "pad": "same"})
    ).shape == (1, 1, -(-size // stride))
    assert high - low in (0, 1)
    assert low + high == max((-(-size // stride) - 1) * stride + kernel - size, 0)


def test_same_at_a_stride_needs_the_size_and_then_is_a_convolution() -> None:
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(2, 3, 8, 9)), random.normal(size=(4, 3, 3, 3))
    attrs = complete(OPS["conv"], {"features": 4, "kernel": 3, "stride": 2, "pad": "same"})
    got = OPS["conv"].eval(x, weight, None, **attrs)
    padded = nn.functional.pad(torch.from_numpy(x), (1, 1, 0, 1))
    want = nn.functional.conv2d(padded, torch.from_numpy(weight), stride=2)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["gather", "gather_elements", "scatter_add", "embedding"])
@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_an_error(name: str, index: int) -> None:
    x, places = np.ones((3, 2)), np.full((1, 2), index)
    arguments = {
        "gather": ((x, places), {"axis": 0}),
        "gather_elements": ((x, places), {"axis": 0}),
        "scatter_add": ((x, places, np.ones((1, 2))), {"axis": 0}),
        "embedding": ((places, x), {"count": 3, "width": 2}),
    }
    tensors, attrs = arguments[name]
    with pytest.raises(IndexError, match="an axis of size 3"):
        OPS[name].eval(*tensors, **attrs)


def test_one_hot_of_an_index_outside_is_zeros() -> None:
    rows = OPS["one_hot"].eval(np.array([-1, 1, 3]), depth=3, dtype="f64")
    assert rows.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_mode_must_be_resolved() -> None:
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="mode is not resolved"):
        OPS["dropout"].eval(x, None, rate=0.5, training=None)
    with pytest.raises(ValueError, match="takes its noise as the input keep"):
        OPS["dropout"].eval(x, None, rate=0.5, training=True)
    ones = np.ones(3)
    attrs = complete(OPS["batch_norm"], {})
    with pytest.raises(ValueError, match="mode is not resolved"):
        OPS["batch_norm"].eval(x, ones, ones, ones, ones, **attrs)
    with pytest.raises(ValueError, match="at least 2 elements"):
        OPS["batch_norm"].eval(x[:1], ones, ones, ones, ones, **{**attrs, "training": True})


def test_running_variance_is_unbiased() -> None:
    x = np.array([[1.0], [3.0], [8.0]])
    zeros = np.zeros(1)
    attrs = complete(OPS["batch_norm"], {"training": True})
    _, mean, var = OPS["batch_norm"].eval(x, None, None, zeros, zeros, **attrs)
    np.testing.assert_allclose([mean[0], var[0]], [0.1 * 4.0, 0.1 * 13.0], rtol=1e-15)


# ------------------------------------------------------------------------------------ extremes


def _gradient_of(name: str, arrays: dict[str, np.ndarray], dtype: str, **attrs: Any) -> Any:
    """The op's body and its gradient (by the first input, of the sum of outputs) on NumPy."""
    graph = Graph(name, Scope("model"))
    for key, array in arrays.items():
        kind = "bool" if array.dtype == bool else "f32"
        graph.inputs.append(Input(key, Type(kind, array.shape)))
    y = Build(graph)(OPS[name], *graph.inputs, **attrs)
    graph.outputs = {"y": y}
    g = Input("g", y.type)
    graph.inputs.append(g)
    x = graph.inputs[0]
    graph.outputs["d"] = gradients(graph, {"y": g}, [x])[x]
    expand(graph, ())
    feed = {**arrays, "g": np.ones(y.type.shape)}
    return run(graph, feed, {}, dtype=dtype).outputs


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_attention_is_exact_for_large_scores(dtype: str) -> None:
    q = np.array([[2e3, 0.0], [-2e3, 1.0]])
    k = np.array([[2e3, 1.0], [1e3, 2.0], [-1e3, 0.5]])
    v = np.array([[1.0], [2.0], [3.0]])
    found = _gradient_of("sdpa", {"q": q, "k": k, "v": v}, dtype)
    assert found["y"].tolist() == [[1.0], [3.0]]
    assert found["d"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_a_row_that_attends_to_nothing_is_zeros(dtype: str) -> None:
    x = np.arange(6.0).reshape(3, 2)
    mask = np.array([[True, False, True], [False] * 3, [True] * 3])
    found = _gradient_of("sdpa", {"q": x, "k": x, "v": x, "mask": mask}, dtype)
    assert found["y"][1].tolist() == [0.0, 0.0]
    assert np.isfinite(found["d"]).all()
    assert found["d"][1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_of_nothing_and_of_much_stay_finite(name: str) -> None:
    x = np.array([[0.0, 0.0, 0.0], [5e3, 5e3, 5e3], [1e-20, -1e-20, 0.0], [1e15, -1e15, 3e15]])
    single = _gradient_of(name, {"x": x}, "f32", affine=False)
    double = _gradient_of(name, {"x": x}, "f64", affine=False)
    for key in ("y", "d"):
        assert np.isfinite(single[key]).all()
        np.testing.assert_allclose(single[key], double[key], rtol=1e-4, atol=1e-4)


def test_of_equal_elements_the_first_gets_the_gradient_of_max_pool() -> None:
    x = np.array([[[[2.0, 2.0], [2.0, 2.0]]]])
    found = _gradient_of("max_pool", {"x": x}, "f64", kernel=2)
    assert found["d"].tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]


def test_gradients_of_strided_layers_need_no_facts_of_their_own() -> None:
    """So that a model's gradient is valid wherever the model is."""
    graph = Graph("net", Scope("model"))
    x = Input("x", Type("f32", (symbol("B"), 3, symbol("H"), symbol("W"))))
    weight = Input("weight", Type("f32", (4, 3, 3, 3)))
    graph.inputs += [x, weight]
    b = Build(graph)
    h = b(OPS["conv"], x, weight, features=4, kernel=3, stride=2, pad=1, bias=False)
    h = b(OPS["max_pool"], h, kernel=3, stride=2, pad=1)
    h = b(OPS["avg_pool"], h, kernel=3, stride=2, pad=1)
    graph.outputs = {"y": h}
    assert graph.facts == []
    g = Input("g", h.type)
    found = gradients(graph, {"y": g}, [x, weight])
    assert [found[v].type.shape for v in (x, weight)] == [x.type.shape, weight.type.shape]
    expand(graph, [OPS["conv"], OPS["conv_transpose"]])
    assert graph.facts == []
