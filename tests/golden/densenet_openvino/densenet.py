"""DenseNet: densely connected networks (Huang et al. 2016); these counts make DenseNet-121.

Verified with openvino 2026.4.1.
"""

import itertools
from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class DenseNet:
    """Builds the graph: image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, weights: str | Path, counts: tuple[int, ...] = (6, 12, 24, 16)) -> None:
        self.weights, self.used = load_file(weights), {}
        self.counts = counts

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def batch_norm(self, x: ov.Output, name: str) -> ov.Node:
        gamma, beta, mean, variance = (
            self.constant(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return ops.batch_norm_inference(x, gamma, beta, mean, variance, 1e-5, name=name)

    def conv(self, x: ov.Output, name: str, stride: int = 1, pad: int = 0) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        return ops.convolution(x, weight, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1], name=name)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def dense(self, x: ov.Output, name: str) -> ov.Node:
        """What a layer makes is laid beside all that the layers before it made.

        (B, C, H, W) -> (B, C + growth, H, W).
        """
        h = self.batch_norm(x, f"{name}.batch_norm1")
        h = self.batch_norm(self.conv(ops.relu(h), f"{name}.conv1"), f"{name}.batch_norm2")
        h = self.conv(ops.relu(h), f"{name}.conv2", pad=1)
        return ops.concat([x, h], 1)

    def transition(self, x: ov.Output, name: str) -> ov.Node:
        """Half as many channels, and half the image.

        (B, C, H, W) -> (B, C // 2, H // 2, W // 2).
        """
        h = self.conv(ops.relu(self.batch_norm(x, f"{name}.batch_norm")), f"{name}.conv")
        return ops.avg_pool(h, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=True, dilations=[1, 1])

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        h = self.batch_norm(self.conv(image, "conv", 2, pad=3), "batch_norm1")
        h = ov.opset1.max_pool(ops.relu(h), [2, 2], [1, 1], [1, 1], [3, 3])
        index = itertools.count()
        for count in self.counts[:-1]:
            h2 = h
            for _ in range(count):
                h2 = self.dense(h2, f"blocks1.{next(index)}")
            h = self.transition(h2, f"blocks1.{next(index)}")
        for i in range(self.counts[-1]):
            h = self.dense(h, f"blocks2.{i}")
        logits = self.batch_norm(h, "batch_norm2")
        logits = self.linear(ops.reduce_mean(ops.relu(logits), [2, 3], keep_dims=False), "linear")
        model = ov.Model([logits], [image], "DenseNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: tuple[int, ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return DenseNet(weights, **config).build()
