"""EfficientNet (Tan and Le 2019); these stages, of width, count, kernel, stride and ratio, make
B0.

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
conv = partial(keras.layers.Conv2D, kernel_initializer=fan_uniform)
conv2 = partial(keras.layers.Conv2D, use_bias=False, kernel_initializer=fan_uniform)
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.99, epsilon=0.001)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def squeeze_excite(x: keras.KerasTensor, reduced: int, *, name: str) -> keras.KerasTensor:
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, H, W, C) -> (B, H, W, C).
    """
    C = x.shape[-1]
    scale = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    scale = conv(reduced, 1, bias_initializer=uniform(C), name=f"{name}_conv1")(scale)
    scale = keras.ops.silu(scale)
    scale = conv(C, 1, bias_initializer=uniform(reduced), name=f"{name}_conv2")(scale)
    scale = keras.ops.sigmoid(scale)
    return x * scale


def mb_conv(
    x: keras.KerasTensor,
    width: int,
    kernel: int,
    stride: int,
    ratio: int,
    drop: float,
    *,
    name: str,
) -> keras.KerasTensor:
    """The inverted residual of MobileNetV2 with squeeze and excitation.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """
    C = x.shape[-1]
    h = x
    if ratio > 1:
        h = conv2(ratio * C, 1, name=f"{name}_conv1")(x)
        h = keras.ops.silu(batch_norm(name=f"{name}_batch_norm1")(h))
    h = keras.layers.ZeroPadding2D(kernel // 2)(h)
    h = conv2(ratio * C, kernel, strides=stride, groups=ratio * C, name=f"{name}_conv2")(h)
    h = keras.ops.silu(batch_norm(name=f"{name}_batch_norm2")(h))
    h = squeeze_excite(h, C // 4, name=f"{name}_squeeze_excite")
    h = conv2(width, 1, name=f"{name}_conv3")(h)
    h = batch_norm(name=f"{name}_batch_norm3")(h)
    y = h
    if stride == 1 and C == width:
        h = keras.layers.Dropout(drop, (None, 1, 1, 1), name=f"{name}_drop_path")(h)
        y = x + h
    return y


def efficientnet(
    stages: tuple[tuple[int, ...], ...] = (
        (16, 1, 3, 1, 1),
        (24, 2, 3, 2, 6),
        (40, 2, 5, 2, 6),
        (80, 3, 3, 2, 6),
        (112, 3, 5, 1, 6),
        (192, 4, 5, 2, 6),
        (320, 1, 3, 1, 6),
    ),
    head: int = 1280,
    classes: int = 1000,
    drop: float = 0.2,
) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = keras.layers.ZeroPadding2D(1)(image)
    h = conv2(32, 3, strides=2, name="conv1")(h)
    h = keras.ops.silu(batch_norm(name="batch_norm1")(h))
    index = itertools.count()
    for width, count, kernel, stride, ratio in stages:
        h = mb_conv(h, width, kernel, stride, ratio, drop, name=f"blocks_{next(index)}")
        for _ in range(count - 1):
            h = mb_conv(h, width, kernel, 1, ratio, drop, name=f"blocks_{next(index)}")
    h = conv2(head, 1, name="conv2")(h)
    h = keras.ops.silu(batch_norm(name="batch_norm2")(h))
    h = keras.layers.GlobalAveragePooling2D()(h)
    h = keras.layers.Dropout(drop, name="dropout")(h)
    logits = keras.layers.Dense(
        classes, kernel_initializer=fan_uniform, bias_initializer=uniform(head), name="linear"
    )(h)
    return keras.Model(image, logits, name="efficientnet")


def build(
    weights: str | Path | None = None, **config: float | int | tuple[tuple[int, ...], ...]
) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = efficientnet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
