"""MNIST: the two-layer network of every tutorial: handwritten digits to ten classes.

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
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def mnist(classes: int = 10, width: int = 128) -> keras.Model:
    """Image (B, 28, 28) -> logits (B, classes)."""
    image = keras.Input((28, 28), name="image")
    h = keras.layers.Flatten()(image)
    h = linear(width, bias_initializer=uniform(h.shape[-1]), name="linear1")(h)
    h = keras.layers.ReLU()(h)
    logits = linear(classes, bias_initializer=uniform(width), name="linear2")(h)
    return keras.Model(image, logits, name="mnist")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = mnist(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
