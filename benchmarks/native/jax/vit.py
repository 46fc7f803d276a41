"""The vision transformer in Flax NNX, written by hand."""

import jax
import jax.numpy as jnp
from flax import nnx


def layer_norm(dim: int, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(dim, epsilon=1e-6, use_fast_variance=False, rngs=rngs)


class Block(nnx.Module):
    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.layer_norm1 = layer_norm(dim, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, dim, decode=False, rngs=rngs)
        self.drop1 = nnx.Dropout(0.0, rngs=rngs)
        self.layer_norm2 = layer_norm(dim, rngs=rngs)
        self.linear1 = nnx.Linear(dim, 4 * dim, rngs=rngs)
        self.drop2 = nnx.Dropout(0.0, rngs=rngs)
        self.linear2 = nnx.Linear(4 * dim, dim, rngs=rngs)
        self.drop3 = nnx.Dropout(0.0, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.drop1(self.attention(self.layer_norm1(x)))
        y = self.drop2(jax.nn.gelu(self.linear1(self.layer_norm2(x)), approximate=False))
        return x + self.drop3(self.linear2(y))


class ViT(nnx.Module):
    def __init__(
        self,
        size: int,
        patch: int,
        D: int,
        layers: int,
        heads: int,
        classes: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.start = nnx.Param(jnp.zeros((1, 1, D)))
        position = (1, (size // patch) ** 2 + 1, D)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs.params(), position))
        self.conv = nnx.Conv(3, D, (patch, patch), patch, padding="VALID", rngs=rngs)
        self.layers = nnx.List([Block(D, heads, rngs=rngs) for _ in range(layers)])
        self.layer_norm = layer_norm(D, rngs=rngs)
        self.linear = nnx.Linear(D, classes, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        x = self.conv(image)
        B, H, W, D = x.shape
        x = x.reshape(B, H * W, D)
        start = jnp.broadcast_to(self.start[...], (B, 1, D))
        x = jnp.concatenate([start, x], axis=1) + self.position[...]
        for block in self.layers:
            x = block(x)
        return self.linear(self.layer_norm(x)[:, 0])


def build(**config: int) -> ViT:
    return ViT(**config, rngs=nnx.Rngs(0))
