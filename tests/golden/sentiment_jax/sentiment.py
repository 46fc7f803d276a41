"""Sentiment: what a text is felt to say, by the last states of GRUs that read it from either end.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class GRU(nnx.Module):
    """GRU over x (B, T, C).

    Gives y (B, T, directions * hidden) and the last h (directions, B, hidden).
    A row ends at its length: zeros follow, and its states stay.
    """

    def __init__(
        self, inputs: int, hidden: int, bidirectional: bool = False, *, rngs: nnx.Rngs
    ) -> None:
        self.hidden = hidden
        self.ways = 1 + bidirectional
        start = uniform(hidden)
        widths = [inputs] * self.ways

        def linear(width: int) -> nnx.Linear:
            return nnx.Linear(width, 3 * hidden, kernel_init=start, bias_init=start, rngs=rngs)

        self.read = nnx.List([linear(width) for width in widths])
        self.held = nnx.List([linear(hidden) for _ in widths])

    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(held, h, now):
            read, alive = now
            (r, z, n), (hr, hz, hn) = (jnp.split(y, 3, axis=-1) for y in (read, held(h)))
            z = nnx.sigmoid(z + hz)
            n = jnp.tanh(n + nnx.sigmoid(r + hr) * hn)
            new_h = (1 - z) * n + z * h
            h = jnp.where(alive, new_h, h)
            return h, jnp.where(alive, new_h, 0)

        alive = (jnp.arange(x.shape[1]) < lengths[:, None]).T[..., None]
        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        y = x.swapaxes(0, 1)
        h = []
        for first in range(0, len(self.read), self.ways):
            made = []
            for k in range(first, first + self.ways):
                last_h, z = jax.lax.scan(
                    partial(step, self.held[k]), zeros, (self.read[k](y), alive), reverse=k > first
                )
                made.append(z)
                h.append(last_h)
            y = jnp.concatenate(made, axis=-1)
        return y.swapaxes(0, 1), jnp.stack(h)


class Sentiment(nnx.Module):
    """Words (B, T), lengths (B,) -> logits (B, classes)."""

    def __init__(
        self,
        vocab: int = 20000,
        width: int = 128,
        hidden: int = 128,
        classes: int = 2,
        drop: float = 0.5,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.word = nnx.Embed(vocab, width, embedding_init=nnx.initializers.normal(1), rngs=rngs)
        self.dropout1 = nnx.Dropout(drop, rngs=rngs)
        self.gru = GRU(width, hidden, bidirectional=True, rngs=rngs)
        self.dropout2 = nnx.Dropout(drop, rngs=rngs)
        self.linear = nnx.Linear(
            2 * hidden, classes, kernel_init=fan_uniform, bias_init=uniform(2 * hidden), rngs=rngs
        )

    def __call__(self, words: jax.Array, lengths: jax.Array) -> jax.Array:
        h = self.dropout1(self.word(words))
        _, last = self.gru(h, lengths=lengths)
        return self.linear(self.dropout2(jnp.concatenate([last[0], last[1]], axis=1)))


def build(weights: str | Path | None = None, *, seed: int = 0, **config: float | int) -> Sentiment:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return Sentiment(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: Sentiment(**config, rngs=nnx.Rngs(seed)))
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
