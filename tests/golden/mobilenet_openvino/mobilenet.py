"""MobileNetV3 (Howard et al. 2019); these stages, of kernel, hidden width, width, whether channels
are weighed, whether it swishes, and stride, make the small one.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class MobileNet:
    """Builds the graph: image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(
        self,
        weights: str | Path,
        stages: tuple[tuple[int, int, int, bool, bool, int], ...] = (
            (3, 16, 16, True, False, 2),
            (3, 72, 24, False, False, 2),
            (3, 88, 24, False, False, 1),
            (5, 96, 40, True, True, 2),
            (5, 240, 40, True, True, 1),
            (5, 240, 40, True, True, 1),
            (5, 120, 48, True, True, 1),
            (5, 144, 48, True, True, 1),
            (5, 288, 96, True, True, 2),
            (5, 576, 96, True, True, 1),
            (5, 576, 96, True, True, 1),
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

    def activation(self, x: ov.Output, name: str, swish: bool) -> ov.Node:
        """A rectifier, or for the deeper half its smooth relative: (B, C, H, W) -> (B, C, H, W)."""
        return ops.hswish(x) if swish else ops.relu(x)

    def squeeze_excite(self, x: ov.Output, name: str) -> ov.Node:
        """Channels weighed by what the whole image shows of them (Hu et al. 2017).

        (B, C, H, W) -> (B, C, H, W).
        """
        scale = ops.reduce_mean(x, [2, 3], keep_dims=True)
        scale = self.conv(ops.relu(self.conv(scale, f"{name}.conv1")), f"{name}.conv2")
        scale = ops.hard_sigmoid(scale, np.float32(1 / 6), np.float32(0.5))
        return ops.multiply(x, scale)

    def inverted(
        self,
        x: ov.Output,
        name: str,
        kernel: int,
        hidden: int,
        width: int,
        squeeze: bool,
        swish: bool,
        stride: int,
    ) -> ov.Node:
        """Widens, filters each channel by itself, weighs the channels, and narrows again.

        (B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
        """
        C = x.get_output_partial_shape(0)[1].get_length()
        h = x
        if hidden != C:
            h = self.batch_norm(self.conv2(x, f"{name}.conv1"), f"{name}.batch_norm1")
            h = self.activation(h, f"{name}.activation1", swish)
        h = self.conv3(h, f"{name}.conv2", stride, pad=kernel // 2, groups=hidden)
        h = self.batch_norm(h, f"{name}.batch_norm2")
        h = self.activation(h, f"{name}.activation2", swish)
        h2 = h
        if squeeze:
            h2 = self.squeeze_excite(h, f"{name}.squeeze_excite")
        h = self.batch_norm(self.conv2(h2, f"{name}.conv3"), f"{name}.batch_norm3")
        y = h
        if stride == 1 and C == width:
            y = ops.add(x, h)
        return y

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        h = ops.hswish(self.batch_norm(self.conv2(image, "conv1", 2, pad=1), "batch_norm1"))
        for i, (kernel, wide, width, squeeze, swish, stride) in enumerate(self.stages):
            h = self.inverted(h, f"blocks.{i}", kernel, wide, width, squeeze, swish, stride)
        h = ops.hswish(self.batch_norm(self.conv2(h, "conv2"), "batch_norm2"))
        logits = ops.reduce_mean(h, [2, 3], keep_dims=False)
        logits = self.linear(ops.hswish(self.linear(logits, "linear1")), "linear2")
        model = ov.Model([logits], [image], "MobileNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(
    weights: str | Path, **config: tuple[tuple[int, int, int, bool, bool, int], ...]
) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return MobileNet(weights, **config).build()
