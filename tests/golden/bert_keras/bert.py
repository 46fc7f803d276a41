"""BERT: an encoder of sentences as BERT has it (Devlin et al. 2018); `keep` is false where one is
padded.

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
layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-12)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


@keras.saving.register_keras_serializable(package="bert")
class Attention(keras.layers.Layer):
    """Multi-head attention of x (B, T, D) to context (B, S, any width).

    keep (B, S) is true where attending is allowed;
    a query that may attend to nothing gets zeros.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, x_shape, context_shape):
        D = x_shape[-1]
        self.query = self.linear(x_shape, D, "query")
        self.key = self.linear(context_shape, D, "key")
        self.value = self.linear(context_shape, D, "value")
        self.out = self.linear(x_shape, D, "output")

    def linear(self, shape, width, name):
        layer = keras.layers.Dense(
            width,
            kernel_initializer=fan_uniform,
            bias_initializer=uniform(shape[-1]),
            name=name,
        )
        layer.build(shape)
        return layer

    def call(self, x, context, keep=None):
        d = x.shape[-1] // self.heads
        q, k, v = self.query(x), self.key(context), self.value(context)
        q, k, v = (
            keras.ops.reshape(y, (-1, keras.ops.shape(y)[1], self.heads, d)) for y in (q, k, v)
        )
        scores = keras.ops.einsum("bthd,bshd->bhts", q, k) * d**-0.5
        allowed = keras.ops.ones_like(scores, dtype="bool")
        if keep is not None:
            allowed = keras.ops.logical_and(allowed, keep[:, None, None])
        scores = keras.ops.where(allowed, scores, -1e9)
        shares = keras.ops.where(allowed, keras.ops.softmax(scores), 0.0)
        y = keras.ops.einsum("bhts,bshd->bthd", shares, v)
        return self.out(keras.ops.reshape(y, keras.ops.shape(x)))

    def compute_output_spec(self, x, context, keep=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def layer(
    x: keras.KerasTensor,
    keep: keras.KerasTensor,
    heads: int,
    hidden: int,
    drop: float,
    *,
    name: str,
) -> keras.KerasTensor:
    """Post-norm transformer layer: x (B, T, D), keep (B, T) -> y (B, T, D)."""
    D = x.shape[-1]
    h = Attention(heads, name=f"{name}_attention")(x, x, keep=keep)
    h = keras.layers.Dropout(drop, name=f"{name}_dropout1")(h)
    h = layer_norm(name=f"{name}_layer_norm1")(x + h)
    h2 = linear(hidden, bias_initializer=uniform(D), name=f"{name}_linear1")(h)
    h2 = keras.ops.gelu(h2, approximate=False)
    h2 = linear(D, bias_initializer=uniform(hidden), name=f"{name}_linear2")(h2)
    h2 = keras.layers.Dropout(drop, name=f"{name}_dropout2")(h2)
    return layer_norm(name=f"{name}_layer_norm2")(h + h2)


@keras.saving.register_keras_serializable(package="bert")
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


def bert(
    vocab: int = 30522,
    length: int = 512,
    D: int = 768,
    layers: int = 12,
    heads: int = 12,
    drop: float = 0.1,
) -> keras.Model:
    """Ids (B, T <= 512), segment (B, T), keep (B, T) -> hidden (B, T, D), pooled (B, D)."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    segment = keras.Input((None,), dtype="int32", name="segment")
    keep = keras.Input((None,), dtype="bool", optional=True, name="keep")
    h = keras.layers.Embedding(
        vocab, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="word"
    )(ids)
    h2 = keras.layers.Embedding(
        2, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="type"
    )(segment)
    h = Position(length, name="position")(h + h2)
    h = layer_norm(name="layer_norm")(h)
    h = keras.layers.Dropout(drop, name="dropout")(h)
    for i in range(layers):
        h = layer(h, keep, heads, 4 * D, drop, name=f"layers_{i}")
    h2 = linear(D, bias_initializer=uniform(D), name="pooler")(h[:, 0])
    pooled = keras.ops.tanh(h2)
    return keras.Model([ids, segment, keep], [h, pooled], name="bert")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = bert(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
