"""Tagger: tags the words of sentences (Huang et al. 2015) by an LSTM that reads them from either
end; the rows of a batch are as long as `lengths` says.

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


class LSTM(nnx.Module):
    """LSTM over x (B, T, C).

    Gives y (B, T, directions * hidden) and the last h and c (layers * directions, B, hidden).
    A row ends at its length: zeros follow, and its states stay.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        depth: int = 1,
        bidirectional: bool = False,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.hidden = hidden
        self.ways = 1 + bidirectional
        start = uniform(hidden)
        widths = [inputs] * self.ways + [self.ways * hidden] * (depth - 1) * self.ways

        def linear(width: int) -> nnx.Linear:
            return nnx.Linear(width, 4 * hidden, kernel_init=start, bias_init=start, rngs=rngs)

        self.read = nnx.List([linear(width) for width in widths])
        self.held = nnx.List([linear(hidden) for _ in widths])

    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def step(held, states, now):
            read, alive = now
            h, c = states
            i, f, g, o = jnp.split(read + held(h), 4, axis=-1)
            new_c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
            new_h = nnx.sigmoid(o) * jnp.tanh(new_c)
            h = jnp.where(alive, new_h, h)
            c = jnp.where(alive, new_c, c)
            return (h, c), jnp.where(alive, new_h, 0)

        alive = (jnp.arange(x.shape[1]) < lengths[:, None]).T[..., None]
        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        y = x.swapaxes(0, 1)
        h, c = [], []
        for first in range(0, len(self.read), self.ways):
            made = []
            for k in range(first, first + self.ways):
                (last_h, last_c), z = jax.lax.scan(
                    partial(step, self.held[k]),
                    (zeros, zeros),
                    (self.read[k](y), alive),
                    reverse=k > first,
                )
                made.append(z)
                h.append(last_h)
                c.append(last_c)
            y = jnp.concatenate(made, axis=-1)
        return y.swapaxes(0, 1), jnp.stack(h), jnp.stack(c)


class Tagger(nnx.Module):
    """Words (B, T), lengths (B,) -> logits (B, T, tags)."""

    def __init__(
        self,
        vocab: int = 20000,
        width: int = 100,
        hidden: int = 200,
        layers: int = 2,
        tags: int = 45,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.word = nnx.Embed(vocab, width, embedding_init=nnx.initializers.normal(1), rngs=rngs)
        self.lstm = LSTM(width, hidden, depth=layers, bidirectional=True, rngs=rngs)
        self.linear = nnx.Linear(
            2 * hidden, tags, kernel_init=fan_uniform, bias_init=uniform(2 * hidden), rngs=rngs
        )

    def __call__(self, words: jax.Array, lengths: jax.Array) -> jax.Array:
        h, _, _ = self.lstm(self.word(words), lengths=lengths)
        return self.linear(h)


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> Tagger:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return Tagger(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: Tagger(**config, rngs=nnx.Rngs(seed)))
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
