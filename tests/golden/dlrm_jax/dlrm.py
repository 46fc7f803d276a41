"""DLRM: a recommender as DLRM (Naumov et al. 2019): what is known in numbers and in categories
meets by dot products. All categories share one table, and the numbers of its rows.

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


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Tower(nnx.Module):
    """Linear layers with relu after each: (B, N) -> (B, widths[-1])."""

    def __init__(self, N: int, widths: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List()
        numbers = N
        for width in widths:
            self.layers.append(linear(numbers, width, bias_init=uniform(numbers), rngs=rngs))
            numbers = width

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x
        for layer in self.layers:
            h = nnx.relu(layer(h))
        return h


class DLRM(nnx.Module):
    """Dense (B, numbers), sparse (B, categories) -> click (B,)."""

    def __init__(
        self,
        numbers: int = 13,
        categories: int = 26,
        rows: int = 1000000,
        width: int = 64,
        bottom: tuple[int, ...] = (512, 256),
        top: tuple[int, ...] = (512, 256),
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.tower1 = Tower(numbers, bottom, rngs=rngs)
        self.linear1 = linear(bottom[-1], width, bias_init=uniform(bottom[-1]), rngs=rngs)
        self.embedding = nnx.Embed(
            rows, width, embedding_init=nnx.initializers.normal(1), rngs=rngs
        )
        self.tower2 = Tower(categories * categories + 2 * categories + width + 1, top, rngs=rngs)
        self.linear2 = linear(top[-1], 1, bias_init=uniform(top[-1]), rngs=rngs)

    def __call__(self, dense: jax.Array, sparse: jax.Array) -> jax.Array:
        known = nnx.relu(self.linear1(self.tower1(dense)))
        features = jnp.concatenate([known[:, None], self.embedding(sparse)], axis=1)
        dots = features @ features.mT
        h = jnp.concatenate([known, dots.reshape(dots.shape[0], -1)], axis=1)
        return nnx.sigmoid(self.linear2(self.tower2(h)).squeeze(1))


def build(
    weights: str | Path | None = None, *, seed: int = 0, **config: int | tuple[int, ...]
) -> DLRM:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return DLRM(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: DLRM(**config, rngs=nnx.Rngs(seed)))
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
