"""LeNet-5 with batch normalisation and dropout, for handwritten digits.

Verified with openvino 2026.4.1.
"""

import itertools
import math

import numpy as np
import openvino as ov
from openvino import opset16 as ops

WEIGHTS = {
    "conv1.weight": [6, 1, 5, 5],
    "conv1.bias": [6],
    "batch_norm1.weight": [6],
    "batch_norm1.bias": [6],
    "batch_norm1.running_mean": [6],
    "batch_norm1.running_var": [6],
    "conv2.weight": [16, 6, 5, 5],
    "conv2.bias": [16],
    "batch_norm2.weight": [16],
    "batch_norm2.bias": [16],
    "batch_norm2.running_mean": [16],
    "batch_norm2.running_var": [16],
    "linear1.weight": [120, 400],
    "linear1.bias": [120],
    "linear2.weight": [84, 120],
    "linear2.bias": [84],
    "linear3.weight": [10, 84],
    "linear3.bias": [10],
}
"""The shapes of the weights, which are inputs."""


class LeNet:
    """Builds the graph: image (B, 1, 28, 28) -> logits (B, 10).

    An input `grad.<output>` is what the output is weighted by, element by element; an
    output `grad.<name>` is the gradient of the sum of it all by an input or a weight.
    """

    def windows(
        self,
        x: ov.Output,
        kernel: list[int],
        strides: list[int],
        dilations: list[int],
        begin: list[int],
        end: list[int],
        value: float = 0.0,
    ) -> ov.Node:
        """The windows that move over x, padded with a value: (B, C, *places, *kernel)."""
        axes = [*range(2, len(kernel) + 2)]
        x = ops.pad(x, [0, 0, *begin], [0, 0, *end], "constant", np.float32(value))
        taps = []
        for tap in itertools.product(*map(range, kernel)):
            start = [t * d for t, d in zip(tap, dilations, strict=True)]
            left = [(k - 1 - t) * d for k, t, d in zip(kernel, tap, dilations, strict=True)]
            stop = [-n if n else 2**31 - 1 for n in left]
            taps.append(ops.unsqueeze(ops.slice(x, start, stop, strides, axes), -1))
        return ops.reshape(
            ops.concat(taps, -1), [0, 0, *[0] * len(axes), *kernel], special_zero=True
        )

    def add_windows(
        self,
        x: ov.Output,
        kernel: list[int],
        strides: list[int],
        dilations: list[int],
        begin: list[int],
        end: list[int],
        rest: list[int],
    ) -> ov.Node:
        """The adjoint of `windows`: adds (B, C * taps, *places) up where the windows overlap, `rest`
        being what lies behind the last one."""
        taps = math.prod(kernel)
        channels = x.get_output_partial_shape(0)[1].get_length() // taps
        one = np.eye(taps, dtype=np.float32).reshape(1, taps, 1, *kernel).repeat(channels, 0)
        window = strides, None, begin, end, dilations, "explicit", rest
        if channels == 1:  # which the CPU cannot do as one group
            return ops.convolution_backprop_data(x, one[0], *window)
        return ops.group_convolution_backprop_data(x, one, *window)

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 1, 28, 28], ov.Type.f32, name="image")
        grad_logits = ops.parameter([-1, 10], ov.Type.f32, name="grad.logits")
        w = {name: ops.parameter(shape, ov.Type.f32, name=name) for name, shape in WEIGHTS.items()}
        outputs: dict[str, ov.Output] = {}
        h = ops.add(
            ops.convolution(image, w["conv1.weight"], [1, 1], [2, 2], [2, 2], [1, 1]),
            ops.reshape(w["conv1.bias"], [1, -1, 1, 1], special_zero=False),
        )
        h2 = ops.reshape(w["batch_norm1.running_var"], [6, 1, 1], special_zero=False)
        h2 = ops.divide(np.float32(1.0), ops.sqrt(ops.add(h2, np.float32(1e-5))))
        h3 = ops.reshape(w["batch_norm1.running_mean"], [6, 1, 1], special_zero=False)
        h = ops.multiply(ops.subtract(h, h3), h2)
        h3 = ops.reshape(w["batch_norm1.weight"], [6, 1, 1], special_zero=False)
        h4 = ops.multiply(h, h3)
        h5 = ops.reshape(w["batch_norm1.bias"], [6, 1, 1], special_zero=False)
        batch_norm1 = ops.add(h4, h5)
        h4 = ops.relu(batch_norm1)
        h5 = ov.opset1.max_pool(h4, [2, 2], [0, 0], [0, 0], [2, 2])
        h6 = ops.add(
            ops.convolution(h5, w["conv2.weight"], [1, 1], [0, 0], [0, 0], [1, 1]),
            ops.reshape(w["conv2.bias"], [1, -1, 1, 1], special_zero=False),
        )
        h7 = ops.reshape(w["batch_norm2.running_var"], [16, 1, 1], special_zero=False)
        h7 = ops.divide(np.float32(1.0), ops.sqrt(ops.add(h7, np.float32(1e-5))))
        h8 = ops.reshape(w["batch_norm2.running_mean"], [16, 1, 1], special_zero=False)
        h6 = ops.multiply(ops.subtract(h6, h8), h7)
        h8 = ops.reshape(w["batch_norm2.weight"], [16, 1, 1], special_zero=False)
        h9 = ops.multiply(h6, h8)
        h10 = ops.reshape(w["batch_norm2.bias"], [16, 1, 1], special_zero=False)
        batch_norm2 = ops.add(h9, h10)
        h9 = ops.relu(batch_norm2)
        h10 = ov.opset1.max_pool(h9, [2, 2], [0, 0], [0, 0], [2, 2])
        h10 = ops.reshape(h10, [0, 400], special_zero=True)
        linear1 = ops.add(
            ops.matmul(h10, w["linear1.weight"], transpose_a=False, transpose_b=True),
            w["linear1.bias"],
        )
        dropout = ops.relu(linear1)
        linear2 = ops.add(
            ops.matmul(dropout, w["linear2.weight"], transpose_a=False, transpose_b=True),
            w["linear2.bias"],
        )
        h11 = ops.relu(linear2)
        h12 = ops.add(
            ops.matmul(h11, w["linear3.weight"], transpose_a=False, transpose_b=True),
            w["linear3.bias"],
        )
        outputs["logits"] = h12
        g = ops.matmul(grad_logits, w["linear3.weight"], transpose_a=False, transpose_b=False)
        outputs["grad.linear3.weight"] = ops.matmul(
            grad_logits, h11, transpose_a=True, transpose_b=False
        )
        outputs["grad.linear3.bias"] = ops.reduce_sum(grad_logits, [0], keep_dims=False)
        g = ops.select(ops.less(np.float32(0.0), linear2), g, np.float32(0.0))
        g2 = ops.matmul(g, w["linear2.weight"], transpose_a=False, transpose_b=False)
        outputs["grad.linear2.weight"] = ops.matmul(g, dropout, transpose_a=True, transpose_b=False)
        outputs["grad.linear2.bias"] = ops.reduce_sum(g, [0], keep_dims=False)
        g = ops.select(ops.less(np.float32(0.0), linear1), g2, np.float32(0.0))
        g2 = ops.matmul(g, w["linear1.weight"], transpose_a=False, transpose_b=False)
        outputs["grad.linear1.weight"] = ops.matmul(g, h10, transpose_a=True, transpose_b=False)
        outputs["grad.linear1.bias"] = ops.reduce_sum(g, [0], keep_dims=False)
        g = ops.reshape(g2, [0, 16, 5, 5], special_zero=True)
        h9 = self.windows(h9, [2, 2], [2, 2], [1, 1], [0, 0], [0, 0], float("-inf"))
        h9 = ops.reshape(h9, [0, 16, 5, 5, 4], special_zero=True)
        h9 = ops.squeeze(ops.topk(h9, np.int32(1), 4, "max", "value", stable=True).output(1), [4])
        h10 = ops.range(0, 4, 1, "i32")
        h9 = ops.unsqueeze(h9, [4])
        g = ops.select(ops.equal(h9, h10), ops.unsqueeze(g, [4]), np.float32(0.0))
        g = ops.reshape(g, [0, 16, 5, 5, 2, 2], special_zero=True)
        g = self.add_windows(
            ops.reshape(ops.transpose(g, [0, 1, 4, 5, 2, 3]), [0, 64, 5, 5], special_zero=True),
            [2, 2],
            [2, 2],
            [1, 1],
            [0, 0],
            [0, 0],
            [0, 0],
        )
        g = ops.select(ops.less(np.float32(0.0), batch_norm2), g, np.float32(0.0))
        outputs["grad.batch_norm2.weight"] = ops.reduce_sum(
            ops.multiply(g, h6), [0, 2, 3], keep_dims=False
        )
        outputs["grad.batch_norm2.bias"] = ops.reduce_sum(g, [0, 2, 3], keep_dims=False)
        g = ops.multiply(ops.multiply(g, h8), h7)
        g2 = ops.convolution_backprop_data(
            g, w["conv2.weight"], [1, 1], None, [0, 0], [0, 0], [1, 1], "explicit", [0, 0]
        )
        h5 = self.windows(h5, [5, 5], [1, 1], [1, 1], [0, 0], [0, 0])
        h5 = ops.reshape(h5, [0, 1, 6, 100, 25], special_zero=True)
        h5 = ops.reshape(ops.transpose(h5, [1, 0, 3, 2, 4]), [1, -1, 150], special_zero=False)
        g3 = ops.reshape(g, [0, 1, 16, 100], special_zero=True)
        g3 = ops.reshape(ops.transpose(g3, [1, 2, 0, 3]), [1, 16, -1], special_zero=False)
        g3 = ops.matmul(g3, h5, transpose_a=False, transpose_b=False)
        outputs["grad.conv2.weight"] = ops.reshape(g3, [16, 6, 5, 5], special_zero=False)
        outputs["grad.conv2.bias"] = ops.reduce_sum(g, [0, 2, 3], keep_dims=False)
        h4 = self.windows(h4, [2, 2], [2, 2], [1, 1], [0, 0], [0, 0], float("-inf"))
        h4 = ops.reshape(h4, [0, 6, 14, 14, 4], special_zero=True)
        h4 = ops.squeeze(ops.topk(h4, np.int32(1), 4, "max", "value", stable=True).output(1), [4])
        h4 = ops.unsqueeze(h4, [4])
        g = ops.select(ops.equal(h4, h10), ops.unsqueeze(g2, [4]), np.float32(0.0))
        g = ops.reshape(g, [0, 6, 14, 14, 2, 2], special_zero=True)
        g = self.add_windows(
            ops.reshape(ops.transpose(g, [0, 1, 4, 5, 2, 3]), [0, 24, 14, 14], special_zero=True),
            [2, 2],
            [2, 2],
            [1, 1],
            [0, 0],
            [0, 0],
            [0, 0],
        )
        g = ops.select(ops.less(np.float32(0.0), batch_norm1), g, np.float32(0.0))
        outputs["grad.batch_norm1.weight"] = ops.reduce_sum(
            ops.multiply(g, h), [0, 2, 3], keep_dims=False
        )
        outputs["grad.batch_norm1.bias"] = ops.reduce_sum(g, [0, 2, 3], keep_dims=False)
        g = ops.multiply(ops.multiply(g, h3), h2)
        g2 = ops.convolution_backprop_data(
            g, w["conv1.weight"], [1, 1], None, [2, 2], [2, 2], [1, 1], "explicit", [0, 0]
        )
        outputs["grad.image"] = g2
        h = self.windows(image, [5, 5], [1, 1], [1, 1], [2, 2], [2, 2])
        h = ops.reshape(h, [0, 1, 1, 784, 25], special_zero=True)
        h = ops.reshape(ops.transpose(h, [1, 0, 3, 2, 4]), [1, -1, 25], special_zero=False)
        g2 = ops.reshape(g, [0, 1, 6, 784], special_zero=True)
        g2 = ops.reshape(ops.transpose(g2, [1, 2, 0, 3]), [1, 6, -1], special_zero=False)
        g2 = ops.matmul(g2, h, transpose_a=False, transpose_b=False)
        outputs["grad.conv1.weight"] = ops.reshape(g2, [6, 1, 5, 5], special_zero=False)
        outputs["grad.conv1.bias"] = ops.reduce_sum(g, [0, 2, 3], keep_dims=False)
        model = ov.Model(list(outputs.values()), [image, grad_logits, *w.values()], "LeNet")
        for i, name in enumerate(outputs):
            model.output(i).set_names({name})
        return model


def build(weights: None = None) -> ov.Model:
    """Return the graph with its gradients.

    Its weights are inputs, under the names that they have in a file.
    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return LeNet().build()
