"""A residual network for small images."""

from pathlib import Path

import keras
from safetensors.numpy import load_file


def batch_norm(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def residual(x: keras.KerasTensor, width: int, stride: int = 1, *, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions beside a shortcut.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """
    main = keras.layers.ZeroPadding2D(1)(x)
    main = keras.layers.Conv2D(width, 3, strides=stride, use_bias=False, name=f"{name}_conv1")(main)
    main = batch_norm(main, name=f"{name}_batch_norm1")
    main = keras.layers.ReLU()(main)
    main = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv2")(main)
    main = batch_norm(main, name=f"{name}_batch_norm2")
    skip = x
    if x.shape[-1] != width or stride != 1:
        skip = keras.layers.Conv2D(
            width, 1, strides=stride, use_bias=False, name=f"{name}_skip_conv"
        )(x)
        skip = batch_norm(skip, name=f"{name}_skip_batch_norm")
    return keras.layers.ReLU()(main + skip)


def tiny_res_net(classes: int = 10) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(image)
    h = keras.layers.ReLU()(batch_norm(h, name="batch_norm"))
    for i, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
        h = residual(h, width, stride, name=f"blocks_{2 * i}")
        h = residual(h, width, name=f"blocks_{2 * i + 1}")
    h = keras.layers.GlobalAveragePooling2D()(h)
    logits = keras.layers.Dense(classes, name="linear")(h)
    return keras.Model(image, logits, name="tiny_res_net")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = tiny_res_net(**config)
    if weights is not None:
        tensors = load_file(weights)
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
