"""WaveNet (van den Oord et al. 2016): of each sample of sound, its class by those before.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
conv = partial(nnx.Conv, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Gated(nnx.Module):
    """A causal convolution with holes, half of which gates the other half.

    x (B, L, C) -> y (B, L, C), skip (B, L, C).
    """

    def __init__(self, C: int, dilation: int, *, rngs: nnx.Rngs) -> None:
        self.conv = conv(
            C,
            2 * C,
            (2,),
            padding=((dilation, 0),),
            kernel_dilation=dilation,
            bias_init=uniform(2 * C),
            rngs=rngs,
        )
        self.skip = conv(C, C, (1,), padding=0, bias_init=uniform(C), rngs=rngs)
        self.mix = conv(C, C, (1,), padding=0, bias_init=uniform(C), rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        content, gate = jnp.split(self.conv(x), 2, axis=2)
        h = nnx.tanh(content) * nnx.sigmoid(gate)
        return x + self.mix(h), self.skip(h)


class WaveNet(nnx.Module):
    """Sound (B, L) -> logits (B, L, classes)."""

    def __init__(
        self,
        classes: int = 256,
        width: int = 64,
        layers: int = 30,
        cycle: int = 10,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = nnx.Embed(
            classes, width, embedding_init=nnx.initializers.normal(1), rngs=rngs
        )
        self.layers = nnx.List([Gated(width, 2 ** (i % cycle), rngs=rngs) for i in range(layers)])
        self.conv1 = conv(width, width, (1,), padding=0, bias_init=uniform(width), rngs=rngs)
        self.conv2 = conv(width, classes, (1,), padding=0, bias_init=uniform(width), rngs=rngs)

    def __call__(self, sound: jax.Array) -> jax.Array:
        h = self.embedding(sound)
        skips = []
        for layer in self.layers:
            h, skip = layer(h)
            skips.append(skip)
        return self.conv2(nnx.relu(self.conv1(nnx.relu(h + jnp.stack(skips).sum(0)))))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> WaveNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return WaveNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: WaveNet(**config, rngs=nnx.Rngs(seed)))
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
