"""UNet: U-Net (Ronneberger et al. 2015), with padding: a class for each pixel.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
conv = partial(nnx.Conv, use_bias=False, kernel_init=fan_uniform)
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Pair(nnx.Module):
    """Two 3x3 convolutions: (B, H, W, C) -> (B, H, W, width)."""

    def __init__(self, C: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(C, width, (3, 3), padding=1, rngs=rngs)
        self.batch_norm1 = batch_norm(width, rngs=rngs)
        self.conv2 = conv(width, width, (3, 3), padding=1, rngs=rngs)
        self.batch_norm2 = batch_norm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.conv1(x)
        return nnx.relu(self.batch_norm2(self.conv2(nnx.relu(self.batch_norm1(h)))))


class Up(nnx.Module):
    """Twice the image, beside what the way down saw at this size.

    x (B, H, W, C), skip (B, 2 * H, 2 * W, D) -> y (B, 2 * H, 2 * W, width).
    """

    def __init__(self, C: int, D: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.conv_transpose = nnx.ConvTranspose(
            C,
            width,
            (2, 2),
            (2, 2),
            padding=[(1, 1), (1, 1)],
            transpose_kernel=True,
            kernel_init=fan_uniform,
            bias_init=uniform(4 * width),
            rngs=rngs,
        )
        self.pair = Pair(D + width, width, rngs=rngs)

    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        h = self.conv_transpose(x)
        return self.pair(jnp.concatenate([skip, h], axis=3))


class UNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, H, W, classes)."""

    def __init__(
        self, widths: tuple[int, ...] = (64, 128, 256, 512), classes: int = 2, *, rngs: nnx.Rngs
    ) -> None:
        self.blocks1 = nnx.List()
        C = 3
        for width in widths:
            self.blocks1.append(Pair(C, width, rngs=rngs))
            C = width
        self.pair = Pair(C, 2 * widths[-1], rngs=rngs)
        self.blocks2 = nnx.List()
        C_ = 2 * widths[-1]
        for i in range(len(widths)):
            self.blocks2.append(Up(C_, widths[-1 - i], widths[-1 - i], rngs=rngs))
            C_ = widths[-1 - i]
        self.conv = nnx.Conv(
            C_,
            classes,
            (1, 1),
            padding=0,
            kernel_init=fan_uniform,
            bias_init=uniform(C_),
            rngs=rngs,
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        h = image
        skips = []
        for blocks1 in self.blocks1:
            h2 = blocks1(h)
            skips.append(h2)
            h = nnx.max_pool(h2, (2, 2), strides=(2, 2))
        h = self.pair(h)
        for blocks2, skip in zip(self.blocks2, reversed(skips), strict=True):
            h = blocks2(h, skip)
        return self.conv(h)


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: int | tuple[int, ...]
) -> UNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return UNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: UNet(**config, rngs=nnx.Rngs(seed)))
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
