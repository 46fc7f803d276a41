"""Swin: the Swin transformer (Liu et al. 2021); these depths and heads make the tiny one. Every
other layer moves its windows by half of one, if there are several.

Verified with openvino 2026.4.1.
"""

import itertools
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class Swin:
    """Builds the graph: image (B, 3, size, size) -> logits (B, classes)."""

    def __init__(
        self,
        weights: str | Path,
        size: int = 224,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        patch: int = 4,
        window: int = 7,
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.size = size
        self.depths = depths
        self.heads = heads
        self.patch = patch
        self.window = window

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def layer_norm(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def linear2(self, x: ov.Output, name: str) -> ov.Node:
        return ops.matmul(
            x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True, name=name
        )

    def conv(self, x: ov.Output, name: str, stride: int) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [stride] * 2, [0, 0], [0, 0], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def window_attention(
        self, x: ov.Output, name: str, heads: int, window: int, shift: int
    ) -> ov.Node:
        """Attention within windows that are moved by `shift`, with a bias for each offset of two
        places. The windows at the end then hold places that are no neighbours: these do not see
        each other.

        (B, H, W, C) -> (B, H, W, C).
        """
        C = x.get_output_partial_shape(0)[3].get_length()
        H = x.get_output_partial_shape(0)[1].get_length()
        W = x.get_output_partial_shape(0)[2].get_length()
        place = ops.range(0, window, 1, "i32")
        line = ops.multiply(np.int32(2 * window - 1), place)
        place2 = ops.unsqueeze(line, [1])
        place = ops.reshape(ops.add(place2, place), [window * window], special_zero=False)
        offset = ops.unsqueeze(place, [1])
        offset = ops.add(ops.subtract(offset, place), np.int32(2 * window * (window - 1)))
        bias = ops.transpose(ops.gather(self.constant(f"{name}.table"), offset, 0), [2, 0, 1])
        h = x
        if shift > 0:
            h = ops.roll(x, [-shift, -shift], [1, 2])
        h = ops.reshape(h, [0, H // window, window, W // window, window, C], special_zero=True)
        h = ops.transpose(h, [0, 1, 3, 2, 4, 5])
        h = ops.reshape(h, [0, H // window * (W // window), window * window, C], special_zero=True)
        h = self.linear(h, f"{name}.qkv")
        h = ops.reshape(
            h,
            [0, H // window * (W // window), window * window, 3, heads, 3 * C // (3 * heads)],
            special_zero=True,
        )
        h = ops.transpose(h, [3, 0, 1, 4, 2, 5])
        q = ops.gather(h, np.int32(0), 0)
        k = ops.gather(h, np.int32(1), 0)
        v = ops.gather(h, np.int32(2), 0)
        if shift > 0:
            row = ops.range(0, H, 1, "i32")
            row2 = ops.convert(ops.less_equal(np.int32(H - window), row), "i32")
            row = ops.add(row2, ops.convert(ops.less_equal(np.int32(H - shift), row), "i32"))
            column = ops.range(0, W, 1, "i32")
            column2 = ops.convert(ops.less_equal(np.int32(W - window), column), "i32")
            column = ops.add(
                column2, ops.convert(ops.less_equal(np.int32(W - shift), column), "i32")
            )
            region = ops.add(ops.multiply(np.int32(3), ops.unsqueeze(row, [1])), column)
            region = ops.reshape(
                region, [H // window, window, W // window, window], special_zero=False
            )
            region = ops.transpose(region, [0, 2, 1, 3])
            region = ops.reshape(
                region, [H // window * (W // window), 1, window * window], special_zero=False
            )
            near = ops.equal(ops.unsqueeze(region, [3]), ops.unsqueeze(region, [2]))
            h = ops.multiply(q, np.float32(1 / (C / heads) ** 0.5))
            h2 = ops.transpose(k, [0, 1, 2, 4, 3])
            h = ops.matmul(h, h2, transpose_a=False, transpose_b=False)
            h = ops.select(near, ops.add(h, bias), np.float32(-3e38))
            h = ops.select(near, ops.softmax(h, 4), np.float32(0.0))
            h = ops.matmul(h, v, transpose_a=False, transpose_b=False)
        else:
            h2 = ops.multiply(q, np.float32(1 / (C / heads) ** 0.5))
            h3 = ops.transpose(k, [0, 1, 2, 4, 3])
            h2 = ops.add(ops.matmul(h2, h3, transpose_a=False, transpose_b=False), bias)
            h = ops.matmul(ops.softmax(h2, 4), v, transpose_a=False, transpose_b=False)
        h = ops.transpose(h, [0, 1, 3, 2, 4])
        h = ops.reshape(
            h,
            [0, H // window * (W // window), window * window, heads * (C // heads)],
            special_zero=True,
        )
        h = self.linear(h, f"{name}.output")
        h = ops.reshape(h, [0, H // window, W // window, window, -1, C], special_zero=True)
        h = ops.transpose(h, [0, 1, 3, 2, 4, 5])
        h = ops.reshape(h, [0, H // window * window, -1, C], special_zero=True)
        y = h
        if shift > 0:
            y = ops.roll(h, [shift, shift], [1, 2])
        return y

    def layer(self, x: ov.Output, name: str, heads: int, window: int, shift: int) -> ov.Node:
        """Pre-norm transformer layer: (B, H, W, C) -> (B, H, W, C)."""
        h = self.layer_norm(x, f"{name}.layer_norm1")
        h = self.window_attention(h, f"{name}.window_attention", heads, window, shift)
        h = ops.add(x, h)
        h2 = self.linear(self.layer_norm(h, f"{name}.layer_norm2"), f"{name}.linear1")
        return ops.add(h, self.linear(ops.gelu(h2, "erf"), f"{name}.linear2"))

    def merge(self, x: ov.Output, name: str) -> ov.Node:
        """Four places to one: (B, H, W, C) -> (B, H // 2, W // 2, 2 * C)."""
        C = x.get_output_partial_shape(0)[3].get_length()
        H = x.get_output_partial_shape(0)[1].get_length()
        W = x.get_output_partial_shape(0)[2].get_length()
        h = ops.reshape(x, [0, H // 2, 2, W // 2, 2, C], special_zero=True)
        h = ops.transpose(h, [0, 1, 3, 4, 2, 5])
        h = ops.reshape(h, [0, H // 2, W // 2, 4 * C], special_zero=True)
        return self.linear2(self.layer_norm(h, f"{name}.layer_norm"), f"{name}.linear")

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, self.size, self.size], ov.Type.f32, name="image")
        h = self.conv(image, "conv", self.patch)
        h = self.layer_norm(ops.transpose(h, [0, 2, 3, 1]), "layer_norm1")
        index = itertools.count()
        for stage, depth in enumerate(self.depths):
            if stage > 0:
                h = self.merge(h, f"merge.{stage}")
            for i in range(depth):
                h = self.layer(
                    h,
                    f"blocks.{next(index)}",
                    self.heads[stage],
                    self.window,
                    i
                    % 2
                    * (
                        self.window // 2
                        if self.size // (self.patch * 2**stage) > self.window
                        else 0
                    ),
                )
        logits = self.layer_norm(h, "layer_norm2")
        logits = self.linear(ops.reduce_mean(logits, [1, 2], keep_dims=False), "linear")
        model = ov.Model([logits], [image], "Swin")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int | tuple[int, ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return Swin(weights, **config).build()
