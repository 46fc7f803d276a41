"""ResNet, written by mlc."""

from itertools import count
from pathlib import Path

import keras
from safetensors.numpy import load_file


def batch_norm(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def bottleneck(
    x: keras.KerasTensor, width: int, stride: int = 1, *, name: str
) -> keras.KerasTensor:
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), 4 * width)."""
    main = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}_conv1")(x)
    main = batch_norm(main, name=f"{name}_batch_norm1")
    main = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(main))
    main = keras.layers.Conv2D(width, 3, strides=stride, use_bias=False, name=f"{name}_conv2")(main)
    main = batch_norm(main, name=f"{name}_batch_norm2")
    main = keras.layers.ReLU()(main)
    main = keras.layers.Conv2D(4 * width, 1, use_bias=False, name=f"{name}_conv3")(main)
    main = batch_norm(main, name=f"{name}_batch_norm3")
    skip = x
    if x.shape[-1] != 4 * width or stride != 1:
        skip = keras.layers.Conv2D(
            4 * width, 1, strides=stride, use_bias=False, name=f"{name}_skip_conv"
        )(x)
        skip = batch_norm(skip, name=f"{name}_skip_batch_norm")
    return keras.layers.ReLU()(main + skip)


def res_net(classes: int = 1000) -> keras.Model:
    """Image (B, H, W, 3) -> logits (B, classes)."""
    image = keras.Input((None, None, 3), name="image")
    h = keras.layers.ZeroPadding2D(3)(image)
    h = keras.layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv")(h)
    h = keras.layers.ReLU()(batch_norm(h, name="batch_norm"))
    h = keras.layers.MaxPooling2D(3, strides=2)(
        keras.ops.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    )
    index = count()
    for width, count_, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        h = bottleneck(h, width, stride, name=f"blocks_{next(index)}")
        for _ in range(count_ - 1):
            h = bottleneck(h, width, name=f"blocks_{next(index)}")
    h = keras.layers.GlobalAveragePooling2D()(h)
    logits = keras.layers.Dense(classes, name="linear")(h)
    return keras.Model(image, logits, name="res_net")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = res_net(**config)
    if weights is not None:
        tensors = load_file(weights)
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
