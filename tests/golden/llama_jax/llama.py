"""Llama: a decoder as Llama is one (Touvron et al. 2023), of the size of TinyLlama: S tokens are
in the cache, T are new.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
linear = partial(nnx.Linear, use_bias=False, kernel_init=fan_uniform)
rms_norm = partial(nnx.RMSNorm, epsilon=1e-5, use_fast_variance=False)


def sdpa(q: jax.Array, k: jax.Array, v: jax.Array, *, scale: float | None = None) -> jax.Array:
    """Attention of (..., T, width); a query that may attend to nothing gets zeros."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    T, S = scores.shape[-2:]
    mask = jnp.tri(T, S, S - T, dtype=bool)
    shares = nnx.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
    return jnp.where(mask, shares, 0) @ v


class Angles(nnx.Module):
    """Sines and cosines of the angles by which pairs of elements turn at each position.

    position (T,) -> cosine (T, width // 2), sine (T, width // 2).
    """

    def __init__(self, width: int, base: float = 10000.0) -> None:
        self.width = width
        self.base = base

    def __call__(self, position: jax.Array) -> tuple[jax.Array, jax.Array]:
        frequency = jnp.arange(self.width // 2, dtype=jnp.int32)
        frequency = self.base ** (-(frequency.astype(float) / (self.width / 2)))
        angle = position.astype(float)[..., None] * frequency
        return jnp.cos(angle), jnp.sin(angle)


class Rotary(nnx.Module):
    """Turns the first half of the elements with the second (Su et al. 2021).

    x (B, N, T, K), cosine (T, K // 2), sine (T, K // 2) -> y (B, N, T, K).
    """

    def __call__(self, x: jax.Array, cosine: jax.Array, sine: jax.Array) -> jax.Array:
        a, b = jnp.split(x, 2, axis=3)
        return jnp.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=3)


class Attention(nnx.Module):
    """Attention of fewer heads of keys and values than of queries, to a cache and to what is
    new.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """

    def __init__(self, D: int, K: int, heads: int, groups: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.groups = groups
        self.query = linear(D, heads * K, rngs=rngs)
        self.key = linear(D, groups * K, rngs=rngs)
        self.value = linear(D, groups * K, rngs=rngs)
        self.turn = Rotary()
        self.output = linear(heads * K, D, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        past_keys: jax.Array,
        past_values: jax.Array,
        cosine: jax.Array,
        sine: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        B, T, _ = x.shape
        K = past_keys.shape[3]
        q = self.query(x).reshape(B, T, self.heads, K).swapaxes(1, 2)
        k = self.key(x).reshape(B, T, self.groups, K).swapaxes(1, 2)
        v = self.value(x).reshape(B, T, self.groups, K).swapaxes(1, 2)
        keys = jnp.concatenate([past_keys, self.turn(k, cosine, sine)], axis=2)
        values = jnp.concatenate([past_values, v], axis=2)
        h = self.turn(q, cosine, sine)
        h2 = keys[:, :, None]
        h3 = values[:, :, None]
        h = h.reshape(B, self.groups, self.heads // self.groups, T, K)
        h = sdpa(h, h2, h3, scale=1.0 / K**0.5).reshape(B, self.heads, T, K).swapaxes(1, 2)
        return self.output(h.reshape(h.shape[0], h.shape[1], -1)), keys, values


class SwiGLU(nnx.Module):
    """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

    (B, T, D) -> (B, T, D).
    """

    def __init__(self, D: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.gate = linear(D, hidden, rngs=rngs)
        self.up = linear(D, hidden, rngs=rngs)
        self.down = linear(hidden, D, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate = nnx.silu(self.gate(x))
        return self.down(gate * self.up(x))


class Layer(nnx.Module):
    """Pre-norm layer of a decoder, which hands its keys and values on.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """

    def __init__(
        self, D: int, K: int, heads: int, groups: int, hidden: int, *, rngs: nnx.Rngs
    ) -> None:
        self.rms_norm1 = rms_norm(D, rngs=rngs)
        self.attention = Attention(D, K, heads, groups, rngs=rngs)
        self.rms_norm2 = rms_norm(D, rngs=rngs)
        self.swi_glu = SwiGLU(D, hidden, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        past_keys: jax.Array,
        past_values: jax.Array,
        cosine: jax.Array,
        sine: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        h = self.rms_norm1(x)
        a, keys, values = self.attention(h, past_keys, past_values, cosine, sine)
        h = x + a
        return h + self.swi_glu(self.rms_norm2(h)), keys, values


class Llama(nnx.Module):
    """Ids (B, T), past_keys (layers, B, groups, S, K), past_values (layers, B, groups, S, K)
    -> logits (B, T, vocab), keys (layers, B, groups, S + T, K), values (layers, B, groups,
    S + T, K).
    """

    def __init__(
        self,
        vocab: int = 32000,
        D: int = 2048,
        layers: int = 22,
        heads: int = 32,
        groups: int = 4,
        K: int = 64,
        hidden: int = 5632,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.angles = Angles(K)
        self.embedding = nnx.Embed(vocab, D, embedding_init=nnx.initializers.normal(1), rngs=rngs)
        self.layers = nnx.List(
            [Layer(D, K, heads, groups, hidden, rngs=rngs) for _ in range(layers)]
        )
        self.rms_norm = rms_norm(D, rngs=rngs)
        self.linear = linear(D, vocab, rngs=rngs)

    def __call__(
        self, ids: jax.Array, past_keys: jax.Array, past_values: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        h = jnp.arange(past_keys.shape[3] + ids.shape[1], dtype=jnp.int32)
        cosine, sine = self.angles(h[past_keys.shape[3] :])
        h = self.embedding(ids)
        all_keys = []
        all_values = []
        for i, layer in enumerate(self.layers):
            h, k, v = layer(h, past_keys[i], past_values[i], cosine, sine)
            all_keys.append(k)
            all_values.append(v)
        return self.linear(self.rms_norm(h)), jnp.stack(all_keys), jnp.stack(all_values)


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> Llama:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return Llama(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: Llama(**config, rngs=nnx.Rngs(seed)))
    tensors = load_file(weights)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    wanted = {".".join(map(str, path)): v.shape for path, v in nnx.to_flat_state(state)}
    if wrong := wanted.items() ^ {key: x.shape for key, x in tensors.items()}.items():
        raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
    nnx.update(
        model, nnx.map_state(lambda path, v: v.replace(tensors[".".join(map(str, path))]), state)
    )
    nnx.reseed(model, default=seed)
    return model
