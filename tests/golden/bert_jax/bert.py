"""BERT: an encoder of sentences as BERT has it (Devlin et al. 2018); `keep` is false where one is
padded.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
layer_norm = partial(nnx.LayerNorm, epsilon=1e-12, use_fast_variance=False)
linear = partial(nnx.Linear, kernel_init=fan_uniform)
embedding = partial(nnx.Embed, embedding_init=nnx.initializers.normal(1))


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, **_) -> jax.Array:
    """Attention of (B, T, heads, d); a query that may attend to nothing gets zeros."""
    y = jax.nn.dot_product_attention(query, key, value, mask=mask)
    return jnp.where(mask.any(-1).mT[..., None], y, 0)


class Layer(nnx.Module):
    """Post-norm transformer layer: x (B, T, D), keep (B, T) -> y (B, T, D)."""

    def __init__(self, D: int, heads: int, hidden: int, drop: float, *, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(
            heads,
            D,
            attention_fn=attend,
            decode=False,
            kernel_init=fan_uniform,
            bias_init=uniform(D),
            rngs=rngs,
        )
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.layer_norm1 = layer_norm(D, rngs=rngs)
        self.linear1 = linear(D, hidden, bias_init=uniform(D), rngs=rngs)
        self.linear2 = linear(hidden, D, bias_init=uniform(hidden), rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)
        self.layer_norm2 = layer_norm(D, rngs=rngs)

    def __call__(self, x: jax.Array, keep: jax.Array) -> jax.Array:
        h = self.attention(x, mask=keep[:, None, None, :])
        h = self.layer_norm1(x + self.dropout1(h))
        h2 = nnx.gelu(self.linear1(h), approximate=False)
        return self.layer_norm2(h + self.dropout2(self.linear2(h2)))


class BERT(nnx.Module):
    """Ids (B, T <= 512), segment (B, T), keep (B, T) -> hidden (B, T, D), pooled (B, D)."""

    def __init__(
        self,
        vocab: int = 30522,
        length: int = 512,
        D: int = 768,
        layers: int = 12,
        heads: int = 12,
        drop: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.position = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (length, D)))
        self.word = embedding(vocab, D, rngs=rngs)
        self.type = embedding(2, D, rngs=rngs)
        self.layer_norm = layer_norm(D, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.layers = nnx.List([Layer(D, heads, 4 * D, drop, rngs=rngs) for _ in range(layers)])
        self.pooler = linear(D, D, bias_init=uniform(D), rngs=rngs)

    def __call__(
        self, ids: jax.Array, segment: jax.Array, keep: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        B, T = ids.shape
        if keep is None:
            keep = jnp.full((B, T), True)
        h = self.word(ids) + self.type(segment) + self.position[:T]
        h = self.dropout(self.layer_norm(h))
        for layer in self.layers:
            h = layer(h, keep)
        return h, nnx.tanh(self.pooler(h[:, 0]))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> BERT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return BERT(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: BERT(**config, rngs=nnx.Rngs(seed)))
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
