"""MoE: a language model of a mixture of experts, of the size of Mixtral's layers (Jiang et al.
2024).

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
linear = partial(keras.layers.Dense, use_bias=False, kernel_initializer=fan_uniform)
rms_norm = partial(keras.layers.RMSNormalization, epsilon=1e-5)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def swi_glu(x: keras.KerasTensor, hidden: int, *, name: str) -> keras.KerasTensor:
    """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

    (B, T, D) -> (B, T, D).
    """
    gate = keras.ops.silu(linear(hidden, name=f"{name}_gate")(x))
    h = linear(hidden, name=f"{name}_up")(x)
    return linear(x.shape[-1], name=f"{name}_down")(gate * h)


def experts(
    x: keras.KerasTensor, experts_: int, chosen: int, hidden: int, *, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The `chosen` experts that a router scores highest for each position, weighed by their
    scores; `load` is 1 where all are used alike, and grows with how unevenly they are
    (Fedus et al. 2021).

    x (B, T, D) -> y (B, T, D), load ().
    """
    if chosen > experts_:
        raise ValueError(f"{chosen} of {experts_} experts")
    scores = linear(experts_, name=f"{name}_router")(x)
    index = keras.ops.cast(keras.ops.argsort(-scores, axis=2), "int32")
    index = index[:, :, :chosen]
    best = keras.ops.take_along_axis(scores, index, axis=2)
    picked = keras.ops.one_hot(index, experts_)
    share = keras.ops.softmax(best)
    share = keras.ops.sum(keras.ops.expand_dims(share, 3) * picked, axis=2)
    found = [swi_glu(x, hidden, name=f"{name}_experts_{i}") for i in range(experts_)]
    h = keras.ops.expand_dims(share, 3)
    y = keras.ops.sum(h * keras.ops.stack(found, axis=2), axis=2)
    used = keras.ops.sum(picked, axis=2)
    used = keras.ops.mean(used, axis=(0, 1)) / chosen
    h = keras.ops.mean(keras.ops.softmax(scores), axis=(0, 1))
    return y, experts_ * keras.ops.sum(used * h)


def layer(
    x: keras.KerasTensor, heads: int, experts_: int, chosen: int, hidden: int, *, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Pre-norm transformer layer with experts: x (B, T, D) -> y (B, T, D), load ()."""
    D = x.shape[-1]
    h = rms_norm(name=f"{name}_rms_norm1")(x)
    h = keras.layers.MultiHeadAttention(
        heads, D // heads, use_bias=False, kernel_initializer=uniform(D), name=f"{name}_attention"
    )(h, h, use_causal_mask=True)
    h = x + h
    h2 = rms_norm(name=f"{name}_rms_norm2")(h)
    found, load = experts(h2, experts_, chosen, hidden, name=f"{name}_experts")
    return h + found, load


@keras.saving.register_keras_serializable(package="moe")
class Position(keras.layers.Layer):
    """Holds position: x (B, T, D) -> h (B, T, D)."""

    def __init__(self, length: int, **kwargs):
        super().__init__(**kwargs)
        self.length = length

    def build(self, input_shape):
        self.position = self.add_weight(
            shape=(self.length, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="position",
        )

    def call(self, x):
        return x + self.position[: keras.ops.shape(x)[1]]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "length": self.length}


def moe(
    vocab: int = 32000,
    length: int = 4096,
    D: int = 1024,
    layers: int = 16,
    heads: int = 16,
    experts_: int = 8,
    chosen: int = 2,
    hidden: int = 3584,
) -> keras.Model:
    """Ids (B, T <= 4096) -> logits (B, T, vocab), load ()."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    h = keras.layers.Embedding(
        vocab, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="embedding"
    )(ids)
    h = Position(length, name="position")(h)
    loads = []
    for i in range(layers):
        h, load = layer(h, heads, experts_, chosen, hidden, name=f"layers_{i}")
        loads.append(load)
    logits = linear(vocab, name="linear")(rms_norm(name="rms_norm")(h))
    h = keras.ops.stack(loads)
    return keras.Model(ids, [logits, keras.ops.mean(h)], name="moe")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = moe(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
