"""DenseNet: densely connected networks (Huang et al. 2016); these counts make DenseNet-121.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)
conv = partial(nnx.Conv, use_bias=False, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Dense(nnx.Module):
    """What a layer makes is laid beside all that the layers before it made.

    (B, H, W, C) -> (B, H, W, C + growth).
    """

    def __init__(self, C: int, growth: int, *, rngs: nnx.Rngs) -> None:
        self.batch_norm1 = batch_norm(C, rngs=rngs)
        self.conv1 = conv(C, 4 * growth, (1, 1), padding=0, rngs=rngs)
        self.batch_norm2 = batch_norm(4 * growth, rngs=rngs)
        self.conv2 = conv(4 * growth, growth, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.conv2(nnx.relu(self.batch_norm2(self.conv1(nnx.relu(self.batch_norm1(x))))))
        return jnp.concatenate([x, h], axis=3)


class Transition(nnx.Module):
    """Half as many channels, and half the image.

    (B, H, W, C) -> (B, H // 2, W // 2, C // 2).
    """

    def __init__(self, C: int, *, rngs: nnx.Rngs) -> None:
        self.batch_norm = batch_norm(C, rngs=rngs)
        self.conv = conv(C, C // 2, (1, 1), padding=0, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.avg_pool(self.conv(nnx.relu(self.batch_norm(x))), (2, 2), strides=(2, 2))


class DenseNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, classes)."""

    def __init__(
        self,
        counts: tuple[int, ...] = (6, 12, 24, 16),
        growth: int = 32,
        classes: int = 1000,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = conv(3, 2 * growth, (7, 7), 2, padding=3, rngs=rngs)
        self.batch_norm1 = batch_norm(2 * growth, rngs=rngs)
        self.blocks1 = nnx.List()
        channels = 2 * growth
        for count in counts[:-1]:
            C = channels
            for _ in range(count):
                self.blocks1.append(Dense(C, growth, rngs=rngs))
                C = C + growth
            self.blocks1.append(Transition(C, rngs=rngs))
            channels = C // 2
        self.blocks2 = nnx.List()
        C = channels
        for _ in range(counts[-1]):
            self.blocks2.append(Dense(C, growth, rngs=rngs))
            C = C + growth
        self.batch_norm2 = batch_norm(C, rngs=rngs)
        self.linear = nnx.Linear(
            C, classes, kernel_init=fan_uniform, bias_init=uniform(C), rngs=rngs
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        h = self.batch_norm1(self.conv(image))
        h = nnx.max_pool(nnx.relu(h), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for blocks1 in self.blocks1:
            h = blocks1(h)
        for blocks2 in self.blocks2:
            h = blocks2(h)
        return self.linear(nnx.relu(self.batch_norm2(h)).mean((1, 2)))


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: int | tuple[int, ...]
) -> DenseNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return DenseNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: DenseNet(**config, rngs=nnx.Rngs(seed)))
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
