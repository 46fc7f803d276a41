"""VAE: a variational autoencoder (Kingma and Welling 2013) of small images.

Verified with keras 3.15.1 and tensorflow-cpu 2.21.0.
"""

from functools import partial
from pathlib import Path

import keras
from safetensors.numpy import load_file

# A configuration, of which each layer makes an initializer of its own: one that layers share would
# draw the same numbers for all of them.
fan_uniform = keras.initializers.serialize(
    keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
)
conv = partial(keras.layers.Conv2D, kernel_initializer=fan_uniform)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)
conv_transpose = partial(keras.layers.Conv2DTranspose, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def encoder(
    image: keras.KerasTensor, latent: int, width: int, *, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Images to the mean and the logarithm of the variance of a code.

    image (B, H, W, 1) -> mean (B, latent), log_variance (B, latent).
    """
    h = keras.layers.ZeroPadding2D(1)(image)
    h = conv(width, 3, strides=2, bias_initializer=uniform(9), name=f"{name}_conv1")(h)
    h = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(h))
    h = conv(2 * width, 3, strides=2, bias_initializer=uniform(9 * width), name=f"{name}_conv2")(h)
    h = keras.layers.Flatten()(keras.layers.ReLU()(h))
    mean = linear(latent, bias_initializer=uniform(h.shape[-1]), name=f"{name}_mean")(h)
    log_variance = linear(
        latent, bias_initializer=uniform(h.shape[-1]), name=f"{name}_log_variance"
    )(h)
    return mean, log_variance


def decoder(code: keras.KerasTensor, size: int, width: int, *, name: str) -> keras.KerasTensor:
    """Codes to the logits of images: code (B, K) -> logits (B, size, size, 1)."""
    h = linear(
        2 * width * (size // 4) ** 2,
        bias_initializer=uniform(code.shape[-1]),
        name=f"{name}_linear",
    )(code)
    h = keras.layers.ReLU()(h)
    h = keras.layers.Reshape((size // 4, size // 4, 2 * width))(h)
    h = conv_transpose(
        width, 4, strides=2, bias_initializer=uniform(16 * width), name=f"{name}_conv_transpose1"
    )(h)
    h = keras.layers.ReLU()(keras.layers.Cropping2D(1)(h))
    h = conv_transpose(
        1, 4, strides=2, bias_initializer=uniform(16), name=f"{name}_conv_transpose2"
    )(h)
    return keras.layers.Cropping2D(1)(h)


@keras.saving.register_keras_serializable(package="vae")
class NormalNoise(keras.layers.Layer):
    """Draws noise: image (B, size, size, 1) -> epsilon (B, latent)."""

    def __init__(self, latent: int, **kwargs):
        super().__init__(**kwargs)
        self.latent = latent
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, image):
        return keras.random.normal(
            (keras.ops.shape(image)[0], self.latent), seed=self.seed_generator
        )

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.latent)

    def get_config(self):
        return {**super().get_config(), "latent": self.latent}


def vae(size: int = 28, latent: int = 16, width: int = 32) -> keras.Model:
    """Image (B, size, size, 1) -> picture (B, size, size, 1), loss ()."""
    image = keras.Input((size, size, 1), name="image")
    if size % 4 != 0:
        raise ValueError("sides that halve evenly twice")
    mean, log_variance = encoder(image, latent, width, name="encoder")
    epsilon = NormalNoise(latent)(image)
    code = mean + epsilon * keras.ops.exp(0.5 * log_variance)
    logits = decoder(code, size, width, name="decoder")
    picture = keras.ops.sigmoid(logits)
    missed = keras.ops.binary_crossentropy(image, logits, from_logits=True)
    missed = keras.ops.sum(missed, axis=(1, 2, 3))
    away = mean**2
    away2 = keras.ops.exp(log_variance)
    away = 0.5 * keras.ops.sum(away + away2 - log_variance - 1.0, axis=1)
    h = missed + away
    return keras.Model(image, [picture, keras.ops.mean(h)], name="vae")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = vae(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
