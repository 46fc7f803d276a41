"""Denoiser: a small denoising network of a diffusion model (Ho et al. 2020): the noise in an image
at a time.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class Denoiser:
    """Builds the graph: image (B, 3, H, W), time (B,) -> noise (B, 3, H, W)."""

    def __init__(
        self, weights: str | Path, width: int = 128, heads: int = 4, groups: int = 32
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.width, self.heads, self.groups = width, heads, groups

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def shape(self, *sizes: int | ov.Node) -> ov.Node:
        """A shape of which some sizes are tensors."""
        parts = [np.int32([s]) if isinstance(s, int) else s for s in sizes]
        return ops.concat(parts, 0)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def group_norm(self, x: ov.Output, name: str, groups: int) -> ov.Node:
        return ops.group_normalization(
            x,
            self.constant(f"{name}.weight"),
            self.constant(f"{name}.bias"),
            groups,
            1e-5,
            name=name,
        )

    def conv(self, x: ov.Output, name: str, stride: int = 1, pad: int = 0) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def attention2(self, x: ov.Output, name: str, heads: int) -> ov.Node:
        """Multi-head attention over (B, T, D)."""
        q, k, v = (
            ops.transpose(
                ops.reshape(self.linear(x, f"{name}.{part}"), [0, 0, heads, -1], special_zero=True),
                [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )
        y = ops.scaled_dot_product_attention(q, k, v)
        y = ops.reshape(ops.transpose(y, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)
        return self.linear(y, f"{name}.output")

    def time_embedding(self, time: ov.Output, name: str, width: int) -> ov.Node:
        """Sines and cosines of a time, at frequencies that fall from 1 to 1 / 10000.

        time (B,) -> y (B, width).
        """
        frequency = ops.convert(ops.range(0, width // 2, 1, "i32"), "f32")
        frequency = ops.exp(ops.multiply(frequency, np.float32(-2 * 9.210340371976184 / width)))
        angle = ops.multiply(ops.unsqueeze(time, [1]), frequency)
        h = ops.concat([ops.sin(angle), ops.cos(angle)], 1)
        return self.linear(ops.swish(self.linear(h, f"{name}.linear1")), f"{name}.linear2")

    def residual(
        self, x: ov.Output, name: str, time: ov.Output, width: int, groups: int
    ) -> ov.Node:
        """A residual block whose channels are moved by what the time says.

        x (B, C, H, W), time (B, E) -> y (B, width, H, W).
        """
        C = x.get_output_partial_shape(0)[1].get_length()
        h = self.group_norm(x, f"{name}.group_norm1", groups)
        h = self.conv(ops.swish(h), f"{name}.conv1", pad=1)
        h = ops.add(h, ops.unsqueeze(self.linear(ops.swish(time), f"{name}.linear"), [2, 3]))
        h = self.group_norm(h, f"{name}.group_norm2", groups)
        h = self.conv(ops.swish(h), f"{name}.conv2", pad=1)
        h2 = x
        if C != width:
            h2 = self.conv(x, f"{name}.skip")
        return ops.add(h, h2)

    def attention(self, x: ov.Output, name: str, heads: int, groups: int) -> ov.Node:
        """Attention of each place of an image to all: (B, C, H, W) -> (B, C, H, W)."""
        B = ops.gather(ops.shape_of(x, "i32"), [0], 0)
        H = ops.gather(ops.shape_of(x, "i32"), [2], 0)
        W = ops.gather(ops.shape_of(x, "i32"), [3], 0)
        C = x.get_output_partial_shape(0)[1].get_length()
        h = self.group_norm(x, f"{name}.group_norm", groups)
        h = ops.reshape(ops.transpose(h, [0, 2, 3, 1]), [0, -1, C], special_zero=True)
        h = self.attention2(h, f"{name}.attention", heads)
        h = ops.reshape(h, self.shape(B, H, W, C), special_zero=False)
        return ops.add(x, ops.transpose(h, [0, 3, 1, 2]))

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
        time = ops.parameter([-1], ov.Type.f32, name="time")
        B = ops.gather(ops.shape_of(image, "i32"), [0], 0)
        H = ops.gather(ops.shape_of(image, "i32"), [2], 0)
        W = ops.gather(ops.shape_of(image, "i32"), [3], 0)
        t = self.time_embedding(time, "time_embedding", self.width)
        first = self.conv(image, "conv1", pad=1)
        high = self.residual(first, "residual1", t, self.width, self.groups)
        low = self.conv(high, "conv2", 2, pad=1)
        low = self.residual(low, "residual2", t, 2 * self.width, self.groups)
        low = self.attention(low, "attention", self.heads, self.groups)
        low = self.residual(low, "residual3", t, 2 * self.width, self.groups)
        h = ops.reshape(low, [0, 2 * self.width, 0, 1, -1], special_zero=True)
        h = ops.broadcast(
            h,
            self.shape(
                B,
                2 * self.width,
                ops.divide(ops.add(H, np.int32(1)), np.int32(2)),
                2,
                ops.divide(ops.add(W, np.int32(1)), np.int32(2)),
            ),
        )
        h = ops.reshape(
            h,
            self.shape(
                B,
                2 * self.width,
                ops.multiply(np.int32(2), ops.divide(ops.add(H, np.int32(1)), np.int32(2))),
                ops.divide(ops.add(W, np.int32(1)), np.int32(2)),
                1,
            ),
            special_zero=False,
        )
        h = ops.broadcast(
            h,
            self.shape(
                B,
                2 * self.width,
                ops.multiply(np.int32(2), ops.divide(ops.add(H, np.int32(1)), np.int32(2))),
                ops.divide(ops.add(W, np.int32(1)), np.int32(2)),
                2,
            ),
        )
        h = ops.reshape(h, [0, 2 * self.width, 0, -1], special_zero=True)
        h = self.conv(h, "conv3", pad=1)
        h = self.residual(ops.concat([h, high], 1), "residual4", t, self.width, self.groups)
        noise = self.group_norm(h, "group_norm", self.groups)
        noise = self.conv(ops.swish(noise), "conv4", pad=1)
        model = ov.Model([noise], [image, time], "Denoiser")
        model.output(0).set_names({"noise"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return Denoiser(weights, **config).build()
