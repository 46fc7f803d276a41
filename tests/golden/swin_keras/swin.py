"""Swin: the Swin transformer (Liu et al. 2021); these depths and heads make the tiny one. Every
other layer moves its windows by half of one, if there are several.

Verified with keras 3.15.1 and tensorflow-cpu 2.21.0.
"""

import itertools
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
layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-5)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


@keras.saving.register_keras_serializable(package="swin")
class Table(keras.layers.Layer):
    """Holds table: x (B, H, W, C) -> bias (heads, window * window, window * window)."""

    def __init__(self, heads: int, window: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.window = window

    def build(self, input_shape):
        self.table = self.add_weight(
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="table",
        )

    def call(self, x):
        place = keras.ops.arange(self.window, dtype="int32")
        line = (2 * self.window - 1) * place
        place = keras.ops.reshape(keras.ops.expand_dims(line, 1) + place, (-1,))
        offset = keras.ops.expand_dims(place, 1) - place + 2 * self.window * (self.window - 1)
        return keras.ops.transpose(keras.ops.take(self.table, offset, axis=0), (2, 0, 1))

    def compute_output_shape(self, input_shape):
        return (self.heads, self.window * self.window, self.window * self.window)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "window": self.window}


def window_attention(
    x: keras.KerasTensor, heads: int, window: int, shift: int, *, name: str
) -> keras.KerasTensor:
    """Attention within windows that are moved by `shift`, with a bias for each offset of two
    places. The windows at the end then hold places that are no neighbours: these do not see
    each other.

    (B, H, W, C) -> (B, H, W, C).
    """
    C = x.shape[-1]
    H = x.shape[1]
    W = x.shape[2]
    bias = Table(heads, window, name=f"{name}_table")(x)
    h = x
    if shift > 0:
        h = keras.ops.roll(x, (-shift, -shift), axis=(1, 2))
    h = keras.layers.Reshape((H // window, window, W // window, window, C))(h)
    h = keras.ops.transpose(h, (0, 1, 3, 2, 4, 5))
    h = keras.layers.Reshape((H // window * (W // window), window * window, C))(h)
    h = linear(3 * C, bias_initializer=uniform(C), name=f"{name}_qkv")(h)
    h = keras.layers.Reshape(
        (H // window * (W // window), window * window, 3, heads, 3 * C // (3 * heads))
    )(h)
    h = keras.ops.transpose(h, (3, 0, 1, 4, 2, 5))
    q = h[0]
    k = h[1]
    v = h[2]
    if shift > 0:
        row = keras.ops.arange(H, dtype="int32")
        row2 = keras.ops.cast(keras.ops.greater_equal(row, H - window), "int32")
        row = row2 + keras.ops.cast(keras.ops.greater_equal(row, H - shift), "int32")
        column = keras.ops.arange(W, dtype="int32")
        column2 = keras.ops.cast(keras.ops.greater_equal(column, W - window), "int32")
        column = keras.ops.greater_equal(column, W - shift)
        column = column2 + keras.ops.cast(column, "int32")
        region = 3 * keras.ops.expand_dims(row, 1) + column
        region = keras.ops.reshape(region, (H // window, window, W // window, window))
        region = keras.ops.transpose(region, (0, 2, 1, 3))
        region = keras.ops.reshape(region, (H // window * (W // window), 1, window * window))
        near = keras.ops.expand_dims(region, 3)
        near = keras.ops.equal(near, keras.ops.expand_dims(region, 2))
        h = q * (1 / (C / heads) ** 0.5)
        h2 = keras.ops.swapaxes(k, -1, -2)
        h = keras.ops.where(near, bias + h @ h2, -3e38)
        h = keras.ops.where(near, keras.ops.softmax(h), 0.0) @ v
    else:
        h2 = q * (1 / (C / heads) ** 0.5)
        h = keras.ops.softmax(bias + h2 @ keras.ops.swapaxes(k, -1, -2)) @ v
    h = keras.ops.transpose(h, (0, 1, 3, 2, 4))
    h = keras.layers.Reshape((H // window * (W // window), window * window, -1))(h)
    h = linear(C, bias_initializer=uniform(h.shape[-1]), name=f"{name}_output")(h)
    h = keras.layers.Reshape((H // window, W // window, window, -1, C))(h)
    h = keras.ops.transpose(h, (0, 1, 3, 2, 4, 5))
    h = keras.layers.Reshape((H // window * window, -1, C))(h)
    y = h
    if shift > 0:
        y = keras.ops.roll(h, (shift, shift), axis=(1, 2))
    return y


def layer(
    x: keras.KerasTensor, heads: int, window: int, shift: int, drop: float, *, name: str
) -> keras.KerasTensor:
    """Pre-norm transformer layer: (B, H, W, C) -> (B, H, W, C)."""
    C = x.shape[-1]
    h = layer_norm(name=f"{name}_layer_norm1")(x)
    h = window_attention(h, heads, window, shift, name=f"{name}_window_attention")
    h = keras.layers.Dropout(drop, (None, 1, 1, 1), name=f"{name}_drop_path1")(h)
    h = x + h
    h2 = layer_norm(name=f"{name}_layer_norm2")(h)
    h2 = linear(4 * C, bias_initializer=uniform(C), name=f"{name}_linear1")(h2)
    h2 = keras.ops.gelu(h2, approximate=False)
    h2 = linear(C, bias_initializer=uniform(4 * C), name=f"{name}_linear2")(h2)
    h2 = keras.layers.Dropout(drop, (None, 1, 1, 1), name=f"{name}_drop_path2")(h2)
    return h + h2


def merge(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Four places to one: (B, H, W, C) -> (B, H // 2, W // 2, 2 * C)."""
    C = x.shape[-1]
    H = x.shape[1]
    W = x.shape[2]
    h = keras.layers.Reshape((H // 2, 2, W // 2, 2, C))(x)
    h = keras.ops.transpose(h, (0, 1, 3, 4, 2, 5))
    h = keras.layers.Reshape((H // 2, W // 2, -1))(h)
    h = layer_norm(name=f"{name}_layer_norm")(h)
    return keras.layers.Dense(
        2 * C, use_bias=False, kernel_initializer=fan_uniform, name=f"{name}_linear"
    )(h)


def swin(
    size: int = 224,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
    patch: int = 4,
    width: int = 96,
    window: int = 7,
    classes: int = 1000,
    drop: float = 0.2,
) -> keras.Model:
    """Image (B, size, size, 3) -> logits (B, classes)."""
    image = keras.Input((size, size, 3), name="image")
    h = keras.layers.Conv2D(
        width,
        patch,
        strides=patch,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(3 * patch * patch),
        name="conv",
    )(image)
    h = layer_norm(name="layer_norm1")(h)
    index = itertools.count()
    for stage, depth in enumerate(depths):
        if stage > 0:
            h = merge(h, name=f"merge_{stage}")
        for i in range(depth):
            h = layer(
                h,
                heads[stage],
                window,
                i % 2 * (window // 2 if size // (patch * 2**stage) > window else 0),
                drop,
                name=f"blocks_{next(index)}",
            )
    h = keras.ops.mean(layer_norm(name="layer_norm2")(h), axis=(1, 2))
    logits = linear(classes, bias_initializer=uniform(h.shape[-1]), name="linear")(h)
    return keras.Model(image, logits, name="swin")


def build(
    weights: str | Path | None = None, **config: float | int | tuple[int, ...]
) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = swin(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
