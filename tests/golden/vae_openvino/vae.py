"""VAE: a variational autoencoder (Kingma and Welling 2013) of small images.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class VAE:
    """Builds the graph: image (B, 1, size, size) -> picture (B, 1, size, size), loss ()."""

    def __init__(
        self, weights: str | Path, size: int = 28, latent: int = 16, width: int = 32
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.size, self.latent, self.width = size, latent, width

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def noise(self, name: str, shape: list[int]) -> ov.Output:
        """Fresh noise, an input of the model."""
        self.noises[name] = ops.parameter(shape, ov.Type.f32, name=name)
        return self.noises[name]

    def conv(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [2, 2], [1, 1], [1, 1], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def conv_transpose(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution_backprop_data(
            x, weight, [2, 2], None, [1, 1], [1, 1], [1, 1], "explicit", [0, 0]
        )
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def encoder(self, image: ov.Output, name: str, width: int) -> tuple[ov.Node, ov.Node]:
        """Images to the mean and the logarithm of the variance of a code.

        image (B, 1, H, W) -> mean (B, latent), log_variance (B, latent).
        """
        H = image.get_output_partial_shape(0)[2].get_length()
        W = image.get_output_partial_shape(0)[3].get_length()
        h = ops.relu(self.conv(ops.relu(self.conv(image, f"{name}.conv1")), f"{name}.conv2"))
        h = ops.reshape(h, [0, 2 * width * ((H + 3) // 4) * ((W + 3) // 4)], special_zero=True)
        mean = self.linear(h, f"{name}.mean")
        log_variance = self.linear(h, f"{name}.log_variance")
        return mean, log_variance

    def decoder(self, code: ov.Output, name: str, size: int, width: int) -> ov.Node:
        """Codes to the logits of images: code (B, K) -> logits (B, 1, size, size)."""
        h = self.linear(code, f"{name}.linear")
        h = ops.reshape(ops.relu(h), [0, 2 * width, size // 4, size // 4], special_zero=True)
        h = ops.relu(self.conv_transpose(h, f"{name}.conv_transpose1"))
        return self.conv_transpose(h, f"{name}.conv_transpose2")

    def build(self) -> ov.Model:
        self.noises: dict[str, ov.Output] = {}
        image = ops.parameter([-1, 1, self.size, self.size], ov.Type.f32, name="image")
        if self.size % 4 != 0:
            raise ValueError("sides that halve evenly twice")
        mean, log_variance = self.encoder(image, "encoder", self.width)
        epsilon = self.noise("epsilon", [-1, self.latent])
        code = ops.multiply(np.float32(0.5), log_variance)
        code = ops.add(mean, ops.multiply(epsilon, ops.exp(code)))
        logits = self.decoder(code, "decoder", self.size, self.width)
        picture = ops.sigmoid(logits)
        missed = ops.subtract(
            ops.subtract(ops.relu(logits), ops.multiply(logits, image)),
            ops.log(ops.sigmoid(ops.abs(logits))),
        )
        missed = ops.reduce_sum(missed, [1, 2, 3], keep_dims=False)
        away = ops.power(mean, np.float32(2.0))
        away2 = ops.exp(log_variance)
        away = ops.subtract(ops.subtract(ops.add(away, away2), log_variance), np.float32(1.0))
        away = ops.multiply(np.float32(0.5), ops.reduce_sum(away, [1], keep_dims=False))
        loss = ops.reduce_mean(ops.add(missed, away), [0], keep_dims=False)
        model = ov.Model([picture, loss], [image, *self.noises.values()], "VAE")
        model.output(0).set_names({"picture"})
        model.output(1).set_names({"loss"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Noise is an input too: feed it fresh numbers at each call.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return VAE(weights, **config).build()
