"""Swin: the Swin transformer (Liu et al. 2021); these depths and heads make the tiny one. Every
other layer moves its windows by half of one, if there are several.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
linear = partial(nnx.Linear, kernel_init=fan_uniform)
layer_norm = partial(nnx.LayerNorm, epsilon=1e-5, use_fast_variance=False)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class WindowAttention(nnx.Module):
    """Attention within windows that are moved by `shift`, with a bias for each offset of two
    places. The windows at the end then hold places that are no neighbours: these do not see
    each other.

    (B, H, W, C) -> (B, H, W, C).
    """

    def __init__(self, C: int, heads: int, window: int, shift: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.window = window
        self.shift = shift
        self.table = nnx.Param(
            nnx.initializers.normal(0.02)(rngs.params(), ((2 * window - 1) ** 2, heads))
        )
        self.qkv = linear(C, 3 * C, bias_init=uniform(C), rngs=rngs)
        self.output = linear(
            heads * (C // heads), C, bias_init=uniform(heads * (C // heads)), rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        B, H, W, C = x.shape
        place = jnp.arange(self.window, dtype=jnp.int32)
        line = (2 * self.window - 1) * place
        place = (line[..., None] + place).reshape(-1)
        offset = place[..., None] - place + 2 * self.window * (self.window - 1)
        bias = jnp.take(self.table[...], offset, axis=0).transpose(2, 0, 1)
        h = jnp.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift > 0 else x
        h = h.reshape(B, H // self.window, self.window, W // self.window, self.window, C)
        h = h.swapaxes(2, 3)
        h = h.reshape(B, H // self.window * (W // self.window), self.window * self.window, C)
        h = self.qkv(h)
        h = h.reshape(
            B,
            H // self.window * (W // self.window),
            self.window * self.window,
            3,
            self.heads,
            3 * C // (3 * self.heads),
        )
        h = h.transpose(3, 0, 1, 4, 2, 5)
        q = h[0]
        k = h[1]
        v = h[2]
        if self.shift > 0:
            row = jnp.arange(H, dtype=jnp.int32)
            row2 = row >= H - self.window
            row = row2.astype(jnp.int32) + (row >= H - self.shift).astype(jnp.int32)
            column = jnp.arange(W, dtype=jnp.int32)
            column2 = column >= W - self.window
            column = column2.astype(jnp.int32) + (column >= W - self.shift).astype(jnp.int32)
            region = 3 * row[..., None]
            region = (region + column).reshape(
                H // self.window, self.window, W // self.window, self.window
            )
            region = region.swapaxes(1, 2)
            region = region.reshape(
                H // self.window * (W // self.window), 1, self.window * self.window
            )
            near = region[..., None] == region[:, :, None]
            h = q * (1 / (C / self.heads) ** 0.5)
            h = jnp.where(near, nnx.softmax(jnp.where(near, h @ k.mT + bias, -3e38)), 0.0) @ v
        else:
            h = nnx.softmax(q * (1 / (C / self.heads) ** 0.5) @ k.mT + bias) @ v
        h = h.swapaxes(2, 3)
        h = h.reshape(h.shape[0], h.shape[1], h.shape[2], -1)
        h = self.output(h).reshape(B, H // self.window, W // self.window, self.window, -1, C)
        h = h.swapaxes(2, 3).reshape(B, H // self.window * self.window, -1, C)
        return jnp.roll(h, (self.shift, self.shift), (1, 2)) if self.shift > 0 else h


class Layer(nnx.Module):
    """Pre-norm transformer layer: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(
        self, C: int, heads: int, window: int, shift: int, drop: float, *, rngs: nnx.Rngs
    ) -> None:
        self.layer_norm1 = layer_norm(C, rngs=rngs)
        self.window_attention = WindowAttention(C, heads, window, shift, rngs=rngs)
        self.drop_path1 = nnx.Dropout(drop, broadcast_dims=(1, 2, 3), rngs=rngs)
        self.layer_norm2 = layer_norm(C, rngs=rngs)
        self.linear1 = linear(C, 4 * C, bias_init=uniform(C), rngs=rngs)
        self.linear2 = linear(4 * C, C, bias_init=uniform(4 * C), rngs=rngs)
        self.drop_path2 = nnx.Dropout(drop, broadcast_dims=(1, 2, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x + self.drop_path1(self.window_attention(self.layer_norm1(x)))
        h2 = self.layer_norm2(h)
        return h + self.drop_path2(self.linear2(nnx.gelu(self.linear1(h2), approximate=False)))


class Merge(nnx.Module):
    """Four places to one: (B, H, W, C) -> (B, H // 2, W // 2, 2 * C)."""

    def __init__(self, C: int, *, rngs: nnx.Rngs) -> None:
        self.layer_norm = layer_norm(4 * C, rngs=rngs)
        self.linear = nnx.Linear(4 * C, 2 * C, use_bias=False, kernel_init=fan_uniform, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, H, W, C = x.shape
        h = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 4, 2, 5)
        return self.linear(self.layer_norm(h.reshape(h.shape[0], h.shape[1], h.shape[2], -1)))


class Swin(nnx.Module):
    """Image (B, size, size, 3) -> logits (B, classes)."""

    def __init__(
        self,
        size: int = 224,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        patch: int = 4,
        width: int = 96,
        window: int = 7,
        classes: int = 1000,
        drop: float = 0.2,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.depths = depths
        self.conv = nnx.Conv(
            3,
            width,
            (patch, patch),
            patch,
            padding=0,
            kernel_init=fan_uniform,
            bias_init=uniform(3 * patch * patch),
            rngs=rngs,
        )
        self.layer_norm1 = layer_norm(width, rngs=rngs)
        self.merge = nnx.List()
        self.blocks = nnx.List()
        c = width
        for stage, depth in enumerate(depths):
            if stage > 0:
                self.merge.append(Merge(c, rngs=rngs))
            else:
                self.merge.append(None)
            for i in range(depth):
                self.blocks.append(
                    Layer(
                        2 * c if stage > 0 else c,
                        heads[stage],
                        window,
                        i % 2 * (window // 2 if size // (patch * 2**stage) > window else 0),
                        drop,
                        rngs=rngs,
                    )
                )
            c = 2 * c if stage > 0 else c
        self.layer_norm2 = layer_norm(c, rngs=rngs)
        self.linear = linear(c, classes, bias_init=uniform(c), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        h = self.layer_norm1(self.conv(image))
        blocks = iter(self.blocks)
        for depth, merge in zip(self.depths, self.merge, strict=True):
            h = merge(h) if merge else h
            for _ in range(depth):
                h = next(blocks)(h)
        return self.linear(self.layer_norm2(h).mean((1, 2)))


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: float | int | tuple[int, ...]
) -> Swin:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return Swin(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: Swin(**config, rngs=nnx.Rngs(seed)))
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
