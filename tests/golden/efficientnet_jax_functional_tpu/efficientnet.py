"""EfficientNet (Tan and Le 2019); these stages, of width, count, kernel, stride and ratio, make
B0.

Verified with jax 0.10.2.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors.flax import load_file

Params = dict[str, Any]
"""Arrays to learn, in dictionaries and lists."""
State = dict[str, Any]
"""Arrays that a call replaces, likewise."""


def stacked(init: Callable[[jax.Array], Any], key: jax.Array, count: int) -> Any:
    """What `count` layers start as, in arrays that have an axis for them in front."""
    return jax.vmap(init)(jax.random.split(key, count))


def scan(
    block: Callable[..., Any], x: jax.Array, *layers: Any, key: jax.Array | None = None
) -> Any:
    """Apply stacked layers one after the other, as one that is compiled once.

    Each takes x, its slice of the arrays in `layers`, and a key of its own where there is one; what
    they give besides x is stacked.
    """
    if key is not None:
        count = len(jax.tree.leaves(layers)[0])
        layers = (*layers, jax.random.split(key, count))

    def step(x: jax.Array, layer: tuple[Any, ...]) -> tuple[jax.Array, list[Any]]:
        y = block(x, *layer)
        x, *more = y if isinstance(y, tuple) else (y,)
        return x.astype(jnp.float32), more

    x, more = jax.lax.scan(step, x.astype(jnp.float32), layers)
    return (x, *more) if more else x


def path_of(keys: tuple[Any, ...]) -> str:
    """The name of an array in a weights file: `layers.0.linear.kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def split(key: jax.Array | None) -> Iterator[Any]:
    """Keys without end, split off from one; None where there is none."""
    while True:
        key, one = (None, None) if key is None else jax.random.split(key)
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


def conv(params: Params, x: jax.Array, stride: int = 1, groups: int = 1, pad: int = 0) -> jax.Array:
    """Convolution of (B, H, W, C)."""
    y = jax.lax.conv_general_dilated(
        x.astype(jnp.bfloat16),
        params["kernel"].astype(jnp.bfloat16),
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return y + params["bias"] if "bias" in params else y


def batch_norm(params: Params, state: State, x: jax.Array, train: bool) -> tuple[jax.Array, State]:
    """Normalises each channel, the last axis: in training by the batch, else by the state."""
    x = x.astype(jnp.float32)
    if train:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        count = x.size // x.shape[-1]
        seen = {"mean": mean, "var": var * count / (count - 1)}
        seen = jax.lax.stop_gradient(seen)
        state = {name: 0.99 * state[name] + 0.01 * seen[name] for name in seen}
    else:
        mean, var = state["mean"], state["var"]
    y = (x - mean) * jax.lax.rsqrt(var + 0.001)
    return y * params["scale"] + params["bias"], state


def dropout(
    x: jax.Array, key: jax.Array | None, rate: float, shared: tuple[int, ...] = ()
) -> jax.Array:
    """Sets a share of x to 0 and scales up the rest; without a key, gives x."""
    if key is None or rate == 0:
        return x
    shape = [1 if i in shared else n for i, n in enumerate(x.shape)]
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / (1 - rate), 0)


def linear(params: Params, x: jax.Array) -> jax.Array:
    """(..., in) -> (..., out)."""
    y = x.astype(jnp.bfloat16) @ params["kernel"].astype(jnp.bfloat16)
    return y + params["bias"]


def init_squeeze_excite(key: jax.Array, C: int, reduced: int) -> Params:
    """The parameters of `SqueezeExcite`, as they start."""
    keys = split(key)
    return {
        "conv1": init_affine(next(keys), (1, 1, C, reduced)),
        "conv2": init_affine(next(keys), (1, 1, reduced, C)),
    }


def squeeze_excite(params: Params, x: jax.Array) -> jax.Array:
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, H, W, C) -> (B, H, W, C).
    """
    scale = x.astype(jnp.float32).mean((1, 2), keepdims=True)
    scale = jax.nn.sigmoid(conv(params["conv2"], jax.nn.silu(conv(params["conv1"], scale))))
    return x * scale


def init_mb_conv(
    key: jax.Array, C: int, width: int, kernel: int, ratio: int
) -> tuple[Params, State]:
    """The parameters and state of `MBConv`, as they start."""
    keys = split(key)
    params: Params = {}
    state: State = {}
    if ratio > 1:
        params["conv1"] = init_kernel(next(keys), (1, 1, C, ratio * C))
        params["batch_norm1"], state["batch_norm1"] = init_batch_norm(ratio * C)
    params["conv2"] = init_kernel(next(keys), (kernel, kernel, 1, ratio * C))
    params["batch_norm2"], state["batch_norm2"] = init_batch_norm(ratio * C)
    params["squeeze_excite"] = init_squeeze_excite(next(keys), ratio * C, C // 4)
    params["conv3"] = init_kernel(next(keys), (1, 1, ratio * C, width))
    params["batch_norm3"], state["batch_norm3"] = init_batch_norm(width)
    return params, state


def mb_conv(
    params: Params,
    state: State,
    x: jax.Array,
    *,
    width: int,
    kernel: int,
    stride: int,
    ratio: int,
    drop: float,
    train: bool = False,
    key: jax.Array | None = None,
) -> tuple[jax.Array, State]:
    """The inverted residual of MobileNetV2 with squeeze and excitation.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """
    state = dict(state)
    if ratio > 1:
        h = conv(params["conv1"], x)
        h, state["batch_norm1"] = batch_norm(params["batch_norm1"], state["batch_norm1"], h, train)
        h = jax.nn.silu(h)
    else:
        h = x
    h = conv(params["conv2"], h, stride, groups=ratio * x.shape[3], pad=kernel // 2)
    h, state["batch_norm2"] = batch_norm(params["batch_norm2"], state["batch_norm2"], h, train)
    h = conv(params["conv3"], squeeze_excite(params["squeeze_excite"], jax.nn.silu(h)))
    h, state["batch_norm3"] = batch_norm(params["batch_norm3"], state["batch_norm3"], h, train)
    if stride == 1 and x.shape[3] == width:
        y = x + dropout(h, key, drop, (1, 2, 3))
    else:
        y = h
    return y, state


def init(
    key: jax.Array,
    *,
    stages: tuple[tuple[int, ...], ...] = (
        (16, 1, 3, 1, 1),
        (24, 2, 3, 2, 6),
        (40, 2, 5, 2, 6),
        (80, 3, 3, 2, 6),
        (112, 3, 5, 1, 6),
        (192, 4, 5, 2, 6),
        (320, 1, 3, 1, 6),
    ),
    head: int = 1280,
    classes: int = 1000,
) -> tuple[Params, State]:
    """The parameters and state of the model, as they start."""
    keys = split(key)
    params: Params = {"conv1": init_kernel(next(keys), (3, 3, 3, 32))}
    state: State = {}
    params["batch_norm1"], state["batch_norm1"] = init_batch_norm(32)
    blocks = []
    C = 32
    for width, count, kernel, _, ratio in stages:
        blocks.extend(
            [
                init_mb_conv(next(keys), C, width, kernel, ratio),
                stacked(
                    lambda key: init_mb_conv(key, width, width, kernel, ratio),
                    next(keys),
                    count - 1,
                )
                if count - 1
                else ({}, {}),
            ]
        )
        C = width
    params["blocks"], state["blocks"] = unzip(blocks)
    params["conv2"] = init_kernel(next(keys), (1, 1, C, head))
    params["batch_norm2"], state["batch_norm2"] = init_batch_norm(head)
    params["linear"] = init_affine(next(keys), (head, classes))
    return params, state


def apply(
    params: Params,
    state: State,
    image: jax.Array,
    *,
    stages: tuple[tuple[int, ...], ...] = (
        (16, 1, 3, 1, 1),
        (24, 2, 3, 2, 6),
        (40, 2, 5, 2, 6),
        (80, 3, 3, 2, 6),
        (112, 3, 5, 1, 6),
        (192, 4, 5, 2, 6),
        (320, 1, 3, 1, 6),
    ),
    drop: float = 0.2,
    train: bool = False,
    key: jax.Array | None = None,
) -> tuple[jax.Array, State]:
    """Image (B, H, W, 3) -> logits (B, classes).

    With `train`, batches are normalised by themselves.
    Dropout draws by `key`; without one nothing is dropped.
    """
    state = copied(state)
    keys = split(key)
    h = conv(params["conv1"], image, 2, pad=1)
    h, state["batch_norm1"] = batch_norm(params["batch_norm1"], state["batch_norm1"], h, train)
    h = jax.nn.silu(h)
    for i, (width, _, kernel, stride, ratio) in enumerate(stages):
        h2, state["blocks"][2 * i] = mb_conv(
            params["blocks"][2 * i],
            state["blocks"][2 * i],
            h,
            width=width,
            kernel=kernel,
            stride=stride,
            ratio=ratio,
            drop=drop,
            train=train,
            key=next(keys),
        )
        h, state["blocks"][2 * i + 1] = (
            scan(
                lambda x, p, s, k=None: mb_conv(
                    p,
                    s,
                    x,
                    width=width,
                    kernel=kernel,
                    stride=1,
                    ratio=ratio,
                    drop=drop,
                    train=train,
                    key=k,
                ),
                h2,
                params["blocks"][2 * i + 1],
                state["blocks"][2 * i + 1],
                key=next(keys),
            )
            if params["blocks"][2 * i + 1]
            else (h2, {})
        )
    h = conv(params["conv2"], h)
    h, state["batch_norm2"] = batch_norm(params["batch_norm2"], state["batch_norm2"], h, train)
    h = jax.nn.silu(h)
    h = dropout(h.astype(jnp.float32).mean((1, 2)), next(keys), drop)
    return linear(params["linear"], h).astype(jnp.float32), state


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: int | tuple[tuple[int, ...], ...]
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


# `apply` as one program.
# The arrays of `state` are donated, and updated in place.
call = jax.jit(apply, static_argnames=["stages", "drop", "train"], donate_argnames="state")


def export(
    params: Params, state: State, *inputs: jax.ShapeDtypeStruct, **options: Any
) -> jax.export.Exported:
    """Return the program of a call for TPUs, which any machine can make, and `serialize`."""
    return jax.export.export(call, platforms=["tpu"])(params, state, *inputs, **options)
