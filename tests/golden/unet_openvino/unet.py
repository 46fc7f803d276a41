"""UNet: U-Net (Ronneberger et al. 2015), with padding: a class for each pixel.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class UNet:
    """Builds the graph: image (B, 3, H, W) -> logits (B, classes, H, W)."""

    def __init__(self, weights: str | Path, widths: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        self.weights, self.used = load_file(weights), {}
        self.widths = widths

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def conv(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        return ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1], name=name)

    def batch_norm(self, x: ov.Output, name: str) -> ov.Node:
        gamma, beta, mean, variance = (
            self.constant(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return ops.batch_norm_inference(x, gamma, beta, mean, variance, 1e-5, name=name)

    def conv_transpose(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution_backprop_data(
            x, weight, [2, 2], None, [0, 0], [0, 0], [1, 1], "explicit", [0, 0]
        )
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def conv2(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [1, 1], [0, 0], [0, 0], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def pair(self, x: ov.Output, name: str) -> ov.Node:
        """Two 3x3 convolutions: (B, C, H, W) -> (B, width, H, W)."""
        h = ops.relu(self.batch_norm(self.conv(x, f"{name}.conv1"), f"{name}.batch_norm1"))
        return ops.relu(self.batch_norm(self.conv(h, f"{name}.conv2"), f"{name}.batch_norm2"))

    def up(self, x: ov.Output, name: str, skip: ov.Output) -> ov.Node:
        """Twice the image, beside what the way down saw at this size.

        x (B, C, H, W), skip (B, D, 2 * H, 2 * W) -> y (B, width, 2 * H, 2 * W).
        """
        h = self.conv_transpose(x, f"{name}.conv_transpose")
        return self.pair(ops.concat([skip, h], 1), f"{name}.pair")

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        h = image
        skips = []
        for i_, _ in enumerate(self.widths):
            h2 = self.pair(h, f"blocks1.{i_}")
            skips.append(h2)
            h = ov.opset1.max_pool(h2, [2, 2], [0, 0], [0, 0], [2, 2])
        h = self.pair(h, "pair")
        for i, skip in enumerate(reversed(skips)):
            h = self.up(h, f"blocks2.{i}", skip)
        logits = self.conv2(h, "conv")
        model = ov.Model([logits], [image], "UNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: tuple[int, ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return UNet(weights, **config).build()
