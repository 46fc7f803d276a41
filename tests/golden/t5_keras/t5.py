"""T5: an encoder and decoder as T5 (Raffel et al. 2019), with one embedding for all of it; these
numbers make the small one. `keep` is false where a source is padded.

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
rms_norm = partial(keras.layers.RMSNormalization, epsilon=1e-6)


@keras.saving.register_keras_serializable(package="t5")
class FlattenLayer(keras.layers.Layer):
    """x (B, T, heads, K) -> y (B, T, K * heads)."""

    def call(self, x):
        return keras.ops.reshape(x, (keras.ops.shape(x)[0], keras.ops.shape(x)[1], -1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1], input_shape[-1] * input_shape[2])


def self_attention(
    x: keras.KerasTensor,
    bias: keras.KerasTensor,
    mask: keras.KerasTensor,
    heads: int,
    K: int,
    *,
    name: str,
) -> keras.KerasTensor:
    """Attention of a sequence to itself; `bias` is added to the scores, which are not scaled.

    x (B, T, D), bias (1, heads, T, T), mask (M, 1, R, T) -> y (B, T, D).
    """
    q = linear(heads * K, name=f"{name}_query")(x)
    q = keras.layers.Reshape((-1, heads, K))(q)
    q = keras.ops.transpose(q, (0, 2, 1, 3))
    h = linear(heads * K, name=f"{name}_key")(x)
    h = keras.layers.Reshape((-1, heads, K))(h)
    v = linear(heads * K, name=f"{name}_value")(x)
    v = keras.layers.Reshape((-1, heads, K))(v)
    v = keras.ops.transpose(v, (0, 2, 1, 3))
    h = keras.ops.transpose(h, (0, 2, 3, 1))
    h = keras.ops.softmax(keras.ops.where(mask, q @ h + bias, -3e38))
    h = keras.ops.transpose(keras.ops.where(mask, h, 0.0) @ v, (0, 2, 1, 3))
    return linear(x.shape[-1], name=f"{name}_output")(FlattenLayer()(h))


def feed(x: keras.KerasTensor, hidden: int, drop: float, *, name: str) -> keras.KerasTensor:
    """Two linear layers without biases: (B, T, D) -> (B, T, D)."""
    h = keras.layers.ReLU()(linear(hidden, name=f"{name}_linear1")(x))
    h = keras.layers.Dropout(drop, name=f"{name}_dropout")(h)
    return linear(x.shape[-1], name=f"{name}_linear2")(h)


def encoder(
    x: keras.KerasTensor,
    bias: keras.KerasTensor,
    mask: keras.KerasTensor,
    heads: int,
    K: int,
    hidden: int,
    drop: float,
    *,
    name: str,
) -> keras.KerasTensor:
    """A layer that sees all of its sequence.

    x (B, S, D), bias (1, heads, S, S), mask (B, 1, 1, S) -> y (B, S, D).
    """
    h = rms_norm(name=f"{name}_rms_norm1")(x)
    h = self_attention(h, bias, mask, heads, K, name=f"{name}_self_attention")
    h = x + keras.layers.Dropout(drop, name=f"{name}_dropout1")(h)
    h2 = rms_norm(name=f"{name}_rms_norm2")(h)
    h2 = feed(h2, hidden, drop, name=f"{name}_feed")
    return h + keras.layers.Dropout(drop, name=f"{name}_dropout2")(h2)


def cross_attention(
    x: keras.KerasTensor,
    memory: keras.KerasTensor,
    mask: keras.KerasTensor,
    heads: int,
    K: int,
    *,
    name: str,
) -> keras.KerasTensor:
    """Attention to what the encoder made; `mask` is true where that may be seen.

    x (B, T, D), memory (B, S, D), mask (B, 1, 1, S) -> y (B, T, D).
    """
    q = linear(heads * K, name=f"{name}_query")(x)
    q = keras.layers.Reshape((-1, heads, K))(q)
    q = keras.ops.transpose(q, (0, 2, 1, 3))
    h = linear(heads * K, name=f"{name}_key")(memory)
    h = keras.layers.Reshape((-1, heads, K))(h)
    v = linear(heads * K, name=f"{name}_value")(memory)
    v = keras.layers.Reshape((-1, heads, K))(v)
    v = keras.ops.transpose(v, (0, 2, 1, 3))
    h = keras.ops.transpose(h, (0, 2, 3, 1))
    h = keras.ops.softmax(keras.ops.where(mask, q @ h, -3e38))
    h = keras.ops.transpose(keras.ops.where(mask, h, 0.0) @ v, (0, 2, 1, 3))
    return linear(x.shape[-1], name=f"{name}_output")(FlattenLayer()(h))


def decoder(
    x: keras.KerasTensor,
    memory: keras.KerasTensor,
    bias: keras.KerasTensor,
    before: keras.KerasTensor,
    mask: keras.KerasTensor,
    heads: int,
    K: int,
    hidden: int,
    drop: float,
    *,
    name: str,
) -> keras.KerasTensor:
    """A layer that sees what stands before, and all of what the encoder made.

    x (B, T, D), memory (B, S, D), bias (1, heads, T, T), before (1, 1, T, T), mask (B, 1,
    1, S) -> y (B, T, D).
    """
    h = rms_norm(name=f"{name}_rms_norm1")(x)
    h = self_attention(h, bias, before, heads, K, name=f"{name}_self_attention")
    h = x + keras.layers.Dropout(drop, name=f"{name}_dropout1")(h)
    c = rms_norm(name=f"{name}_rms_norm2")(h)
    c = cross_attention(c, memory, mask, heads, K, name=f"{name}_cross_attention")
    c = h + keras.layers.Dropout(drop, name=f"{name}_dropout2")(c)
    h = rms_norm(name=f"{name}_rms_norm3")(c)
    h = feed(h, hidden, drop, name=f"{name}_feed")
    return c + keras.layers.Dropout(drop, name=f"{name}_dropout3")(h)


@keras.saving.register_keras_serializable(package="t5")
class KeepDefault(keras.layers.Layer):
    """Gives keep; True everywhere where it is left out."""

    def call(self, source, keep=None):
        if keep is not None:
            return keep
        return keras.ops.full(
            (keras.ops.shape(source)[0], keras.ops.shape(source)[1]), True, dtype="bool"
        )

    def compute_output_spec(self, source, keep=None):
        return keras.KerasTensor(keep.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="t5")
class FarWeight(keras.layers.Layer):
    """Holds far_weight: source (B, S) -> bias (1, heads, S, S)."""

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape):
        self.far_weight = self.add_weight(
            shape=(32, self.heads),
            initializer=keras.initializers.RandomNormal(stddev=1),
            name="far_weight",
        )

    def call(self, source):
        h = keras.ops.arange(keras.ops.shape(source)[1], dtype="int32")
        h = h - keras.ops.reshape(h, (keras.ops.shape(source)[1], 1))
        h2 = keras.ops.abs(h)
        h3 = keras.ops.minimum(h2, 8)
        h4 = keras.ops.array([12, 16, 23, 32, 46, 64, 91], dtype="int32")
        h2 = keras.ops.expand_dims(h2, 2)
        h2 = h3 + keras.ops.sum(keras.ops.cast(h2 >= h4, "int32"), axis=2)
        h = keras.ops.take(self.far_weight, h2 + keras.ops.cast(h > 0, "int32") * 16, axis=0)
        return keras.ops.expand_dims(keras.ops.transpose(h, (2, 0, 1)), 0)

    def compute_output_shape(self, input_shape):
        return (1, self.heads, input_shape[-1], input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package="t5")
class BeforeLayer(keras.layers.Layer):
    """target (B, T) -> before (1, 1, T, T)."""

    def call(self, target):
        h = keras.ops.arange(keras.ops.shape(target)[1], dtype="int32")
        return keras.ops.expand_dims(keras.ops.expand_dims(h, 1) >= h, (0, 1))

    def compute_output_spec(self, target):
        input_shape = target.shape
        return keras.KerasTensor((1, 1, input_shape[-1], input_shape[-1]), "bool")


@keras.saving.register_keras_serializable(package="t5")
class PastWeight(keras.layers.Layer):
    """Holds past_weight: target (B, T) -> bias (1, heads, T, T)."""

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape):
        self.past_weight = self.add_weight(
            shape=(32, self.heads),
            initializer=keras.initializers.RandomNormal(stddev=1),
            name="past_weight",
        )

    def call(self, target):
        h = keras.ops.arange(keras.ops.shape(target)[1], dtype="int32")
        h = keras.ops.maximum(-(h - keras.ops.reshape(h, (keras.ops.shape(target)[1], 1))), 0)
        h2 = keras.ops.minimum(h, 16)
        h3 = keras.ops.array(
            [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113], dtype="int32"
        )
        h = keras.ops.cast(keras.ops.expand_dims(h, 2) >= h3, "int32")
        h = keras.ops.take(self.past_weight, h2 + keras.ops.sum(h, axis=2), axis=0)
        return keras.ops.expand_dims(keras.ops.transpose(h, (2, 0, 1)), 0)

    def compute_output_shape(self, input_shape):
        return (1, self.heads, input_shape[-1], input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def t5(
    vocab: int = 32128,
    D: int = 512,
    layers: int = 6,
    heads: int = 8,
    K: int = 64,
    hidden: int = 2048,
    drop: float = 0.1,
) -> keras.Model:
    """Source (B, S), target (B, T), keep (B, S) -> logits (B, T, vocab)."""
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    given_keep = keras.Input((None,), dtype="bool", optional=True, name="keep")
    keep = KeepDefault()(source, given_keep)
    mask = keras.ops.expand_dims(keep, (1, 2))
    bias = FarWeight(heads, name="far_weight")(source)
    token = keras.layers.ReversibleEmbedding(
        vocab, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="token"
    )
    m = keras.layers.Dropout(drop, name="dropout1")(token(source))
    for i in range(layers):
        m = encoder(m, bias, mask, heads, K, hidden, drop, name=f"encoder_{i}")
    m = rms_norm(name="rms_norm1")(m)
    m = keras.layers.Dropout(drop, name="dropout2")(m)
    before = BeforeLayer()(target)
    bias = PastWeight(heads, name="past_weight")(target)
    h = keras.layers.Dropout(drop, name="dropout3")(token(target))
    for i in range(layers):
        h = decoder(h, m, bias, before, mask, heads, K, hidden, drop, name=f"decoder_{i}")
    h = rms_norm(name="rms_norm2")(h)
    h = keras.layers.Dropout(drop, name="dropout4")(h)
    logits = token(h / D**0.5, reverse=True)
    return keras.Model([source, target, given_keep], logits, name="t5")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = t5(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
