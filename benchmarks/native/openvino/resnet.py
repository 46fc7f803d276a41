"""ResNet-50 as an OpenVINO graph, written by hand; weights are called as in the .mdl model."""

from collections.abc import Mapping

import numpy as np
import openvino as ov
from openvino import opset16 as ops


def build(weights: Mapping[str, np.ndarray]) -> ov.Model:
    def conv(x: ov.Output, name: str, stride: int = 1) -> ov.Node:
        weight = weights[f"{name}.weight"]
        pad = [weight.shape[2] // 2] * 2
        return ops.convolution(x, ops.constant(weight), [stride] * 2, pad, pad, [1, 1])

    def norm(x: ov.Output, name: str) -> ov.Node:
        parts = ("weight", "bias", "running_mean", "running_var")
        given = [ops.constant(weights[f"{name}.{part}"]) for part in parts]
        return ops.batch_norm_inference(x, *given, 1e-5)

    def block(x: ov.Output, name: str, stride: int, project: bool) -> ov.Node:
        y = ops.relu(norm(conv(x, f"{name}.conv1"), f"{name}.batch_norm1"))
        y = ops.relu(norm(conv(y, f"{name}.conv2", stride), f"{name}.batch_norm2"))
        y = norm(conv(y, f"{name}.conv3"), f"{name}.batch_norm3")
        if project:
            x = norm(conv(x, f"{name}.skip.0", stride), f"{name}.skip.1")
        return ops.relu(ops.add(y, x))

    image = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
    x = ops.relu(norm(conv(image, "conv", 2), "batch_norm"))
    x = ov.opset1.max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3])
    number = 0
    for count, stride in ((3, 1), (4, 2), (6, 2), (3, 2)):
        for i in range(count):
            x = block(x, f"blocks.{number}", stride if i == 0 else 1, i == 0)
            number += 1
    x = ops.reduce_mean(x, [2, 3])
    x = ops.matmul(x, ops.constant(weights["linear.weight"]), False, True)
    return ov.Model([ops.add(x, ops.constant(weights["linear.bias"]))], [image])
