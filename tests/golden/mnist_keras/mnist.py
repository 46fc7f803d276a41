"""The two-layer network of every tutorial: handwritten digits to ten classes."""

from pathlib import Path

import keras
from safetensors.numpy import load_file


def mnist(classes: int = 10, width: int = 128) -> keras.Model:
    """Image (B, 28, 28) -> logits (B, classes)."""
    image = keras.Input((28, 28), name="image")
    h = keras.layers.Flatten()(image)
    h = keras.layers.Dense(width, name="linear1")(h)
    h = keras.layers.ReLU()(h)
    logits = keras.layers.Dense(classes, name="linear2")(h)
    return keras.Model(image, logits, name="mnist")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = mnist(**config)
    if weights is not None:
        tensors = load_file(weights)
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
