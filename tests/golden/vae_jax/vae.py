"""VAE: a variational autoencoder (Kingma and Welling 2013) of small images.

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
linear = partial(nnx.Linear, kernel_init=fan_uniform)
conv_transpose = partial(nnx.ConvTranspose, transpose_kernel=True, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Encoder(nnx.Module):
    """Images to the mean and the logarithm of the variance of a code.

    image (B, H, W, 1) -> mean (B, latent), log_variance (B, latent).
    """

    def __init__(self, H: int, W: int, latent: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(1, width, (3, 3), 2, padding=1, bias_init=uniform(9), rngs=rngs)
        self.conv2 = conv(
            width, 2 * width, (3, 3), 2, padding=1, bias_init=uniform(9 * width), rngs=rngs
        )
        self.mean = linear(
            2 * width * ((H + 3) // 4) * ((W + 3) // 4),
            latent,
            bias_init=uniform(2 * width * ((H + 3) // 4) * ((W + 3) // 4)),
            rngs=rngs,
        )
        self.log_variance = linear(
            2 * width * ((H + 3) // 4) * ((W + 3) // 4),
            latent,
            bias_init=uniform(2 * width * ((H + 3) // 4) * ((W + 3) // 4)),
            rngs=rngs,
        )

    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = nnx.relu(self.conv2(nnx.relu(self.conv1(image))))
        h = h.reshape(h.shape[0], -1)
        return self.mean(h), self.log_variance(h)


class Decoder(nnx.Module):
    """Codes to the logits of images: code (B, K) -> logits (B, size, size, 1)."""

    def __init__(self, K: int, size: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.size = size
        self.width = width
        self.linear = linear(K, 2 * width * (size // 4) ** 2, bias_init=uniform(K), rngs=rngs)
        self.conv_transpose1 = conv_transpose(
            2 * width,
            width,
            (4, 4),
            (2, 2),
            padding=[(2, 2), (2, 2)],
            bias_init=uniform(16 * width),
            rngs=rngs,
        )
        self.conv_transpose2 = conv_transpose(
            width, 1, (4, 4), (2, 2), padding=[(2, 2), (2, 2)], bias_init=uniform(16), rngs=rngs
        )

    def __call__(self, code: jax.Array) -> jax.Array:
        h = self.linear(code)
        h = nnx.relu(h).reshape(code.shape[0], self.size // 4, self.size // 4, 2 * self.width)
        h = nnx.relu(self.conv_transpose1(h))
        return self.conv_transpose2(h)


class VAE(nnx.Module):
    """Image (B, size, size, 1) -> picture (B, size, size, 1), loss ()."""

    def __init__(
        self, size: int = 28, latent: int = 16, width: int = 32, *, rngs: nnx.Rngs
    ) -> None:
        if size % 4 != 0:
            raise ValueError("sides that halve evenly twice")
        self.latent = latent
        self.encoder = Encoder(size, size, latent, width, rngs=rngs)
        self.decoder = Decoder(latent, size, width, rngs=rngs)
        self.rngs = rngs.fork()

    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_variance = self.encoder(image)
        epsilon = jax.random.normal(self.rngs.noise(), (image.shape[0], self.latent))
        code = mean + epsilon * jnp.exp(0.5 * log_variance)
        logits = self.decoder(code)
        picture = nnx.sigmoid(logits)
        missed = -(image * nnx.log_sigmoid(logits) + (1 - image) * nnx.log_sigmoid(-logits))
        missed = missed.sum((1, 2, 3))
        away = 0.5 * (mean**2 + jnp.exp(log_variance) - log_variance - 1.0).sum(1)
        return picture, (missed + away).mean()


def build(weights: str | Path | None = None, *, seed: int = 0, **config: int) -> VAE:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return VAE(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: VAE(**config, rngs=nnx.Rngs(seed)))
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
