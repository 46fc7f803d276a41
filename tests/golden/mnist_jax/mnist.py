"""MNIST: the two-layer network of every tutorial: handwritten digits to ten classes.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class MNIST(nnx.Module):
    """Image (B, 28, 28) -> logits (B, classes)."""

    def __init__(self, classes: int = 10, width: int = 128, *, rngs: nnx.Rngs) -> None:
        self.linear1 = linear(784, width, bias_init=uniform(784), rngs=rngs)
        self.linear2 = linear(width, classes, bias_init=uniform(width), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        return self.linear2(nnx.relu(self.linear1(image.reshape(image.shape[0], -1))))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> MNIST:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return MNIST(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: MNIST(**config, rngs=nnx.Rngs(seed)))
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
