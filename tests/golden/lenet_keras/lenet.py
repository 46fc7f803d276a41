"""LeNet-5 with batch normalisation and dropout, for handwritten digits.

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
batch_norm = partial(keras.layers.BatchNormalization, momentum=0.9, epsilon=1e-5)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def lenet(classes: int = 10, drop: float = 0.5) -> keras.Model:
    """Image (B, 28, 28, 1) -> logits (B, classes)."""
    image = keras.Input((28, 28, 1), name="image")
    h = conv(6, 5, padding="same", bias_initializer=uniform(25), name="conv1")(image)
    h = batch_norm(name="batch_norm1")(h)
    h = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(h))
    h = conv(16, 5, bias_initializer=uniform(25 * h.shape[-1]), name="conv2")(h)
    h = batch_norm(name="batch_norm2")(h)
    h = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(h))
    h = keras.layers.Flatten()(h)
    h = linear(120, bias_initializer=uniform(h.shape[-1]), name="linear1")(h)
    h = keras.layers.Dropout(drop, name="dropout")(keras.layers.ReLU()(h))
    h = linear(84, bias_initializer=uniform(h.shape[-1]), name="linear2")(h)
    h = keras.layers.ReLU()(h)
    logits = linear(classes, bias_initializer=uniform(h.shape[-1]), name="linear3")(h)
    return keras.Model(image, logits, name="lenet")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = lenet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
