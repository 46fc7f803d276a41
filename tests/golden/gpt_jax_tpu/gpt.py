"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file


def narrow(arrays: tuple, *, dtype: jnp.dtype, **_) -> tuple:
    """What a layer multiplies, in `dtype`; its bias, whose gradient is a sum, in float32."""
    x, kernel, bias = arrays
    return x.astype(dtype), kernel.astype(dtype), bias


fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
layer_norm = partial(nnx.LayerNorm, epsilon=1e-5, use_fast_variance=False)
linear = partial(nnx.Linear, kernel_init=fan_uniform, dtype=jnp.bfloat16, promote_dtype=narrow)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Stack(nnx.Module):
    """Equal modules, applied one after the other, as one that is compiled once: its arrays have an
    axis for them in front."""

    def __init__(
        self, make: Callable[[nnx.Rngs], nnx.Module], count: int, *, rngs: nnx.Rngs
    ) -> None:
        self.stacked = nnx.split_rngs(splits=count)(nnx.vmap(make, axis_size=count))(rngs)

    def __call__(self, x: jax.Array, *rest: jax.Array) -> jax.Array:
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def step(x: jax.Array, module: nnx.Module) -> jax.Array:
            return module(x, *rest).astype(jnp.float32)

        return step(x.astype(jnp.float32), self.stacked)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, **_) -> jax.Array:
    """Attention of (B, T, heads, d)."""
    q, k, v = (x.swapaxes(1, 2) for x in (query, key, value))
    return sdpa(q, k, v).swapaxes(1, 2)


def sdpa(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of (..., T, width); a query that may attend to nothing gets zeros."""
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    scores = (q @ k.mT).astype(jnp.float32) * q.shape[-1] ** -0.5
    T, S = scores.shape[-2:]
    mask = jnp.tri(T, S, S - T, dtype=bool)
    shares = nnx.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
    return jnp.where(mask, shares, 0).astype(v.dtype) @ v


class Layer(nnx.Module):
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, heads: int, drop: float = 0.1, *, rngs: nnx.Rngs) -> None:
        if D % heads != 0:
            raise ValueError(f"width {D} does not divide into {heads} heads")
        self.layer_norm1 = layer_norm(D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads,
            D,
            decode=False,
            kernel_init=fan_uniform,
            bias_init=uniform(D),
            attention_fn=attend,
            dtype=jnp.bfloat16,
            qkv_promote_dtype=narrow,
            out_promote_dtype=narrow,
            rngs=rngs,
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
        self.layers = Stack(lambda rngs: Layer(D, heads, rngs=rngs), layers, rngs=rngs)
        self.layer_norm = layer_norm(D, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        h = self.token(ids) + self.position[: ids.shape[1]]
        h = self.layer_norm(self.layers(h))
        logits = h.astype(jnp.bfloat16) @ self.token.embedding[...].astype(jnp.bfloat16).T
        return logits.astype(jnp.float32)


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
    nnx.reseed(model, default=seed, policy="match_shape")
    return model


@partial(nnx.jit, donate_argnums=0)
def apply(model: GPT, ids: jax.Array) -> jax.Array:
    """Call the model as one program; its arrays are donated, and updated in place."""
    return model(ids)


def export(model: GPT, *inputs: jax.ShapeDtypeStruct) -> jax.export.Exported:
    """Return the program of a call for TPUs, which any machine can make, and `serialize`.

    It takes `jax.tree.leaves(nnx.state(model))` and the inputs, and returns the results and the
    leaves of the state after the call, in the memory of those before.
    """
    graph, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(state)

    def call(leaves: list[jax.Array], *inputs: jax.Array) -> tuple:
        model = nnx.merge(graph, structure.unflatten(leaves), copy=True)
        return model(*inputs), jax.tree.leaves(nnx.state(model))

    return jax.export.export(jax.jit(call, donate_argnums=0), platforms=["tpu"])(leaves, *inputs)
