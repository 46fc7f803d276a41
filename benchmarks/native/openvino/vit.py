"""The vision transformer as an OpenVINO graph, written by hand; weights are called as in the .mdl
model."""

from collections.abc import Mapping

import numpy as np
import openvino as ov
from openvino import opset16 as ops


def build(
    weights: Mapping[str, np.ndarray], size: int, patch: int, D: int, layers: int, heads: int
) -> ov.Model:
    def norm(x: ov.Output, name: str) -> ov.Node:
        x = ops.mvn(x, [-1], True, 1e-6, "inside_sqrt")
        x = ops.multiply(x, ops.constant(weights[f"{name}.weight"]))
        return ops.add(x, ops.constant(weights[f"{name}.bias"]))

    def linear(x: ov.Output, name: str) -> ov.Node:
        x = ops.matmul(x, ops.constant(weights[f"{name}.weight"]), False, True)
        return ops.add(x, ops.constant(weights[f"{name}.bias"]))

    def attention(x: ov.Output, name: str) -> ov.Node:
        def split(x: ov.Output) -> ov.Node:
            return ops.transpose(ops.reshape(x, [0, 0, heads, D // heads], True), [0, 2, 1, 3])

        q, k, v = (split(linear(x, f"{name}.{part}")) for part in ("query", "key", "value"))
        x = ops.transpose(ops.scaled_dot_product_attention(q, k, v), [0, 2, 1, 3])
        return linear(ops.reshape(x, [0, 0, D], True), f"{name}.output")

    def block(x: ov.Output, name: str) -> ov.Node:
        x = ops.add(x, attention(norm(x, f"{name}.layer_norm1"), f"{name}.attention"))
        y = ops.gelu(linear(norm(x, f"{name}.layer_norm2"), f"{name}.linear1"), "erf")
        return ops.add(x, linear(y, f"{name}.linear2"))

    image = ops.parameter([-1, 3, size, size], ov.Type.f32, name="image")
    stride = [patch, patch]
    x = ops.convolution(image, ops.constant(weights["conv.weight"]), stride, [0, 0], [0, 0], [1, 1])
    x = ops.add(x, ops.constant(weights["conv.bias"].reshape(1, D, 1, 1)))
    x = ops.reshape(ops.transpose(x, [0, 2, 3, 1]), [0, (size // patch) ** 2, D], True)
    batch = ops.gather(ops.shape_of(image, "i32"), [0], 0)
    start = ops.broadcast(ops.constant(weights["start"]), ops.concat([batch, np.int32([1, D])], 0))
    x = ops.add(ops.concat([start, x], 1), ops.constant(weights["position"]))
    for i in range(layers):
        x = block(x, f"layers.{i}")
    x = ops.gather(norm(x, "layer_norm"), np.int32(0), 1)
    return ov.Model([linear(x, "linear")], [image])
