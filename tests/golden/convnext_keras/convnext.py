"""ConvNeXt (Liu et al. 2022); these depths and widths make the tiny one.

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
layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-6)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)
conv = partial(keras.layers.Conv2D, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def norm(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Layer norm over the channels of an image: (B, H, W, C) -> (B, H, W, C)."""
    return layer_norm(name=f"{name}_layer_norm")(x)


@keras.saving.register_keras_serializable(package="convnext")
class Scale(keras.layers.Layer):
    """Holds scale: h (B, H, W, C) -> y (B, H, W, C)."""

    def build(self, input_shape):
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(1e-6), name="scale"
        )

    def call(self, h):
        return self.scale * h

    def compute_output_shape(self, input_shape):
        return input_shape


def block(x: keras.KerasTensor, drop: float, *, name: str) -> keras.KerasTensor:
    """A depthwise convolution, then two linear layers at each place, on channels last.

    (B, H, W, C) -> (B, H, W, C).
    """
    C = x.shape[-1]
    h = keras.layers.DepthwiseConv2D(
        7,
        padding="same",
        depthwise_initializer=uniform(49),
        bias_initializer=uniform(49),
        name=f"{name}_conv",
    )(x)
    h = layer_norm(name=f"{name}_layer_norm")(h)
    h = linear(4 * C, bias_initializer=uniform(C), name=f"{name}_linear1")(h)
    h = keras.ops.gelu(h, approximate=False)
    h = linear(C, bias_initializer=uniform(4 * C), name=f"{name}_linear2")(h)
    h = Scale(name=f"{name}_scale")(h)
    h = keras.layers.Dropout(drop, (None, 1, 1, 1), name=f"{name}_drop_path")(h)
    return x + h


def convnext(
    depths: tuple[int, ...] = (3, 3, 9, 3),
    widths: tuple[int, ...] = (96, 192, 384, 768),
    classes: int = 1000,
    drop: float = 0.1,
) -> keras.Model:
    """Image (B, H >= 4, W >= 4, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = conv(widths[0], 4, strides=4, bias_initializer=uniform(48), name="conv")(image)
    h = norm(h, name="norm")
    for i in range(depths[0]):
        h = block(h, drop, name=f"blocks_{i}")
    index = itertools.count()
    for depth, width in zip(depths[1:], widths[1:], strict=True):
        h = norm(h, name=f"layers_{next(index)}")
        h = conv(
            width,
            2,
            strides=2,
            bias_initializer=uniform(4 * h.shape[-1]),
            name=f"layers_{next(index)}",
        )(h)
        for _ in range(depth):
            h = block(h, drop, name=f"layers_{next(index)}")
    h = keras.layers.GlobalAveragePooling2D()(h)
    h = layer_norm(name="layer_norm")(h)
    logits = linear(classes, bias_initializer=uniform(h.shape[-1]), name="linear")(h)
    return keras.Model(image, logits, name="convnext")


def build(
    weights: str | Path | None = None, **config: float | int | tuple[int, ...]
) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = convnext(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
