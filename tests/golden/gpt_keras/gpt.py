"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

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
layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-5)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def layer(x: keras.KerasTensor, heads: int, drop: float = 0.1, *, name: str) -> keras.KerasTensor:
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""
    D = x.shape[-1]
    if D % heads != 0:
        raise ValueError(f"width {D} does not divide into {heads} heads")
    h = layer_norm(name=f"{name}_layer_norm1")(x)
    h = keras.layers.MultiHeadAttention(
        heads,
        D // heads,
        kernel_initializer=uniform(D),
        bias_initializer=uniform(D),
        name=f"{name}_attention",
    )(h, h, use_causal_mask=True)
    h = x + keras.layers.Dropout(drop, name=f"{name}_dropout1")(h)
    h2 = layer_norm(name=f"{name}_layer_norm2")(h)
    h2 = linear(4 * D, bias_initializer=uniform(D), name=f"{name}_linear1")(h2)
    h2 = keras.ops.gelu(h2, approximate=False)
    h2 = linear(D, bias_initializer=uniform(4 * D), name=f"{name}_linear2")(h2)
    return h + keras.layers.Dropout(drop, name=f"{name}_dropout2")(h2)


@keras.saving.register_keras_serializable(package="gpt")
class Position(keras.layers.Layer):
    """Holds position: x (B, T, D) -> h (B, T, D)."""

    def build(self, input_shape):
        self.position = self.add_weight(
            shape=(1024, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="position",
        )

    def call(self, x):
        return x + self.position[: keras.ops.shape(x)[1]]

    def compute_output_shape(self, input_shape):
        return input_shape


def gpt(vocab: int = 50257, D: int = 768, layers: int = 12, heads: int = 12) -> keras.Model:
    """Ids (B, T <= 1024) -> logits (B, T, vocab)."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    token = keras.layers.ReversibleEmbedding(
        vocab, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="token"
    )
    h = Position(name="position")(token(ids))
    for i in range(layers):
        h = layer(h, heads, name=f"layers_{i}")
    h = layer_norm(name="layer_norm")(h)
    return keras.Model(ids, token(h, reverse=True), name="gpt")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = gpt(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
