"""MoE: a language model of a mixture of experts, of the size of Mixtral's layers (Jiang et al.
2024).

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


class Experts(nnx.Module):
    """The `chosen` experts that a router scores highest for each position, weighed by their
    scores; `load` is 1 where all are used alike, and grows with how unevenly they are
    (Fedus et al. 2021).

    x (B, T, D) -> y (B, T, D), load ().
    """

    def __init__(self, D: int, experts: int, chosen: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        if chosen > experts:
            raise ValueError(f"{chosen} of {experts} experts")
        self.experts_ = experts
        self.chosen = chosen
        self.router = linear(D, experts, rngs=rngs)
        self.experts = nnx.List([SwiGLU(D, hidden, rngs=rngs) for _ in range(experts)])

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = self.router(x)
        best, index = jax.lax.top_k(scores, self.chosen)
        picked = nnx.one_hot(index, self.experts_)
        share = (nnx.softmax(best)[..., None] * picked).sum(2)
        found = [expert(x) for expert in self.experts]
        y = (share[..., None] * jnp.stack(found, axis=2)).sum(2)
        used = picked.sum(2).mean((0, 1)) / self.chosen
        return y, self.experts_ * (used * nnx.softmax(scores).mean((0, 1))).sum()


class Layer(nnx.Module):
    """Pre-norm transformer layer with experts: x (B, T, D) -> y (B, T, D), load ()."""

    def __init__(
        self, D: int, heads: int, experts: int, chosen: int, hidden: int, *, rngs: nnx.Rngs
    ) -> None:
        self.rms_norm1 = rms_norm(D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, D, use_bias=False, decode=False, kernel_init=fan_uniform, rngs=rngs
        )
        self.rms_norm2 = rms_norm(D, rngs=rngs)
        self.experts = Experts(D, experts, chosen, hidden, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = x + self.attention(self.rms_norm1(x), is_causal=True)
        found, load = self.experts(self.rms_norm2(h))
        return h + found, load


class MoE(nnx.Module):
    """Ids (B, T <= 4096) -> logits (B, T, vocab), load ()."""

    def __init__(
        self,
        vocab: int = 32000,
        length: int = 4096,
        D: int = 1024,
        layers: int = 16,
        heads: int = 16,
        experts: int = 8,
        chosen: int = 2,
        hidden: int = 3584,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.position = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (length, D)))
        self.embedding = nnx.Embed(vocab, D, embedding_init=nnx.initializers.normal(1), rngs=rngs)
        self.layers = nnx.List(
            [Layer(D, heads, experts, chosen, hidden, rngs=rngs) for _ in range(layers)]
        )
        self.rms_norm = rms_norm(D, rngs=rngs)
        self.linear = linear(D, vocab, rngs=rngs)

    def __call__(self, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = self.embedding(ids) + self.position[: ids.shape[1]]
        loads = []
        for layer in self.layers:
            h, load = layer(h)
            loads.append(load)
        return self.linear(self.rms_norm(h)), jnp.stack(loads).mean()


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> MoE:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return MoE(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: MoE(**config, rngs=nnx.Rngs(seed)))
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
