"""MobileNetV3 (Howard et al. 2019); these stages, of kernel, hidden width, width, whether channels
are weighed, whether it swishes, and stride, make the small one.

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
conv = partial(keras.layers.Conv2D, kernel_initializer=fan_uniform)
conv2 = partial(keras.layers.Conv2D, use_bias=False, kernel_initializer=fan_uniform)
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.99, epsilon=0.001)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def activation(x: keras.KerasTensor, swish: bool) -> keras.KerasTensor:
    """A rectifier, or for the deeper half its smooth relative: (B, H, W, C) -> (B, H, W, C)."""
    return keras.ops.hard_silu(x) if swish else keras.layers.ReLU()(x)


def squeeze_excite(x: keras.KerasTensor, reduced: int, *, name: str) -> keras.KerasTensor:
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, H, W, C) -> (B, H, W, C).
    """
    C = x.shape[-1]
    scale = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    scale = conv(reduced, 1, bias_initializer=uniform(C), name=f"{name}_conv1")(scale)
    scale = keras.layers.ReLU()(scale)
    scale = conv(C, 1, bias_initializer=uniform(reduced), name=f"{name}_conv2")(scale)
    scale = keras.ops.hard_sigmoid(scale)
    return x * scale


def inverted(
    x: keras.KerasTensor,
    kernel: int,
    hidden: int,
    width: int,
    squeeze: bool,
    swish: bool,
    stride: int,
    *,
    name: str,
) -> keras.KerasTensor:
    """Widens, filters each channel by itself, weighs the channels, and narrows again.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """
    C = x.shape[-1]
    h = x
    if hidden != C:
        h = conv2(hidden, 1, name=f"{name}_conv1")(x)
        h = activation(batch_norm(name=f"{name}_batch_norm1")(h), swish)
    h = keras.layers.ZeroPadding2D(kernel // 2)(h)
    h = keras.layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        use_bias=False,
        depthwise_initializer=uniform(kernel * kernel),
        name=f"{name}_conv2",
    )(h)
    h = activation(batch_norm(name=f"{name}_batch_norm2")(h), swish)
    h2 = h
    if squeeze:
        h2 = squeeze_excite(h, 8 * -(-hidden // 32), name=f"{name}_squeeze_excite")
    h = conv2(width, 1, name=f"{name}_conv3")(h2)
    h = batch_norm(name=f"{name}_batch_norm3")(h)
    y = h
    if stride == 1 and C == width:
        y = x + h
    return y


def mobilenet(
    stages: tuple[tuple[int, int, int, bool, bool, int], ...] = (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    ),
    stem: int = 16,
    head: int = 576,
    hidden: int = 1024,
    classes: int = 1000,
    drop: float = 0.2,
) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = keras.layers.ZeroPadding2D(1)(image)
    h = conv2(stem, 3, strides=2, name="conv1")(h)
    h = keras.ops.hard_silu(batch_norm(name="batch_norm1")(h))
    for i, (kernel, wide, width, squeeze, swish, stride) in enumerate(stages):
        h = inverted(h, kernel, wide, width, squeeze, swish, stride, name=f"blocks_{i}")
    h = conv2(head, 1, name="conv2")(h)
    h = keras.ops.hard_silu(batch_norm(name="batch_norm2")(h))
    h = keras.layers.GlobalAveragePooling2D()(h)
    h = linear(hidden, bias_initializer=uniform(head), name="linear1")(h)
    h = keras.layers.Dropout(drop, name="dropout")(keras.ops.hard_silu(h))
    logits = linear(classes, bias_initializer=uniform(hidden), name="linear2")(h)
    return keras.Model(image, logits, name="mobilenet")


def build(
    weights: str | Path | None = None,
    **config: float | int | tuple[tuple[int, int, int, bool, bool, int], ...],
) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = mobilenet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
