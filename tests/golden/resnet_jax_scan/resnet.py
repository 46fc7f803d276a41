"""ResNet: deep residual networks (He et al. 2015), with the stride of a bottleneck on its 3x3
convolution.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
conv = partial(nnx.Conv, use_bias=False, kernel_init=fan_uniform)
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)


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
            return module(x, *rest)

        return step(x, self.stacked)


class Bottleneck(nnx.Module):
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), 4 * width)."""

    def __init__(self, C: int, width: int, stride: int = 1, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(C, width, (1, 1), padding=0, rngs=rngs)
        self.batch_norm1 = batch_norm(width, rngs=rngs)
        self.conv2 = conv(width, width, (3, 3), stride, padding=1, rngs=rngs)
        self.batch_norm2 = batch_norm(width, rngs=rngs)
        self.conv3 = conv(width, 4 * width, (1, 1), padding=0, rngs=rngs)
        self.batch_norm3 = batch_norm(4 * width, rngs=rngs)
        if C != 4 * width or stride != 1:
            self.skip = nnx.Sequential(
                conv(C, 4 * width, (1, 1), stride, padding=0, rngs=rngs),
                batch_norm(4 * width, rngs=rngs),
            )
        else:
            self.skip = None

    def __call__(self, x: jax.Array) -> jax.Array:
        main = nnx.relu(self.batch_norm1(self.conv1(x)))
        main = self.batch_norm3(self.conv3(nnx.relu(self.batch_norm2(self.conv2(main)))))
        skip = self.skip(x) if self.skip else x
        return nnx.relu(main + skip)


class Basic(nnx.Module):
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width)."""

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


class ResNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, classes)."""

    def __init__(self, depth: int = 50, classes: int = 1000, *, rngs: nnx.Rngs) -> None:
        if depth not in [18, 34, 50, 101]:
            raise ValueError(f"there is no ResNet-{depth}")
        self.conv = conv(3, 64, (7, 7), 2, padding=3, rngs=rngs)
        self.batch_norm = batch_norm(64, rngs=rngs)
        self.blocks = nnx.List()
        C = 64
        for width, count, stride in zip(
            [64, 128, 256, 512],
            [2, 2, 2, 2] if depth == 18 else [3, 4, 23 if depth == 101 else 6, 3],
            [1, 2, 2, 2],
            strict=True,
        ):
            if depth < 50:
                self.blocks.append(Basic(C, width, stride, rngs=rngs))
            else:
                self.blocks.append(Bottleneck(C, width, stride, rngs=rngs))
            if depth < 50:
                self.blocks.append(
                    Stack(lambda rngs: Basic(width, width, rngs=rngs), count - 1, rngs=rngs)
                )
            else:
                self.blocks.append(
                    Stack(
                        lambda rngs: Bottleneck(4 * width, width, rngs=rngs), count - 1, rngs=rngs
                    )
                )
            C = width if depth < 50 else 4 * width
        self.linear = nnx.Linear(
            C, classes, kernel_init=fan_uniform, bias_init=uniform(C), rngs=rngs
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        h = self.batch_norm(self.conv(image))
        h = nnx.max_pool(nnx.relu(h), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            h = block(h)
        return self.linear(h.mean((1, 2)))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> ResNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return ResNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: ResNet(**config, rngs=nnx.Rngs(seed)))
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
