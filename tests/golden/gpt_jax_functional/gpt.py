"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

Verified with jax 0.10.2.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors.flax import load_file

Params = dict[str, Any]
"""Arrays to learn, in dictionaries and lists."""


def path_of(keys: tuple[Any, ...]) -> str:
    """The name of an array in a weights file: `layers.0.linear.kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def split(key: jax.Array | None) -> Iterator[Any]:
    """Keys without end, split off from one; None where there is none."""
    while True:
        key, one = (None, None) if key is None else jax.random.split(key)
        yield one


def uniform(key: jax.Array, shape: tuple[int, ...], fan: float) -> jax.Array:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return jax.random.uniform(key, shape, minval=-(fan**-0.5), maxval=fan**-0.5)


def init_affine(key: jax.Array, shape: tuple[int, ...]) -> Params:
    """A kernel (..., in, out) and a bias."""
    (one, other), fan = jax.random.split(key), math.prod(shape[:-1])
    return {"kernel": uniform(one, shape, fan), "bias": uniform(other, shape[-1:], fan)}


def init_norm(features: int) -> Params:
    return {"scale": jnp.ones(features), "bias": jnp.zeros(features)}


def init_attention(key: jax.Array, heads: int, width: int) -> Params:
    """Kernels to queries, keys and values of each head, and back to (..., width)."""
    keys, head = split(key), (heads, width // heads)
    params: Params = {
        part: {
            "kernel": uniform(next(keys), (width, *head), width),
            "bias": uniform(next(keys), head, width),
        }
        for part in ("query", "key", "value")
    }
    params["out"] = {
        "kernel": uniform(next(keys), (*head, width), width),
        "bias": uniform(next(keys), (width,), width),
    }
    return params


def layer_norm(params: Params, x: jax.Array) -> jax.Array:
    """Normalises the last axis."""
    h = x - x.mean(-1, keepdims=True)
    y = h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-5)
    return y * params["scale"] + params["bias"]


def attention(params: Params, x: jax.Array) -> jax.Array:
    """Attention of (B, T, width) in several heads."""
    q, k, v = (
        jnp.einsum("btd,dhk->bthk", x, params[part]["kernel"]) + params[part]["bias"]
        for part in ("query", "key", "value")
    )
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return jnp.einsum("bthk,hkd->btd", y, params["out"]["kernel"]) + params["out"]["bias"]


def dropout(x: jax.Array, key: jax.Array | None, rate: float) -> jax.Array:
    """Sets a share of x to 0 and scales up the rest; without a key, gives x."""
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


def linear(params: Params, x: jax.Array) -> jax.Array:
    """(..., in) -> (..., out)."""
    return x @ params["kernel"] + params["bias"]


def init_layer(key: jax.Array, D: int, heads: int) -> Params:
    """The parameters of `Layer`, as they start."""
    if D % heads != 0:
        raise ValueError(f"width {D} does not divide into {heads} heads")
    keys = split(key)
    return {
        "layer_norm1": init_norm(D),
        "attention": init_attention(next(keys), heads, D),
        "layer_norm2": init_norm(D),
        "linear1": init_affine(next(keys), (D, 4 * D)),
        "linear2": init_affine(next(keys), (4 * D, D)),
    }


def layer(
    params: Params, x: jax.Array, *, drop: float = 0.1, key: jax.Array | None = None
) -> jax.Array:
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""
    keys = split(key)
    h = layer_norm(params["layer_norm1"], x)
    h = x + dropout(attention(params["attention"], h), next(keys), drop)
    h2 = layer_norm(params["layer_norm2"], h)
    h2 = jax.nn.gelu(linear(params["linear1"], h2), approximate=False)
    return h + dropout(linear(params["linear2"], h2), next(keys), drop)


def init(
    key: jax.Array, *, vocab: int = 50257, D: int = 768, layers: int = 12, heads: int = 12
) -> Params:
    """The parameters of the model, as they start."""
    keys = split(key)
    return {
        "token": {"embedding": jax.random.normal(next(keys), (vocab, D))},
        "position": jax.nn.initializers.normal(0.02)(next(keys), (1024, D)),
        "layers": [init_layer(next(keys), D, heads) for _ in range(layers)],
        "layer_norm": init_norm(D),
    }


def apply(params: Params, ids: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
    """Ids (B, T <= 1024) -> logits (B, T, vocab).

    Dropout draws by `key`; without one nothing is dropped.
    """
    keys = split(key)
    h = params["token"]["embedding"][ids] + params["position"][: ids.shape[1]]
    for layer_params in params["layers"]:
        h = layer(layer_params, h, key=next(keys))
    return layer_norm(params["layer_norm"], h) @ params["token"]["embedding"].T


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> Params:
    """Return the parameters, with the weights of a safetensors file if one is given."""
    if weights is None:
        return init(jax.random.key(seed), **config)
    tree = jax.eval_shape(lambda: init(jax.random.key(seed), **config))
    tensors = load_file(weights)
    wanted = {path_of(keys): leaf.shape for keys, leaf in jax.tree.leaves_with_path(tree)}
    if wrong := wanted.items() ^ {key: x.shape for key, x in tensors.items()}.items():
        raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
    return jax.tree.map_with_path(lambda keys, _: tensors[path_of(keys)], tree)
