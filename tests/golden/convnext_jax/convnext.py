"""ConvNeXt (Liu et al. 2022); these depths and widths make the tiny one.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
layer_norm = partial(nnx.LayerNorm, epsilon=1e-6, use_fast_variance=False)
conv = partial(nnx.Conv, kernel_init=fan_uniform)
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Norm(nnx.Module):
    """Layer norm over the channels of an image: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, C: int, *, rngs: nnx.Rngs) -> None:
        self.layer_norm = layer_norm(C, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer_norm(x)


class Block(nnx.Module):
    """A depthwise convolution, then two linear layers at each place, on channels last.

    (B, H, W, C) -> (B, H, W, C).
    """

    def __init__(self, C: int, drop: float, *, rngs: nnx.Rngs) -> None:
        self.scale = nnx.Param(jnp.full(C, 1e-6))
        self.conv = conv(
            C, C, (7, 7), padding=3, feature_group_count=C, bias_init=uniform(49), rngs=rngs
        )
        self.layer_norm = layer_norm(C, rngs=rngs)
        self.linear1 = linear(C, 4 * C, bias_init=uniform(C), rngs=rngs)
        self.linear2 = linear(4 * C, C, bias_init=uniform(4 * C), rngs=rngs)
        self.drop_path = nnx.Dropout(drop, broadcast_dims=(1, 2, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.conv(x)
        h = self.linear2(nnx.gelu(self.linear1(self.layer_norm(h)), approximate=False))
        return x + self.drop_path(self.scale[...] * h)


class ConvNeXt(nnx.Module):
    """Image (B, H >= 4, W >= 4, 3) -> logits (B, classes)."""

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
        classes: int = 1000,
        drop: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = conv(3, widths[0], (4, 4), 4, padding=0, bias_init=uniform(48), rngs=rngs)
        self.norm = Norm(widths[0], rngs=rngs)
        self.blocks = nnx.List([Block(widths[0], drop, rngs=rngs) for _ in range(depths[0])])
        self.layers = nnx.List()
        C = widths[0]
        for depth, width in zip(depths[1:], widths[1:], strict=True):
            self.layers.extend(
                [
                    Norm(C, rngs=rngs),
                    conv(C, width, (2, 2), 2, padding=0, bias_init=uniform(4 * C), rngs=rngs),
                ]
            )
            for _ in range(depth):
                self.layers.append(Block(width, drop, rngs=rngs))
            C = width
        self.layer_norm = layer_norm(C, rngs=rngs)
        self.linear = linear(C, classes, bias_init=uniform(C), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        h = self.norm(self.conv(image))
        for block in self.blocks:
            h = block(h)
        for layer in self.layers:
            h = layer(h)
        return self.linear(self.layer_norm(h.mean((1, 2))))


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: float | int | tuple[int, ...]
) -> ConvNeXt:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return ConvNeXt(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: ConvNeXt(**config, rngs=nnx.Rngs(seed)))
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
