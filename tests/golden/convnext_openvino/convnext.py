"""ConvNeXt (Liu et al. 2022); these depths and widths make the tiny one.

Verified with openvino 2026.4.1.
"""

import itertools
from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class ConvNeXt:
    """Builds the graph: image (B, 3, H >= 4, W >= 4) -> logits (B, classes)."""

    def __init__(
        self,
        weights: str | Path,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.depths, self.widths = depths, widths

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def layer_norm(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-6, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def conv(self, x: ov.Output, name: str, groups: int) -> ov.Node:
        shape = self.weights[f"{name}.weight"].shape
        weight = self.constant(f"{name}.weight", [groups, -1, *shape[1:]])
        y = ops.group_convolution(x, weight, [1, 1], [3, 3], [3, 3], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def conv2(self, x: ov.Output, name: str, stride: int) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [stride] * 2, [0, 0], [0, 0], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def layer_norm2(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-6, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def norm(self, x: ov.Output, name: str) -> ov.Node:
        """Layer norm over the channels of an image: (B, C, H, W) -> (B, C, H, W)."""
        h = ops.transpose(x, [0, 2, 3, 1])
        return ops.transpose(self.layer_norm(h, f"{name}.layer_norm"), [0, 3, 1, 2])

    def block(self, x: ov.Output, name: str) -> ov.Node:
        """A depthwise convolution, then two linear layers at each place, on channels last.

        (B, C, H, W) -> (B, C, H, W).
        """
        C = x.get_output_partial_shape(0)[1].get_length()
        h = self.conv(x, f"{name}.conv", C)
        h = self.layer_norm(ops.transpose(h, [0, 2, 3, 1]), f"{name}.layer_norm")
        h = self.linear(ops.gelu(self.linear(h, f"{name}.linear1"), "erf"), f"{name}.linear2")
        h = ops.multiply(self.constant(f"{name}.scale"), h)
        return ops.add(x, ops.transpose(h, [0, 3, 1, 2]))

    def build(self) -> ov.Model:
        image = ops.parameter(
            [-1, 3, ov.Dimension(4, -1), ov.Dimension(4, -1)], ov.Type.f32, name="image"
        )
        h = self.norm(self.conv2(image, "conv", 4), "norm")
        for i in range(self.depths[0]):
            h = self.block(h, f"blocks.{i}")
        index = itertools.count()
        for depth, _ in zip(self.depths[1:], self.widths[1:], strict=True):
            h = self.conv2(self.norm(h, f"layers.{next(index)}"), f"layers.{next(index)}", 2)
            for _ in range(depth):
                h = self.block(h, f"layers.{next(index)}")
        logits = ops.reduce_mean(h, [2, 3], keep_dims=False)
        logits = self.linear(self.layer_norm2(logits, "layer_norm"), "linear")
        model = ov.Model([logits], [image], "ConvNeXt")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: tuple[int, ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return ConvNeXt(weights, **config).build()
