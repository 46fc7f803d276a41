"""Why some operators are written out, and where one differs: each probe runs the framework.

A probe that fails tells of a release in which the framework has become exact: then the operator can
have a row of its own.
"""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset16 as ops

TIES = np.random.default_rng(0).integers(0, 3, (2, 1000)).astype(np.float32)
FIRST = np.argsort(-TIES, axis=1, kind="stable")
"""Where elements stand in falling order, the first of equal ones first."""


def test_pytorch_picks_equal_elements_in_another_order() -> None:
    picked = torch.from_numpy(TIES).topk(1000, dim=1).indices.numpy()
    assert not np.array_equal(picked, FIRST)
    stable = torch.from_numpy(TIES).argsort(dim=1, descending=True, stable=True).numpy()
    assert np.array_equal(stable, FIRST)


def test_the_gradient_of_jax_sorting_downwards_goes_to_the_last_of_equal_elements() -> None:
    slope = jax.grad(lambda x: jnp.sort(x, descending=True)[0])(jnp.array([1.0, 1.0]))
    assert slope.tolist() == [0.0, 1.0]


def test_powers_of_pytorch_overflow() -> None:
    x = torch.tensor([1e10, 2e10])
    assert torch.linalg.vector_norm(x, 20.0).isinf()


def test_pytorch_has_no_derivative_by_the_weights_of_classes() -> None:
    weight = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="not differentiable with respect to argument 'weight'"):
        torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), weight)


def test_the_derivative_of_jax_at_the_origin_is_no_number() -> None:
    assert jnp.isnan(jax.grad(jnp.arctan2)(0.0, 0.0))


def test_openvino_computes_integers_of_64_bits_in_32() -> None:
    x = ops.parameter([1], ov.Type.i64)
    model = ov.Core().compile_model(ov.Model([ops.bitwise_not(x)], [x]), "CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (found,) = model(np.array([2**40], np.int64)).values()
    assert found.tolist() != [~(2**40)]


def test_openvino_does_not_compile_einsum_of_sizes_with_a_large_bound() -> None:
    def conv(h: ov.Node, channels: int) -> ov.Node:
        weight = ops.constant(np.ones((4, channels, 3, 3), np.float32))
        return ops.convolution(h, weight, [1, 1], [1, 1], [1, 1], [1, 1])

    x = ops.parameter([-1, 3, ov.Dimension(3, -1), ov.Dimension(4, -1)], ov.Type.f32)
    turned = ops.slice(conv(x, 3), [-1, -1], [1 - 2**31] * 2, [-1, -1], [2, 3])
    assert str(turned.get_output_partial_shape(0)) == "[?,4,3..2147483646,4..2147483646]"
    y = conv(turned, 4)
    model = ov.Model([ops.einsum([y, y], "bchw,bdhw->bcd")], [x])
    with pytest.raises(RuntimeError, match="not initialized"):
        ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize(("shape", "heeded"), [([3, 4, 2], True), ([-1, -1, 2], False)])
def test_openvino_leaves_lengths_aside_where_sizes_are_not_known(
    shape: list[int], heeded: bool
) -> None:
    """So rows are told no lengths, and read as zeros behind their ends."""
    x = ops.parameter(shape, ov.Type.f32)
    lengths = ops.parameter(shape[:1], ov.Type.i32)
    weight = np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32)
    start = ops.broadcast(
        np.float32(0), ops.concat([ops.shape_of(lengths, "i32"), np.int32([1, 5])], 0)
    )
    made = ops.rnn_sequence(
        x, start, lengths, weight, np.zeros((1, 5, 5), np.float32), np.zeros((1, 5), np.float32),
        5, "forward",
    )  # fmt: skip
    model = ov.Core().compile_model(ov.Model([made.output(0)], [x, lengths]), "CPU")
    (y,) = model([np.ones((3, 4, 2), np.float32), np.array([4, 1, 2], np.int32)]).values()
    assert (np.abs(y[1, 0, 1:]).max() == 0) == heeded


def test_a_recurrent_layer_of_keras_repeats_itself_behind_the_end_of_a_row() -> None:
    """Unless it is told to give zeros, as emitted code does; and it has one bias, not two."""
    layer = keras.layers.LSTM(3, return_sequences=True)
    x, mask = np.ones((1, 3, 2), np.float32), np.array([[True, False, False]])
    y = np.asarray(layer(x, mask=mask))
    np.testing.assert_array_equal(y[0, 1], y[0, 0])
    assert [tuple(w.shape) for w in layer.weights] == [(2, 12), (3, 12), (12,)]
