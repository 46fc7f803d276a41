"""DenseNet: densely connected networks (Huang et al. 2016); these counts make DenseNet-121.

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
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.9, epsilon=1e-5)
conv = partial(keras.layers.Conv2D, use_bias=False, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def dense(x: keras.KerasTensor, growth: int, *, name: str) -> keras.KerasTensor:
    """What a layer makes is laid beside all that the layers before it made.

    (B, H, W, C) -> (B, H, W, C + growth).
    """
    h = batch_norm(name=f"{name}_batch_norm1")(x)
    h = conv(4 * growth, 1, name=f"{name}_conv1")(keras.layers.ReLU()(h))
    h = keras.layers.ReLU()(batch_norm(name=f"{name}_batch_norm2")(h))
    h = conv(growth, 3, padding="same", name=f"{name}_conv2")(h)
    return keras.layers.Concatenate(axis=3)([x, h])


def transition(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Half as many channels, and half the image.

    (B, H, W, C) -> (B, H // 2, W // 2, C // 2).
    """
    h = keras.layers.ReLU()(batch_norm(name=f"{name}_batch_norm")(x))
    h = conv(x.shape[-1] // 2, 1, name=f"{name}_conv")(h)
    return keras.layers.AveragePooling2D(2)(h)


def densenet(
    counts: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, classes: int = 1000
) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = keras.layers.ZeroPadding2D(3)(image)
    h = conv(2 * growth, 7, strides=2, name="conv")(h)
    h = batch_norm(name="batch_norm1")(h)
    h = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(h))
    h = keras.layers.MaxPooling2D(3, strides=2)(h)
    index = itertools.count()
    for count in counts[:-1]:
        h2 = h
        for _ in range(count):
            h2 = dense(h2, growth, name=f"blocks1_{next(index)}")
        h = transition(h2, name=f"blocks1_{next(index)}")
    for i in range(counts[-1]):
        h = dense(h, growth, name=f"blocks2_{i}")
    h = batch_norm(name="batch_norm2")(h)
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(h))
    logits = keras.layers.Dense(
        classes,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(h.shape[-1]),
        name="linear",
    )(h)
    return keras.Model(image, logits, name="densenet")


def build(weights: str | Path | None = None, **config: int | tuple[int, ...]) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = densenet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
