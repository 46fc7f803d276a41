"""ResNet: deep residual networks (He et al. 2015), with the stride of a bottleneck on its 3x3
convolution.

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
conv = partial(keras.layers.Conv2D, use_bias=False, kernel_initializer=fan_uniform)
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.9, epsilon=1e-5)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def bottleneck(
    x: keras.KerasTensor, width: int, stride: int = 1, *, name: str
) -> keras.KerasTensor:
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), 4 * width)."""
    main = conv(width, 1, name=f"{name}_conv1")(x)
    main = batch_norm(name=f"{name}_batch_norm1")(main)
    main = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(main))
    main = conv(width, 3, strides=stride, name=f"{name}_conv2")(main)
    main = batch_norm(name=f"{name}_batch_norm2")(main)
    main = conv(4 * width, 1, name=f"{name}_conv3")(keras.layers.ReLU()(main))
    main = batch_norm(name=f"{name}_batch_norm3")(main)
    skip = x
    if x.shape[-1] != 4 * width or stride != 1:
        skip = conv(4 * width, 1, strides=stride, name=f"{name}_skip_conv")(x)
        skip = batch_norm(name=f"{name}_skip_batch_norm")(skip)
    return keras.layers.ReLU()(main + skip)


def basic(x: keras.KerasTensor, width: int, stride: int = 1, *, name: str) -> keras.KerasTensor:
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width)."""
    main = keras.layers.ZeroPadding2D(1)(x)
    main = conv(width, 3, strides=stride, name=f"{name}_conv1")(main)
    main = keras.layers.ReLU()(batch_norm(name=f"{name}_batch_norm1")(main))
    main = conv(width, 3, padding="same", name=f"{name}_conv2")(main)
    main = batch_norm(name=f"{name}_batch_norm2")(main)
    skip = x
    if x.shape[-1] != width or stride != 1:
        skip = conv(width, 1, strides=stride, name=f"{name}_skip_conv")(x)
        skip = batch_norm(name=f"{name}_skip_batch_norm")(skip)
    return keras.layers.ReLU()(main + skip)


def resnet(depth: int = 50, classes: int = 1000) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    if depth not in [18, 34, 50, 101]:
        raise ValueError(f"there is no ResNet-{depth}")
    h = keras.layers.ZeroPadding2D(3)(image)
    h = conv(64, 7, strides=2, name="conv")(h)
    h = batch_norm(name="batch_norm")(h)
    h = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(h))
    h = keras.layers.MaxPooling2D(3, strides=2)(h)
    index = itertools.count()
    for width, count, stride in zip(
        [64, 128, 256, 512],
        [2, 2, 2, 2] if depth == 18 else [3, 4, 23 if depth == 101 else 6, 3],
        [1, 2, 2, 2],
        strict=True,
    ):
        if depth < 50:
            h = basic(h, width, stride, name=f"blocks_{next(index)}")
        else:
            h = bottleneck(h, width, stride, name=f"blocks_{next(index)}")
        for _ in range(count - 1):
            if depth < 50:
                h = basic(h, width, name=f"blocks_{next(index)}")
            else:
                h = bottleneck(h, width, name=f"blocks_{next(index)}")
    h = keras.layers.GlobalAveragePooling2D()(h)
    logits = keras.layers.Dense(
        classes,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(h.shape[-1]),
        name="linear",
    )(h)
    return keras.Model(image, logits, name="resnet")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = resnet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
