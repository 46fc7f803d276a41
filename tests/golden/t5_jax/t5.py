"""T5: an encoder and decoder as T5 (Raffel et al. 2019), with one embedding for all of it; these
numbers make the small one. `keep` is false where a source is padded.

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
rms_norm = partial(nnx.RMSNorm, epsilon=1e-6, use_fast_variance=False)
embedding = partial(nnx.Embed, embedding_init=nnx.initializers.normal(1))


def sdpa(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, *, scale: float | None = None
) -> jax.Array:
    """Attention of (..., T, width); a query that may attend to nothing gets zeros."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    shares = nnx.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
    return jnp.where(mask, shares, 0) @ v


class SelfAttention(nnx.Module):
    """Attention of a sequence to itself; `bias` is added to the scores, which are not scaled.

    x (B, T, D), bias (1, heads, T, T), mask (M, 1, R, T) -> y (B, T, D).
    """

    def __init__(self, D: int, heads: int, K: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.K = K
        self.query = linear(D, heads * K, rngs=rngs)
        self.key = linear(D, heads * K, rngs=rngs)
        self.value = linear(D, heads * K, rngs=rngs)
        self.output = linear(heads * K, D, rngs=rngs)

    def __call__(self, x: jax.Array, bias: jax.Array, mask: jax.Array) -> jax.Array:
        B, T, _ = x.shape
        q = self.query(x).reshape(B, T, self.heads, self.K).swapaxes(1, 2)
        h = self.key(x).reshape(B, T, self.heads, self.K)
        v = self.value(x).reshape(B, T, self.heads, self.K).swapaxes(1, 2)
        h = q @ h.transpose(0, 2, 3, 1) + bias
        h = (jnp.where(mask, nnx.softmax(jnp.where(mask, h, -3e38)), 0.0) @ v).swapaxes(1, 2)
        return self.output(h.reshape(h.shape[0], h.shape[1], -1))


class Feed(nnx.Module):
    """Two linear layers without biases: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, hidden: int, drop: float, *, rngs: nnx.Rngs) -> None:
        self.linear1 = linear(D, hidden, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.linear2 = linear(hidden, D, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear2(self.dropout(nnx.relu(self.linear1(x))))


class Encoder(nnx.Module):
    """A layer that sees all of its sequence.

    x (B, S, D), bias (1, heads, S, S), mask (B, 1, 1, S) -> y (B, S, D).
    """

    def __init__(
        self, D: int, heads: int, K: int, hidden: int, drop: float, *, rngs: nnx.Rngs
    ) -> None:
        self.rms_norm1 = rms_norm(D, rngs=rngs)
        self.self_attention = SelfAttention(D, heads, K, rngs=rngs)
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.rms_norm2 = rms_norm(D, rngs=rngs)
        self.feed = Feed(D, hidden, drop, rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)

    def __call__(self, x: jax.Array, bias: jax.Array, mask: jax.Array) -> jax.Array:
        h = x + self.dropout1(self.self_attention(self.rms_norm1(x), bias, mask))
        return h + self.dropout2(self.feed(self.rms_norm2(h)))


class CrossAttention(nnx.Module):
    """Attention to what the encoder made; `mask` is true where that may be seen.

    x (B, T, D), memory (B, S, D), mask (B, 1, 1, S) -> y (B, T, D).
    """

    def __init__(self, D: int, heads: int, K: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.K = K
        self.query = linear(D, heads * K, rngs=rngs)
        self.key = linear(D, heads * K, rngs=rngs)
        self.value = linear(D, heads * K, rngs=rngs)
        self.output = linear(heads * K, D, rngs=rngs)

    def __call__(self, x: jax.Array, memory: jax.Array, mask: jax.Array) -> jax.Array:
        B, T, _ = x.shape
        q = self.query(x).reshape(B, T, self.heads, self.K).swapaxes(1, 2)
        k = self.key(memory).reshape(B, memory.shape[1], self.heads, self.K).swapaxes(1, 2)
        h = self.value(memory).reshape(B, memory.shape[1], self.heads, self.K)
        h = sdpa(q, k, h.swapaxes(1, 2), mask, scale=1.0).swapaxes(1, 2)
        return self.output(h.reshape(h.shape[0], h.shape[1], -1))


class Decoder(nnx.Module):
    """A layer that sees what stands before, and all of what the encoder made.

    x (B, T, D), memory (B, S, D), bias (1, heads, T, T), before (1, 1, T, T), mask (B, 1,
    1, S) -> y (B, T, D).
    """

    def __init__(
        self, D: int, heads: int, K: int, hidden: int, drop: float, *, rngs: nnx.Rngs
    ) -> None:
        self.rms_norm1 = rms_norm(D, rngs=rngs)
        self.self_attention = SelfAttention(D, heads, K, rngs=rngs)
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.rms_norm2 = rms_norm(D, rngs=rngs)
        self.cross_attention = CrossAttention(D, heads, K, rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)
        self.rms_norm3 = rms_norm(D, rngs=rngs)
        self.feed = Feed(D, hidden, drop, rngs=rngs)
        self.dropout3 = nnx.Dropout(drop, rngs=rngs)

    def __call__(
        self, x: jax.Array, memory: jax.Array, bias: jax.Array, before: jax.Array, mask: jax.Array
    ) -> jax.Array:
        h = x + self.dropout1(self.self_attention(self.rms_norm1(x), bias, before))
        c = h + self.dropout2(self.cross_attention(self.rms_norm2(h), memory, mask))
        return c + self.dropout3(self.feed(self.rms_norm3(c)))


class T5(nnx.Module):
    """Source (B, S), target (B, T), keep (B, S) -> logits (B, T, vocab)."""

    def __init__(
        self,
        vocab: int = 32128,
        D: int = 512,
        layers: int = 6,
        heads: int = 8,
        K: int = 64,
        hidden: int = 2048,
        drop: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.D = D
        self.token = embedding(vocab, D, rngs=rngs)
        self.far = embedding(32, heads, rngs=rngs)
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.encoder = nnx.List(
            [Encoder(D, heads, K, hidden, drop, rngs=rngs) for _ in range(layers)]
        )
        self.rms_norm1 = rms_norm(D, rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)
        self.past = embedding(32, heads, rngs=rngs)
        self.dropout3 = nnx.Dropout(drop, rngs=rngs)
        self.decoder = nnx.List(
            [Decoder(D, heads, K, hidden, drop, rngs=rngs) for _ in range(layers)]
        )
        self.rms_norm2 = rms_norm(D, rngs=rngs)
        self.dropout4 = nnx.Dropout(drop, rngs=rngs)

    def __call__(
        self, source: jax.Array, target: jax.Array, keep: jax.Array | None = None
    ) -> jax.Array:
        B, S = source.shape
        T = target.shape[1]
        if keep is None:
            keep = jnp.full((B, S), True)
        mask = keep[:, None, None]
        bias = jnp.arange(S, dtype=jnp.int32)
        bias = bias - bias.reshape(S, 1)
        bias2 = jnp.abs(bias)
        bias3 = jnp.minimum(bias2, 8)
        bias4 = jnp.array([12, 16, 23, 32, 46, 64, 91], dtype=jnp.int32)
        bias2 = (bias2[..., None] >= bias4).astype(jnp.int32).sum(2)
        bias = self.far(bias3 + bias2 + (bias > 0).astype(jnp.int32) * 16).transpose(2, 0, 1)[None]
        m = self.dropout1(self.token(source))
        for encoder in self.encoder:
            m = encoder(m, bias, mask)
        m = self.dropout2(self.rms_norm1(m))
        before = jnp.arange(T, dtype=jnp.int32)
        before = (before[..., None] >= before)[None, None]
        bias = jnp.arange(T, dtype=jnp.int32)
        bias = jnp.maximum(-(bias - bias.reshape(T, 1)), 0)
        bias2 = jnp.minimum(bias, 16)
        bias3 = jnp.array(
            [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113], dtype=jnp.int32
        )
        bias = bias[..., None]
        bias = self.past(bias2 + (bias >= bias3).astype(jnp.int32).sum(2)).transpose(2, 0, 1)[None]
        h = self.dropout3(self.token(target))
        for decoder in self.decoder:
            h = decoder(h, m, bias, before, mask)
        h = self.dropout4(self.rms_norm2(h))
        return self.token.attend(h / self.D**0.5)


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> T5:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return T5(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: T5(**config, rngs=nnx.Rngs(seed)))
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
