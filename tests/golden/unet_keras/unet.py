"""UNet: U-Net (Ronneberger et al. 2015), with padding: a class for each pixel.

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
conv = partial(keras.layers.Conv2D, use_bias=False, kernel_initializer=fan_uniform)
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.9, epsilon=1e-5)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def pair(x: keras.KerasTensor, width: int, *, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions: (B, H, W, C) -> (B, H, W, width)."""
    h = conv(width, 3, padding="same", name=f"{name}_conv1")(x)
    h = keras.layers.ReLU()(batch_norm(name=f"{name}_batch_norm1")(h))
    h = conv(width, 3, padding="same", name=f"{name}_conv2")(h)
    return keras.layers.ReLU()(batch_norm(name=f"{name}_batch_norm2")(h))


def up(
    x: keras.KerasTensor, skip: keras.KerasTensor, width: int, *, name: str
) -> keras.KerasTensor:
    """Twice the image, beside what the way down saw at this size.

    x (B, H, W, C), skip (B, 2 * H, 2 * W, D) -> y (B, 2 * H, 2 * W, width).
    """
    h = keras.layers.Conv2DTranspose(
        width,
        2,
        strides=2,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(4 * width),
        name=f"{name}_conv_transpose",
    )(x)
    h = keras.layers.Concatenate(axis=3)([skip, h])
    return pair(h, width, name=f"{name}_pair")


def unet(widths: tuple[int, ...] = (64, 128, 256, 512), classes: int = 2) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, H, W, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = image
    skips = []
    for i_, width in enumerate(widths):
        h2 = pair(h, width, name=f"blocks1_{i_}")
        skips.append(h2)
        h = keras.layers.MaxPooling2D(2)(h2)
    h = pair(h, 2 * widths[-1], name="pair")
    for i, skip in enumerate(reversed(skips)):
        h = up(h, skip, widths[-1 - i], name=f"blocks2_{i}")
    logits = keras.layers.Conv2D(
        classes,
        1,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(h.shape[-1]),
        name="conv",
    )(h)
    return keras.Model(image, logits, name="unet")


def build(weights: str | Path | None = None, **config: int | tuple[int, ...]) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = unet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
