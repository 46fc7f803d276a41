"""EfficientNet (Tan and Le 2019); these stages, of width, count, kernel, stride and ratio, make
B0.

Verified with openvino 2026.4.1.
"""

import itertools
from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class EfficientNet:
    """Builds the graph: image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(
        self,
        weights: str | Path,
        stages: tuple[tuple[int, ...], ...] = (
            (16, 1, 3, 1, 1),
            (24, 2, 3, 2, 6),
            (40, 2, 5, 2, 6),
            (80, 3, 3, 2, 6),
            (112, 3, 5, 1, 6),
            (192, 4, 5, 2, 6),
            (320, 1, 3, 1, 6),
        ),
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.stages = stages

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def conv(self, x: ov.Output, name: str) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [1, 1], [0, 0], [0, 0], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def conv2(self, x: ov.Output, name: str, stride: int = 1, pad: int = 0) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        return ops.convolution(x, weight, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1], name=name)

    def batch_norm(self, x: ov.Output, name: str) -> ov.Node:
        gamma, beta, mean, variance = (
            self.constant(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return ops.batch_norm_inference(x, gamma, beta, mean, variance, 0.001, name=name)

    def conv3(self, x: ov.Output, name: str, stride: int, pad: int, groups: int) -> ov.Node:
        shape = self.weights[f"{name}.weight"].shape
        weight = self.constant(f"{name}.weight", [groups, -1, *shape[1:]])
        return ops.group_convolution(
            x, weight, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1], name=name
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def squeeze_excite(self, x: ov.Output, name: str) -> ov.Node:
        """Channels weighed by what the whole image shows of them (Hu et al. 2017).

        (B, C, H, W) -> (B, C, H, W).
        """
        scale = self.conv(ops.reduce_mean(x, [2, 3], keep_dims=True), f"{name}.conv1")
        scale = ops.sigmoid(self.conv(ops.swish(scale), f"{name}.conv2"))
        return ops.multiply(x, scale)

    def mb_conv(
        self, x: ov.Output, name: str, width: int, kernel: int, stride: int, ratio: int
    ) -> ov.Node:
        """The inverted residual of MobileNetV2 with squeeze and excitation.

        (B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
        """
        C = x.get_output_partial_shape(0)[1].get_length()
        h = x
        if ratio > 1:
            h = ops.swish(self.batch_norm(self.conv2(x, f"{name}.conv1"), f"{name}.batch_norm1"))
        h = self.conv3(h, f"{name}.conv2", stride, pad=kernel // 2, groups=ratio * C)
        h = self.batch_norm(h, f"{name}.batch_norm2")
        h = self.squeeze_excite(ops.swish(h), f"{name}.squeeze_excite")
        h = self.batch_norm(self.conv2(h, f"{name}.conv3"), f"{name}.batch_norm3")
        y = h
        if stride == 1 and C == width:
            y = ops.add(x, h)
        return y

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        h = ops.swish(self.batch_norm(self.conv2(image, "conv1", 2, pad=1), "batch_norm1"))
        index = itertools.count()
        for width, count, kernel, stride, ratio in self.stages:
            h = self.mb_conv(h, f"blocks.{next(index)}", width, kernel, stride, ratio)
            for _ in range(count - 1):
                h = self.mb_conv(h, f"blocks.{next(index)}", width, kernel, 1, ratio)
        h = ops.swish(self.batch_norm(self.conv2(h, "conv2"), "batch_norm2"))
        logits = self.linear(ops.reduce_mean(h, [2, 3], keep_dims=False), "linear")
        model = ov.Model([logits], [image], "EfficientNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: tuple[tuple[int, ...], ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return EfficientNet(weights, **config).build()
