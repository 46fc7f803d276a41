"""Llama: a decoder as Llama is one (Touvron et al. 2023), of the size of TinyLlama: S tokens are
in the cache, T are new.

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


def angles(
    position: keras.KerasTensor, width: int, base: float = 10000.0
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Sines and cosines of the angles by which pairs of elements turn at each position.

    position (T,) -> cosine (T, width // 2), sine (T, width // 2).
    """
    frequency = keras.ops.arange(width // 2, dtype="int32")
    frequency = keras.ops.cast(frequency, keras.config.floatx())
    frequency = base ** (-keras.ops.divide(frequency, width / 2))
    angle = keras.ops.cast(position, keras.config.floatx())
    angle = keras.ops.expand_dims(angle, 1) * frequency
    return keras.ops.cos(angle), keras.ops.sin(angle)


def rotary(
    x: keras.KerasTensor, cosine: keras.KerasTensor, sine: keras.KerasTensor
) -> keras.KerasTensor:
    """Turns the first half of the elements with the second (Su et al. 2021).

    x (B, N, T, K), cosine (T, K // 2), sine (T, K // 2) -> y (B, N, T, K).
    """
    a, b = keras.ops.split(x, 2, axis=3)
    h = a * cosine
    h2 = b * sine
    return keras.layers.Concatenate(axis=3)([h - h2, b * cosine + a * sine])


@keras.saving.register_keras_serializable(package="llama")
class LessEqualLayer(keras.layers.Layer):
    """past_keys (B, groups, S, K), x (B, T, D) -> y (T, S + T)."""

    def call(self, past_keys, x):
        h = keras.ops.expand_dims(keras.ops.arange(keras.ops.shape(x)[1], dtype="int32"), 1)
        h = h + keras.ops.cast(keras.ops.shape(past_keys)[2], "int32")
        h2 = keras.ops.arange(keras.ops.shape(past_keys)[2] + keras.ops.shape(x)[1], dtype="int32")
        return h2 <= h

    def compute_output_spec(self, past_keys, x):
        x_shape = x.shape
        return keras.KerasTensor((x_shape[1], None), "bool")


@keras.saving.register_keras_serializable(package="llama")
class FlattenLayer(keras.layers.Layer):
    """x (B, T, heads, K) -> y (B, T, K * heads)."""

    def call(self, x):
        return keras.ops.reshape(x, (keras.ops.shape(x)[0], keras.ops.shape(x)[1], -1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1], input_shape[-1] * input_shape[2])


def attention(
    x: keras.KerasTensor,
    past_keys: keras.KerasTensor,
    past_values: keras.KerasTensor,
    cosine: keras.KerasTensor,
    sine: keras.KerasTensor,
    heads: int,
    groups: int,
    *,
    name: str,
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Attention of fewer heads of keys and values than of queries, to a cache and to what is
    new.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """
    K = past_keys.shape[-1]
    q = linear(heads * K, name=f"{name}_query")(x)
    q = keras.layers.Reshape((-1, heads, K))(q)
    q = keras.ops.transpose(q, (0, 2, 1, 3))
    k = linear(groups * K, name=f"{name}_key")(x)
    k = keras.layers.Reshape((-1, groups, K))(k)
    k = keras.ops.transpose(k, (0, 2, 1, 3))
    v = linear(groups * K, name=f"{name}_value")(x)
    v = keras.layers.Reshape((-1, groups, K))(v)
    v = keras.ops.transpose(v, (0, 2, 1, 3))
    h = rotary(k, cosine, sine)
    keys = keras.layers.Concatenate(axis=2)([past_keys, h])
    values = keras.layers.Concatenate(axis=2)([past_values, v])
    h = rotary(q, cosine, sine)
    h2 = keras.ops.expand_dims(keys, 2)
    h3 = keras.ops.expand_dims(values, 2)
    h = keras.layers.Reshape((groups, heads // groups, -1, K))(h)
    h = h * (1.0 / K**0.5) @ keras.ops.swapaxes(h2, -1, -2)
    h2 = LessEqualLayer()(past_keys, x)
    h = keras.ops.softmax(keras.ops.where(h2, h, -3e38))
    h = keras.layers.Reshape((heads, -1, K))(keras.ops.where(h2, h, 0.0) @ h3)
    h = FlattenLayer()(keras.ops.transpose(h, (0, 2, 1, 3)))
    return linear(x.shape[-1], name=f"{name}_output")(h), keys, values


def swi_glu(x: keras.KerasTensor, hidden: int, *, name: str) -> keras.KerasTensor:
    """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

    (B, T, D) -> (B, T, D).
    """
    gate = keras.ops.silu(linear(hidden, name=f"{name}_gate")(x))
    h = linear(hidden, name=f"{name}_up")(x)
    return linear(x.shape[-1], name=f"{name}_down")(gate * h)


def layer(
    x: keras.KerasTensor,
    past_keys: keras.KerasTensor,
    past_values: keras.KerasTensor,
    cosine: keras.KerasTensor,
    sine: keras.KerasTensor,
    heads: int,
    groups: int,
    hidden: int,
    *,
    name: str,
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]:
    """Pre-norm layer of a decoder, which hands its keys and values on.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """
    h = rms_norm(name=f"{name}_rms_norm1")(x)
    a, keys, values = attention(
        h, past_keys, past_values, cosine, sine, heads, groups, name=f"{name}_attention"
    )
    h = x + a
    h2 = rms_norm(name=f"{name}_rms_norm2")(h)
    return h + swi_glu(h2, hidden, name=f"{name}_swi_glu"), keys, values


@keras.saving.register_keras_serializable(package="llama")
class SliceLayer(keras.layers.Layer):
    """past_keys (layers, B, groups, S, K), ids (B, T) -> y (T)."""

    def call(self, past_keys, ids):
        h = keras.ops.arange(keras.ops.shape(past_keys)[3] + keras.ops.shape(ids)[1], dtype="int32")
        return h[keras.ops.shape(past_keys)[3] :]

    def compute_output_spec(self, past_keys, ids):
        ids_shape = ids.shape
        return keras.KerasTensor((ids_shape[-1],), "int32")


def llama(
    vocab: int = 32000,
    D: int = 2048,
    layers: int = 22,
    heads: int = 32,
    groups: int = 4,
    K: int = 64,
    hidden: int = 5632,
) -> keras.Model:
    """Ids (B, T), past_keys (layers, B, groups, S, K), past_values (layers, B, groups, S, K)
    -> logits (B, T, vocab), keys (layers, B, groups, S + T, K), values (layers, B, groups,
    S + T, K).
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    past_keys = keras.Input(batch_shape=(layers, None, groups, None, K), name="past_keys")
    past_values = keras.Input(batch_shape=(layers, None, groups, None, K), name="past_values")
    cosine, sine = angles(SliceLayer()(past_keys, ids), K)
    h = keras.layers.Embedding(
        vocab, D, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="embedding"
    )(ids)
    all_keys = []
    all_values = []
    for i in range(layers):
        h2 = past_keys[i]
        h3 = past_values[i]
        h, k, v = layer(h, h2, h3, cosine, sine, heads, groups, hidden, name=f"layers_{i}")
        all_keys.append(k)
        all_values.append(v)
    keys = keras.ops.stack(all_keys)
    values = keras.ops.stack(all_values)
    logits = linear(vocab, name="linear")(rms_norm(name="rms_norm")(h))
    return keras.Model([ids, past_keys, past_values], [logits, keys, values], name="llama")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = llama(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
