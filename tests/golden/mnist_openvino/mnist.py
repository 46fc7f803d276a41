"""MNIST: the two-layer network of every tutorial: handwritten digits to ten classes.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class MNIST:
    """Builds the graph: image (B, 28, 28) -> logits (B, classes)."""

    def __init__(self, weights: str | Path) -> None:
        self.weights, self.used = load_file(weights), {}

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 28, 28], ov.Type.f32, name="image")
        logits = ops.reshape(image, [0, 784], special_zero=True)
        logits = self.linear(ops.relu(self.linear(logits, "linear1")), "linear2")
        model = ov.Model([logits], [image], "MNIST")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return MNIST(weights).build()
