"""TinyResNet: a residual network for small images.

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
State = dict[str, Any]
"""Arrays that a call replaces, likewise."""


def path_of(keys: tuple[Any, ...]) -> str:
    """The name of an array in a weights file: `layers.0.linear.kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def split(key: jax.Array) -> Iterator[jax.Array]:
    """Keys without end, split off from one."""
    while True:
        key, one = jax.random.split(key)
        yield one


def unzip(pairs: list[tuple[Params, State]]) -> tuple[list[Params], list[State]]:
    """The parameters of several layers, and their states."""
    return [params for params, _ in pairs], [state for _, state in pairs]


def copied(state: State) -> State:
    """The same arrays in dictionaries and lists of their own."""
    return jax.tree.map(lambda leaf: leaf, state)


def uniform(key: jax.Array, shape: tuple[int, ...], fan: float) -> jax.Array:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return jax.random.uniform(key, shape, minval=-(fan**-0.5), maxval=fan**-0.5)


def init_kernel(key: jax.Array, shape: tuple[int, ...]) -> Params:
    """A kernel (..., in, out)."""
    return {"kernel": uniform(key, shape, math.prod(shape[:-1]))}


def init_affine(key: jax.Array, shape: tuple[int, ...]) -> Params:
    """A kernel (..., in, out) and a bias."""
    (one, other), fan = jax.random.split(key), math.prod(shape[:-1])
    return {"kernel": uniform(one, shape, fan), "bias": uniform(other, shape[-1:], fan)}


def init_batch_norm(features: int) -> tuple[Params, State]:
    statistics = {"mean": jnp.zeros(features), "var": jnp.ones(features)}
    return {"scale": jnp.ones(features), "bias": jnp.zeros(features)}, statistics


def conv(params: Params, x: jax.Array, stride: int = 1, pad: int = 0) -> jax.Array:
    """Convolution of (B, H, W, C)."""
    return jax.lax.conv_general_dilated(
        x,
        params["kernel"],
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def batch_norm(params: Params, state: State, x: jax.Array, train: bool) -> tuple[jax.Array, State]:
    """Normalises each channel, the last axis: in training by the batch, else by the state."""
    if train:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        count = x.size // x.shape[-1]
        seen = {"mean": mean, "var": var * count / (count - 1)}
        seen = jax.lax.stop_gradient(seen)
        state = {name: 0.9 * state[name] + 0.1 * seen[name] for name in seen}
    else:
        mean, var = state["mean"], state["var"]
    y = (x - mean) * jax.lax.rsqrt(var + 1e-5)
    return y * params["scale"] + params["bias"], state


def linear(params: Params, x: jax.Array) -> jax.Array:
    """(..., in) -> (..., out)."""
    return x @ params["kernel"] + params["bias"]


def init_residual(key: jax.Array, C: int, width: int, stride: int = 1) -> tuple[Params, State]:
    """The parameters and state of `Residual`, as they start."""
    keys = split(key)
    params: Params = {"conv1": init_kernel(next(keys), (3, 3, C, width))}
    state: State = {}
    params["batch_norm1"], state["batch_norm1"] = init_batch_norm(width)
    params["conv2"] = init_kernel(next(keys), (3, 3, width, width))
    params["batch_norm2"], state["batch_norm2"] = init_batch_norm(width)
    if C != width or stride != 1:
        params["skip"], state["skip"] = unzip(
            [(init_kernel(next(keys), (1, 1, C, width)), {}), init_batch_norm(width)]
        )
    return params, state


def residual(
    params: Params, state: State, x: jax.Array, *, stride: int = 1, train: bool = False
) -> tuple[jax.Array, State]:
    """Two 3x3 convolutions beside a shortcut.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """
    state = copied(state)
    h = conv(params["conv1"], x, stride, pad=1)
    h, state["batch_norm1"] = batch_norm(params["batch_norm1"], state["batch_norm1"], h, train)
    h = conv(params["conv2"], jax.nn.relu(h), pad=1)
    main, state["batch_norm2"] = batch_norm(params["batch_norm2"], state["batch_norm2"], h, train)
    if "skip" in params:
        h = conv(params["skip"][0], x, stride)
        skip, state["skip"][1] = batch_norm(params["skip"][1], state["skip"][1], h, train)
    else:
        skip = x
    return jax.nn.relu(main + skip), state


def init(key: jax.Array, *, classes: int = 10) -> tuple[Params, State]:
    """The parameters and state of the model, as they start."""
    keys = split(key)
    params: Params = {"conv": init_kernel(next(keys), (3, 3, 3, 16))}
    state: State = {}
    params["batch_norm"], state["batch_norm"] = init_batch_norm(16)
    blocks = []
    C = 16
    for width, stride in [(16, 1), (32, 2), (64, 2)]:
        blocks.extend(
            [init_residual(next(keys), C, width, stride), init_residual(next(keys), width, width)]
        )
        C = width
    params["blocks"], state["blocks"] = unzip(blocks)
    params["linear"] = init_affine(next(keys), (C, classes))
    return params, state


def apply(
    params: Params, state: State, image: jax.Array, *, train: bool = False
) -> tuple[jax.Array, State]:
    """Image (B, H, W, 3) -> logits (B, classes).

    With `train`, batches are normalised by themselves.
    """
    state = copied(state)
    h = conv(params["conv"], image, pad=1)
    h, state["batch_norm"] = batch_norm(params["batch_norm"], state["batch_norm"], h, train)
    h = jax.nn.relu(h)
    for i, (_, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
        h2, state["blocks"][2 * i] = residual(
            params["blocks"][2 * i], state["blocks"][2 * i], h, stride=stride, train=train
        )
        h, state["blocks"][2 * i + 1] = residual(
            params["blocks"][2 * i + 1], state["blocks"][2 * i + 1], h2, train=train
        )
    return linear(params["linear"], h.mean((1, 2))), state


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: int
) -> tuple[Params, State]:
    """Return parameters and state, with the weights of a safetensors file if one is given."""
    if weights is None:
        return init(jax.random.key(seed), **config)
    tree = jax.eval_shape(lambda: init(jax.random.key(seed), **config))
    tensors = load_file(weights)
    wanted = {path_of(keys[1:]): leaf.shape for keys, leaf in jax.tree.leaves_with_path(tree)}
    if wrong := wanted.items() ^ {key: x.shape for key, x in tensors.items()}.items():
        raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
    return jax.tree.map_with_path(lambda keys, _: tensors[path_of(keys[1:])], tree)
