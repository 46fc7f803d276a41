"""LeNet-5 with batch normalisation and dropout, for handwritten digits."""

from pathlib import Path

import keras
from safetensors.numpy import load_file


def batch_norm(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def le_net(classes: int = 10, drop: float = 0.5) -> keras.Model:
    """Image (B, 28, 28, 1) -> logits (B, classes)."""
    image = keras.Input((28, 28, 1), name="image")
    h = keras.layers.Conv2D(6, 5, padding="same", name="conv1")(image)
    h = batch_norm(h, name="batch_norm1")
    h = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(h))
    h = keras.layers.Conv2D(16, 5, name="conv2")(h)
    h = batch_norm(h, name="batch_norm2")
    h = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(h))
    h = keras.layers.Flatten()(h)
    h = keras.layers.Dense(120, name="linear1")(h)
    h = keras.layers.ReLU()(h)
    h = keras.layers.Dropout(drop, name="dropout")(h)
    h = keras.layers.Dense(84, name="linear2")(h)
    h = keras.layers.ReLU()(h)
    logits = keras.layers.Dense(classes, name="linear3")(h)
    return keras.Model(image, logits, name="le_net")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = le_net(**config)
    if weights is not None:
        tensors = load_file(weights)
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
