"""MNIST: the two-layer network of every tutorial: handwritten digits to ten classes.

Verified with openvino 2026.4.1.
"""

import numpy as np
import openvino as ov
from openvino import opset16 as ops

WEIGHTS = {
    "linear1.weight": [128, 784],
    "linear1.bias": [128],
    "linear2.weight": [10, 128],
    "linear2.bias": [10],
}
"""The shapes of the weights, which are inputs."""


class MNIST:
    """Builds the graph: image (B, 28, 28) -> logits (B, 10).

    An input `grad.<output>` is what the output is weighted by, element by element; an
    output `grad.<name>` is the gradient of the sum of it all by an input or a weight.
    """

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 28, 28], ov.Type.f32, name="image")
        grad_logits = ops.parameter([-1, 10], ov.Type.f32, name="grad.logits")
        w = {name: ops.parameter(shape, ov.Type.f32, name=name) for name, shape in WEIGHTS.items()}
        outputs: dict[str, ov.Output] = {}
        h = ops.reshape(image, [0, 784], special_zero=True)
        linear1 = ops.add(
            ops.matmul(h, w["linear1.weight"], transpose_a=False, transpose_b=True),
            w["linear1.bias"],
        )
        h2 = ops.relu(linear1)
        h3 = ops.add(
            ops.matmul(h2, w["linear2.weight"], transpose_a=False, transpose_b=True),
            w["linear2.bias"],
        )
        outputs["logits"] = h3
        g = ops.matmul(grad_logits, w["linear2.weight"], transpose_a=False, transpose_b=False)
        outputs["grad.linear2.weight"] = ops.matmul(
            grad_logits, h2, transpose_a=True, transpose_b=False
        )
        outputs["grad.linear2.bias"] = ops.reduce_sum(grad_logits, [0], keep_dims=False)
        g = ops.select(ops.less(np.float32(0.0), linear1), g, np.float32(0.0))
        g2 = ops.matmul(g, w["linear1.weight"], transpose_a=False, transpose_b=False)
        outputs["grad.linear1.weight"] = ops.matmul(g, h, transpose_a=True, transpose_b=False)
        outputs["grad.linear1.bias"] = ops.reduce_sum(g, [0], keep_dims=False)
        outputs["grad.image"] = ops.reshape(g2, [0, 28, 28], special_zero=True)
        model = ov.Model(list(outputs.values()), [image, grad_logits, *w.values()], "MNIST")
        for i, name in enumerate(outputs):
            model.output(i).set_names({name})
        return model


def build(weights: None = None) -> ov.Model:
    """Return the graph with its gradients.

    Its weights are inputs, under the names that they have in a file.
    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return MNIST().build()
