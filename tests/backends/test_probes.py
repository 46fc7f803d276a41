"""Why some operators are written out, and where one differs: each probe runs the framework.

A probe that fails tells of a release in which the framework has become exact: then the operator can
have a row of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import openvino as ov
import pytest
import tensorflow as tf
import torch
from flax import nnx
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


# ------------------------------------------------------------------- where a derivative differs


def slopes(f: Callable[..., Any], *inputs: Any) -> list[Any]:
    """The gradients of the sum of what Keras, on TensorFlow, makes of these numbers."""
    given = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = f(*given)
    return [g.numpy().tolist() for g in tape.gradient(y, given)]


def test_the_slope_of_jax_at_a_kink() -> None:
    assert jax.grad(jnp.abs)(0.0) == 1
    assert jax.grad(lambda x: nnx.leaky_relu(x, 0.01))(0.0) == 1
    assert jax.grad(lambda x: jnp.clip(x, -1.0, 2.0))(2.0) == 0.5
    assert jax.grad(nnx.hard_tanh)(1.0) == 1


def test_the_slope_of_keras_at_a_kink() -> None:
    assert slopes(keras.ops.logaddexp, 5.0, 5.0) == [1, 0]
    assert slopes(lambda x: keras.ops.celu(x, 0.7), 0.0) == [2]
    assert slopes(keras.ops.selu, 0.0) == pytest.approx([1.0507], rel=1e-4)
    assert slopes(lambda x: keras.ops.mod(keras.ops.abs(x), 3.0), 0.0) == [0]


def test_no_number_is_the_slope_of_a_power_of_zero() -> None:
    assert jnp.isnan(jax.grad(jnp.power)(0.0, 0.0))
    assert np.isnan(slopes(lambda a, b: a**b, 0.0, 0.0)[0])
    assert slopes(lambda a, b: a**b, -2.0, 3.0)[1] == 0


def test_no_number_is_the_slope_of_a_root() -> None:
    assert jnp.isnan(jax.grad(jnp.std)(jnp.ones(3))).all()
    assert np.isnan(slopes(keras.ops.std, [1.0, 1.0, 1.0])).all()
    assert jnp.isnan(jax.grad(lambda x: jnp.sqrt(jnp.sum(x**2)))(jnp.zeros(3))).all()
    root = slopes(lambda x: keras.ops.sqrt(keras.ops.sum(keras.ops.square(x))), [0.0, 0.0])
    assert np.isnan(root).all()


def test_comparisons_of_openvino_drop_nan() -> None:
    x = ops.parameter([1], ov.Type.f32)
    clamped = ov.Core().compile_model(ov.Model([ops.clamp(x, -1.0, 2.0)], [x]), "CPU")
    (found,) = clamped(np.array([np.nan], np.float32)).values()
    assert found.tolist() == [-1]


def test_openvino_overwrites_what_a_loop_hands_on_before_it_is_read() -> None:
    """The element before the present one: of a loop over 0, 1, 2 the sum of the differences."""

    def differences(carry: Callable[[ov.Node], ov.Node]) -> float:
        x, part = ops.parameter([3, 1], ov.Type.f32), ops.parameter([1, 1], ov.Type.f32)
        before, total = (ops.parameter([1], ov.Type.f32) for _ in range(2))
        row = ops.squeeze(part, [0])
        made = [carry(row), ops.add(total, ops.subtract(row, before)), ops.constant([True])]
        results = [ops.result(y) for y in made]
        loop = ops.loop(ops.constant(3), ops.constant([True]))
        loop.set_function(ov.Model(results, [before, total, part], "step"))
        loop.set_special_body_ports([-1, 2])
        for given, result in zip((before, total), results, strict=False):
            start = ops.constant([0.0], ov.Type.f32).output(0)
            loop.set_merged_input(given, start, result.output(0))
        loop.set_sliced_input(part, x.output(0), 0, 1, 1, -1, 0)
        last = ops.identity(loop.get_iter_value(results[1].output(0)))
        model = ov.Core().compile_model(ov.Model([last], [x]), "CPU")
        (found,) = model(np.array([[0.0], [1.0], [2.0]], np.float32)).values()
        return float(found[0])

    assert differences(lambda row: row) == 0
    assert differences(lambda row: ops.maximum(row, row)) == 2


def test_a_scan_of_keras_stacks_only_what_it_carries() -> None:
    def step(carry: Any, x: Any) -> Any:
        return carry + x, keras.ops.stack([carry, x])

    with pytest.raises(ValueError, match="Incompatible shape"):
        keras.ops.scan(step, keras.ops.zeros(()), keras.ops.ones((3,)))
