"""LeNet-5 with batch normalisation and dropout, for handwritten digits.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class LeNet:
    """Builds the graph: image (B, 1, 28, 28) -> logits (B, classes)."""

    def __init__(self, weights: str | Path) -> None:
        self.weights, self.used = load_file(weights), {}

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def conv(self, x: ov.Output, name: str, pad: int = 0) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [1, 1], [pad] * 2, [pad] * 2, [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def batch_norm(self, x: ov.Output, name: str) -> ov.Node:
        gamma, beta, mean, variance = (
            self.constant(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return ops.batch_norm_inference(x, gamma, beta, mean, variance, 1e-5, name=name)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 1, 28, 28], ov.Type.f32, name="image")
        h = self.batch_norm(self.conv(image, "conv1", pad=2), "batch_norm1")
        h = ov.opset1.max_pool(ops.relu(h), [2, 2], [0, 0], [0, 0], [2, 2])
        h = self.batch_norm(self.conv(h, "conv2"), "batch_norm2")
        h = ov.opset1.max_pool(ops.relu(h), [2, 2], [0, 0], [0, 0], [2, 2])
        logits = self.linear(ops.reshape(h, [0, 400], special_zero=True), "linear1")
        logits = self.linear(ops.relu(self.linear(ops.relu(logits), "linear2")), "linear3")
        model = ov.Model([logits], [image], "LeNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return LeNet(weights).build()
