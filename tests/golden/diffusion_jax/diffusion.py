"""Denoiser: a small denoising network of a diffusion model (Ho et al. 2020): the noise in an image
at a time.

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
group_norm = partial(nnx.GroupNorm, epsilon=1e-5, use_fast_variance=False)
conv = partial(nnx.Conv, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class TimeEmbedding(nnx.Module):
    """Sines and cosines of a time, at frequencies that fall from 1 to 1 / 10000.

    time (B,) -> y (B, width).
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.width = width
        self.linear1 = linear(
            2 * (width // 2), 4 * width, bias_init=uniform(2 * (width // 2)), rngs=rngs
        )
        self.linear2 = linear(4 * width, width, bias_init=uniform(4 * width), rngs=rngs)

    def __call__(self, time: jax.Array) -> jax.Array:
        frequency = jnp.arange(self.width // 2, dtype=jnp.int32)
        frequency = jnp.exp(frequency.astype(float) * (-2 * 9.210340371976184 / self.width))
        angle = time[..., None] * frequency
        h = jnp.sin(angle)
        h2 = jnp.cos(angle)
        return self.linear2(nnx.silu(self.linear1(jnp.concatenate([h, h2], axis=1))))


class Residual(nnx.Module):
    """A residual block whose channels are moved by what the time says.

    x (B, H, W, C), time (B, E) -> y (B, H, W, width).
    """

    def __init__(
        self, C: int, E: int, width: int, groups: int, drop: float, *, rngs: nnx.Rngs
    ) -> None:
        self.group_norm1 = group_norm(C, groups, rngs=rngs)
        self.conv1 = conv(C, width, (3, 3), padding=1, bias_init=uniform(9 * C), rngs=rngs)
        self.linear = linear(E, width, bias_init=uniform(E), rngs=rngs)
        self.group_norm2 = group_norm(width, groups, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.conv2 = conv(width, width, (3, 3), padding=1, bias_init=uniform(9 * width), rngs=rngs)
        if C != width:
            self.skip = conv(C, width, (1, 1), padding=0, bias_init=uniform(C), rngs=rngs)
        else:
            self.skip = None

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        h = self.conv1(nnx.silu(self.group_norm1(x)))
        h = h + self.linear(nnx.silu(time))[:, None, None]
        h = self.conv2(self.dropout(nnx.silu(self.group_norm2(h))))
        return h + (self.skip(x) if self.skip else x)


class Attention(nnx.Module):
    """Attention of each place of an image to all: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, C: int, heads: int, groups: int, *, rngs: nnx.Rngs) -> None:
        self.group_norm = group_norm(C, groups, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, C, decode=False, kernel_init=fan_uniform, bias_init=uniform(C), rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        B, H, W, C = x.shape
        h = self.group_norm(x)
        h = self.attention(h.reshape(h.shape[0], -1, h.shape[3]))
        return x + h.reshape(B, H, W, C)


class Denoiser(nnx.Module):
    """Image (B, H, W, 3), time (B,) -> noise (B, H, W, 3)."""

    def __init__(
        self,
        width: int = 128,
        heads: int = 4,
        groups: int = 32,
        drop: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.time_embedding = TimeEmbedding(width, rngs=rngs)
        self.conv1 = conv(3, width, (3, 3), padding=1, bias_init=uniform(27), rngs=rngs)
        self.residual1 = Residual(width, width, width, groups, drop, rngs=rngs)
        self.conv2 = conv(
            width, width, (3, 3), 2, padding=1, bias_init=uniform(9 * width), rngs=rngs
        )
        self.residual2 = Residual(width, width, 2 * width, groups, drop, rngs=rngs)
        self.attention = Attention(2 * width, heads, groups, rngs=rngs)
        self.residual3 = Residual(2 * width, width, 2 * width, groups, drop, rngs=rngs)
        self.conv3 = conv(
            2 * width, width, (3, 3), padding=1, bias_init=uniform(18 * width), rngs=rngs
        )
        self.residual4 = Residual(2 * width, width, width, groups, drop, rngs=rngs)
        self.group_norm = group_norm(width, groups, rngs=rngs)
        self.conv4 = conv(width, 3, (3, 3), padding=1, bias_init=uniform(9 * width), rngs=rngs)

    def __call__(self, image: jax.Array, time: jax.Array) -> jax.Array:
        t = self.time_embedding(time)
        high = self.residual1(self.conv1(image), t)
        low = self.attention(self.residual2(self.conv2(high), t))
        low = self.residual3(low, t)
        h = self.conv3(jnp.repeat(jnp.repeat(low, 2, axis=1), 2, axis=2))
        h = self.residual4(jnp.concatenate([h, high], axis=3), t)
        return self.conv4(nnx.silu(self.group_norm(h)))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> Denoiser:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return Denoiser(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: Denoiser(**config, rngs=nnx.Rngs(seed)))
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
