"""ViT: the vision transformer (Dosovitskiy et al. 2020): an image as a sentence of patches.

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
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Layer(nnx.Module):
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, heads: int, hidden: int, drop: float, *, rngs: nnx.Rngs) -> None:
        self.layer_norm1 = layer_norm(D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, D, decode=False, kernel_init=fan_uniform, bias_init=uniform(D), rngs=rngs
        )
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.layer_norm2 = layer_norm(D, rngs=rngs)
        self.linear1 = linear(D, hidden, bias_init=uniform(D), rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)
        self.linear2 = linear(hidden, D, bias_init=uniform(hidden), rngs=rngs)
        self.dropout3 = nnx.Dropout(drop, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x + self.dropout1(self.attention(self.layer_norm1(x)))
        h2 = self.linear1(self.layer_norm2(h))
        return h + self.dropout3(self.linear2(self.dropout2(nnx.gelu(h2, approximate=False))))


class ViT(nnx.Module):
    """Image (B, size, size, 3) -> logits (B, classes)."""

    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        D: int = 768,
        layers: int = 12,
        heads: int = 12,
        classes: int = 1000,
        drop: float = 0.0,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        if size % patch != 0:
            raise ValueError(f"patches of {patch} do not fill {size}")
        self.D = D
        self.start = nnx.Param(jnp.zeros((1, 1, D)))
        self.position = nnx.Param(
            nnx.initializers.normal(0.02)(
                rngs.params(), (1, size // patch * (size // patch) + 1, D)
            )
        )
        self.conv = nnx.Conv(
            3,
            D,
            (patch, patch),
            patch,
            padding=0,
            kernel_init=fan_uniform,
            bias_init=uniform(3 * patch * patch),
            rngs=rngs,
        )
        self.layers = nnx.List([Layer(D, heads, 4 * D, drop, rngs=rngs) for _ in range(layers)])
        self.layer_norm = layer_norm(D, rngs=rngs)
        self.linear = linear(D, classes, bias_init=uniform(D), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        tokens = self.conv(image)
        tokens = tokens.reshape(tokens.shape[0], -1, tokens.shape[3])
        h = jnp.broadcast_to(self.start[...], (image.shape[0], 1, self.D))
        h = jnp.concatenate([h, tokens], axis=1) + self.position[...]
        for layer in self.layers:
            h = layer(h)
        return self.linear(self.layer_norm(h)[:, 0])


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> ViT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return ViT(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: ViT(**config, rngs=nnx.Rngs(seed)))
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
