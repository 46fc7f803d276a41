"""DLRM: a recommender as DLRM (Naumov et al. 2019): what is known in numbers and in categories
meets by dot products. All categories share one table, and the numbers of its rows.

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


def tower(x: keras.KerasTensor, widths: tuple[int, ...], *, name: str) -> keras.KerasTensor:
    """Linear layers with relu after each: (B, N) -> (B, widths[-1])."""
    h = x
    for i, width in enumerate(widths):
        h2 = linear(width, bias_initializer=uniform(h.shape[-1]), name=f"{name}_layers_{i}")(h)
        h = keras.layers.ReLU()(h2)
    return h


def dlrm(
    numbers: int = 13,
    categories: int = 26,
    rows: int = 1000000,
    width: int = 64,
    bottom: tuple[int, ...] = (512, 256),
    top: tuple[int, ...] = (512, 256),
) -> keras.Model:
    """Dense (B, numbers), sparse (B, categories) -> click (B,)."""
    dense = keras.Input((numbers,), name="dense")
    sparse = keras.Input((categories,), dtype="int32", name="sparse")
    known = tower(dense, bottom, name="tower1")
    known = linear(width, bias_initializer=uniform(bottom[-1]), name="linear1")(known)
    known = keras.layers.ReLU()(known)
    features = keras.ops.expand_dims(known, 1)
    features2 = keras.layers.Embedding(
        rows,
        width,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1),
        name="embedding",
    )(sparse)
    features = keras.layers.Concatenate(axis=1)([features, features2])
    dots = features @ keras.ops.swapaxes(features, -1, -2)
    h = keras.layers.Flatten()(dots)
    h = keras.layers.Concatenate(axis=1)([known, h])
    h = tower(h, top, name="tower2")
    h = linear(1, bias_initializer=uniform(top[-1]), name="linear2")(h)
    h = keras.ops.squeeze(h, axis=1)
    return keras.Model([dense, sparse], keras.ops.sigmoid(h), name="dlrm")


def build(weights: str | Path | None = None, **config: int | tuple[int, ...]) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = dlrm(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
