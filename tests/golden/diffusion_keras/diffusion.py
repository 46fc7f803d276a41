"""Denoiser: a small denoising network of a diffusion model (Ho et al. 2020): the noise in an image
at a time.

Verified with keras 3.15.1 and tensorflow-cpu 2.21.0.
"""

from functools import partial
from pathlib import Path

import keras
from safetensors.numpy import load_file

# A configuration, of which each layer makes an initializer of its own: one that layers share would
# draw the same numbers for all of them.
fan_uniform = keras.initializers.serialize(
    keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)
group_norm = partial(keras.layers.GroupNormalization, epsilon=1e-5)
conv = partial(keras.layers.Conv2D, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def time_embedding(time: keras.KerasTensor, width: int, *, name: str) -> keras.KerasTensor:
    """Sines and cosines of a time, at frequencies that fall from 1 to 1 / 10000.

    time (B,) -> y (B, width).
    """
    frequency = keras.ops.arange(width // 2, dtype="int32")
    frequency = keras.ops.cast(frequency, keras.config.floatx())
    frequency = keras.ops.multiply(frequency, -2 * 9.210340371976184 / width)
    frequency = keras.ops.exp(frequency)
    angle = keras.ops.expand_dims(time, 1) * frequency
    h = keras.ops.sin(angle)
    h = keras.layers.Concatenate(axis=1)([h, keras.ops.cos(angle)])
    h = linear(4 * width, bias_initializer=uniform(2 * (width // 2)), name=f"{name}_linear1")(h)
    h = keras.ops.silu(h)
    return linear(width, bias_initializer=uniform(4 * width), name=f"{name}_linear2")(h)


def residual(
    x: keras.KerasTensor,
    time: keras.KerasTensor,
    width: int,
    groups: int,
    drop: float,
    *,
    name: str,
) -> keras.KerasTensor:
    """A residual block whose channels are moved by what the time says.

    x (B, H, W, C), time (B, E) -> y (B, H, W, width).
    """
    C = x.shape[-1]
    h = keras.ops.silu(group_norm(groups, name=f"{name}_group_norm1")(x))
    h = conv(width, 3, padding="same", bias_initializer=uniform(9 * C), name=f"{name}_conv1")(h)
    h2 = keras.ops.silu(time)
    h2 = linear(width, bias_initializer=uniform(time.shape[-1]), name=f"{name}_linear")(h2)
    h = keras.ops.expand_dims(h2, (1, 2)) + h
    h = keras.ops.silu(group_norm(groups, name=f"{name}_group_norm2")(h))
    h = keras.layers.Dropout(drop, name=f"{name}_dropout")(h)
    h = conv(width, 3, padding="same", bias_initializer=uniform(9 * width), name=f"{name}_conv2")(h)
    h2 = x
    if C != width:
        h2 = conv(width, 1, bias_initializer=uniform(C), name=f"{name}_skip")(x)
    return h + h2


@keras.saving.register_keras_serializable(package="diffusion")
class ReshapeLayer(keras.layers.Layer):
    """h (B, H * W, C), x (B, H, W, C) -> y (B, H, W, C)."""

    def call(self, h, x):
        return keras.ops.reshape(
            h, (keras.ops.shape(h)[0], keras.ops.shape(x)[1], keras.ops.shape(x)[2], h.shape[-1])
        )

    def compute_output_shape(self, h_shape, x_shape):
        return (h_shape[0], x_shape[1], x_shape[2], h_shape[-1])


def attention(x: keras.KerasTensor, heads: int, groups: int, *, name: str) -> keras.KerasTensor:
    """Attention of each place of an image to all: (B, H, W, C) -> (B, H, W, C)."""
    C = x.shape[-1]
    h = group_norm(groups, name=f"{name}_group_norm")(x)
    h = keras.layers.Reshape((-1, C))(h)
    h = keras.layers.MultiHeadAttention(
        heads,
        C // heads,
        kernel_initializer=uniform(C),
        bias_initializer=uniform(C),
        name=f"{name}_attention",
    )(h, h)
    return x + ReshapeLayer()(h, x)


def denoiser(width: int = 128, heads: int = 4, groups: int = 32, drop: float = 0.1) -> keras.Model:
    """Image (B, H, W, 3), time (B,) -> noise (B, H, W, 3)."""
    image = keras.Input((None, None, 3), name="image")
    time = keras.Input((), name="time")
    t = time_embedding(time, width, name="time_embedding")
    first = conv(width, 3, padding="same", bias_initializer=uniform(27), name="conv1")(image)
    high = residual(first, t, width, groups, drop, name="residual1")
    low = keras.layers.ZeroPadding2D(1)(high)
    low = conv(width, 3, strides=2, bias_initializer=uniform(9 * width), name="conv2")(low)
    low = residual(low, t, 2 * width, groups, drop, name="residual2")
    low = attention(low, heads, groups, name="attention")
    low = residual(low, t, 2 * width, groups, drop, name="residual3")
    h = keras.layers.UpSampling2D()(low)
    h = conv(width, 3, padding="same", bias_initializer=uniform(18 * width), name="conv3")(h)
    h = keras.layers.Concatenate(axis=3)([h, high])
    h = residual(h, t, width, groups, drop, name="residual4")
    h = keras.ops.silu(group_norm(groups, name="group_norm")(h))
    noise = conv(3, 3, padding="same", bias_initializer=uniform(9 * width), name="conv4")(h)
    return keras.Model([image, time], noise, name="denoiser")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = denoiser(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
