"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
layer_norm = partial(nnx.LayerNorm, epsilon=1e-5, use_fast_variance=False)
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Layer(nnx.Module):
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, heads: int, drop: float = 0.1, *, rngs: nnx.Rngs) -> None:
        if D % heads != 0:
            raise ValueError(f"width {D} does not divide into {heads} heads")
        self.layer_norm1 = layer_norm(D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, D, decode=False, kernel_init=fan_uniform, bias_init=uniform(D), rngs=rngs
        )
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.layer_norm2 = layer_norm(D, rngs=rngs)
        self.linear1 = linear(D, 4 * D, bias_init=uniform(D), rngs=rngs)
        self.linear2 = linear(4 * D, D, bias_init=uniform(4 * D), rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x + self.dropout1(self.attention(self.layer_norm1(x), is_causal=True))
        h2 = self.layer_norm2(h)
        return h + self.dropout2(self.linear2(nnx.gelu(self.linear1(h2), approximate=False)))


class GPT(nnx.Module):
    """Ids (B, T <= 1024) -> logits (B, T, vocab)."""

    def __init__(
        self, vocab: int = 50257, D: int = 768, layers: int = 12, heads: int = 12, *, rngs: nnx.Rngs
    ) -> None:
        self.token = nnx.Embed(vocab, D, embedding_init=nnx.initializers.normal(1), rngs=rngs)
        self.position = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (1024, D)))
        self.layers = nnx.List([Layer(D, heads, rngs=rngs) for _ in range(layers)])
        self.layer_norm = layer_norm(D, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        h = self.token(ids) + self.position[: ids.shape[1]]
        for layer in self.layers:
            h = layer(h)
        return self.token.attend(self.layer_norm(h))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> GPT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return GPT(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: GPT(**config, rngs=nnx.Rngs(seed)))
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
