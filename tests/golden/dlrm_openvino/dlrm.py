"""DLRM: a recommender as DLRM (Naumov et al. 2019): what is known in numbers and in categories
meets by dot products. All categories share one table, and the numbers of its rows.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class DLRM:
    """Builds the graph: dense (B, numbers), sparse (B, categories) -> click (B,)."""

    def __init__(
        self,
        weights: str | Path,
        numbers: int = 13,
        categories: int = 26,
        bottom: tuple[int, ...] = (512, 256),
        top: tuple[int, ...] = (512, 256),
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.numbers, self.categories, self.bottom, self.top = numbers, categories, bottom, top

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def tower(self, x: ov.Output, name: str, widths: tuple[int, ...]) -> ov.Node:
        """Linear layers with relu after each: (B, N) -> (B, widths[-1])."""
        h = x
        for i, _ in enumerate(widths):
            h = ops.relu(self.linear(h, f"{name}.layers.{i}"))
        return h

    def build(self) -> ov.Model:
        dense = ops.parameter([-1, self.numbers], ov.Type.f32, name="dense")
        sparse = ops.parameter([-1, self.categories], ov.Type.i32, name="sparse")
        known = ops.relu(self.linear(self.tower(dense, "tower1", self.bottom), "linear1"))
        features = ops.unsqueeze(known, [1])
        features2 = ops.gather(self.constant("embedding.weight"), sparse, 0)
        features = ops.concat([features, features2], 1)
        dots = ops.transpose(features, [0, 2, 1])
        dots = ops.matmul(features, dots, transpose_a=False, transpose_b=False)
        h = ops.reshape(
            dots,
            [0, self.categories * self.categories + 2 * self.categories + 1],
            special_zero=True,
        )
        h = ops.concat([known, h], 1)
        click = self.tower(h, "tower2", self.top)
        click = ops.sigmoid(ops.squeeze(self.linear(click, "linear2"), [1]))
        model = ov.Model([click], [dense, sparse], "DLRM")
        model.output(0).set_names({"click"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int | tuple[int, ...]) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return DLRM(weights, **config).build()
