"""LeNet-5 with batch normalisation and dropout, for handwritten digits.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
conv = partial(nnx.Conv, kernel_init=fan_uniform)
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class LeNet(nnx.Module):
    """Image (B, 28, 28, 1) -> logits (B, classes)."""

    def __init__(self, classes: int = 10, drop: float = 0.5, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(1, 6, (5, 5), padding=2, bias_init=uniform(25), rngs=rngs)
        self.batch_norm1 = batch_norm(6, rngs=rngs)
        self.conv2 = conv(6, 16, (5, 5), padding=0, bias_init=uniform(150), rngs=rngs)
        self.batch_norm2 = batch_norm(16, rngs=rngs)
        self.linear1 = linear(400, 120, bias_init=uniform(400), rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.linear2 = linear(120, 84, bias_init=uniform(120), rngs=rngs)
        self.linear3 = linear(84, classes, bias_init=uniform(84), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        h = self.conv1(image)
        h = nnx.max_pool(nnx.relu(self.batch_norm1(h)), (2, 2), strides=(2, 2))
        h = nnx.max_pool(nnx.relu(self.batch_norm2(self.conv2(h))), (2, 2), strides=(2, 2))
        h = h.reshape(h.shape[0], -1)
        return self.linear3(nnx.relu(self.linear2(self.dropout(nnx.relu(self.linear1(h))))))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> LeNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return LeNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: LeNet(**config, rngs=nnx.Rngs(seed)))
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
