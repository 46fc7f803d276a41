"""ResNet: deep residual networks (He et al. 2015), with the stride of a bottleneck on its 3x3
convolution.

Verified with openvino 2026.4.1.
"""

import itertools
from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class ResNet:
    """Builds the graph: image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, weights: str | Path, depth: int = 50) -> None:
        self.weights, self.used = load_file(weights), {}
        self.depth = depth

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def conv(self, x: ov.Output, name: str, stride: int = 1, pad: int = 0) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        return ops.convolution(x, weight, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1], name=name)

    def batch_norm(self, x: ov.Output, name: str) -> ov.Node:
        gamma, beta, mean, variance = (
            self.constant(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return ops.batch_norm_inference(x, gamma, beta, mean, variance, 1e-5, name=name)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def bottleneck(self, x: ov.Output, name: str, width: int, stride: int = 1) -> ov.Node:
        """(B, C, H, W) -> (B, 4 * width, ceil(H / stride), ceil(W / stride))."""
        C = x.get_output_partial_shape(0)[1].get_length()
        main = self.batch_norm(self.conv(x, f"{name}.conv1"), f"{name}.batch_norm1")
        main = self.conv(ops.relu(main), f"{name}.conv2", stride, pad=1)
        main = self.batch_norm(main, f"{name}.batch_norm2")
        main = self.batch_norm(self.conv(ops.relu(main), f"{name}.conv3"), f"{name}.batch_norm3")
        skip = x
        if C != 4 * width or stride != 1:
            skip = self.batch_norm(self.conv(x, f"{name}.skip.0", stride), f"{name}.skip.1")
        return ops.relu(ops.add(main, skip))

    def basic(self, x: ov.Output, name: str, width: int, stride: int = 1) -> ov.Node:
        """(B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
        C = x.get_output_partial_shape(0)[1].get_length()
        main = self.conv(x, f"{name}.conv1", stride, pad=1)
        main = ops.relu(self.batch_norm(main, f"{name}.batch_norm1"))
        main = self.batch_norm(self.conv(main, f"{name}.conv2", pad=1), f"{name}.batch_norm2")
        skip = x
        if C != width or stride != 1:
            skip = self.batch_norm(self.conv(x, f"{name}.skip.0", stride), f"{name}.skip.1")
        return ops.relu(ops.add(main, skip))

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        if self.depth not in [18, 34, 50, 101]:
            raise ValueError(f"there is no ResNet-{self.depth}")
        h = self.batch_norm(self.conv(image, "conv", 2, pad=3), "batch_norm")
        h = ov.opset1.max_pool(ops.relu(h), [2, 2], [1, 1], [1, 1], [3, 3])
        index = itertools.count()
        for width, count, stride in zip(
            [64, 128, 256, 512],
            [2, 2, 2, 2] if self.depth == 18 else [3, 4, 23 if self.depth == 101 else 6, 3],
            [1, 2, 2, 2],
            strict=True,
        ):
            if self.depth < 50:
                h = self.basic(h, f"blocks.{next(index)}", width, stride)
            else:
                h = self.bottleneck(h, f"blocks.{next(index)}", width, stride)
            for _ in range(count - 1):
                if self.depth < 50:
                    h = self.basic(h, f"blocks.{next(index)}", width)
                else:
                    h = self.bottleneck(h, f"blocks.{next(index)}", width)
        logits = self.linear(ops.reduce_mean(h, [2, 3], keep_dims=False), "linear")
        model = ov.Model([logits], [image], "ResNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return ResNet(weights, **config).build()
