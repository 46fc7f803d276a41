"""TinyResNet: a residual network for small images.

Verified with jax 0.10.2 and flax 0.12.8.
"""

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
conv = partial(nnx.Conv, use_bias=False, kernel_init=fan_uniform, dtype=jnp.bfloat16)
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Residual(nnx.Module):
    """Two 3x3 convolutions beside a shortcut.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """

    def __init__(self, C: int, width: int, stride: int = 1, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(C, width, (3, 3), stride, padding=1, rngs=rngs)
        self.batch_norm1 = batch_norm(width, rngs=rngs)
        self.conv2 = conv(width, width, (3, 3), padding=1, rngs=rngs)
        self.batch_norm2 = batch_norm(width, rngs=rngs)
        if C != width or stride != 1:
            self.skip = nnx.Sequential(
                conv(C, width, (1, 1), stride, padding=0, rngs=rngs), batch_norm(width, rngs=rngs)
            )
        else:
            self.skip = None

    def __call__(self, x: jax.Array) -> jax.Array:
        main = self.batch_norm2(self.conv2(nnx.relu(self.batch_norm1(self.conv1(x)))))
        skip = self.skip(x) if self.skip else x
        return nnx.relu(main + skip)


class TinyResNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, classes)."""

    def __init__(self, classes: int = 10, *, rngs: nnx.Rngs) -> None:
        self.conv = conv(3, 16, (3, 3), padding=1, rngs=rngs)
        self.batch_norm = batch_norm(16, rngs=rngs)
        self.blocks = nnx.List()
        C = 16
        for width, stride in [(16, 1), (32, 2), (64, 2)]:
            self.blocks.extend(
                [Residual(C, width, stride, rngs=rngs), Residual(width, width, rngs=rngs)]
            )
            C = width
        self.linear = nnx.Linear(
            C,
            classes,
            kernel_init=fan_uniform,
            bias_init=uniform(C),
            dtype=jnp.bfloat16,
            promote_dtype=narrow,
            rngs=rngs,
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        h = nnx.relu(self.batch_norm(self.conv(image)))
        for block in self.blocks:
            h = block(h)
        return self.linear(h.astype(jnp.float32).mean((1, 2))).astype(jnp.float32)


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> TinyResNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return TinyResNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: TinyResNet(**config, rngs=nnx.Rngs(seed)))
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


@partial(nnx.jit, donate_argnums=0)
def apply(model: TinyResNet, image: jax.Array) -> jax.Array:
    """Call the model as one program; its arrays are donated, and updated in place."""
    return model(image)


def export(model: TinyResNet, *inputs: jax.ShapeDtypeStruct) -> jax.export.Exported:
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
