"""ViT: the vision transformer (Dosovitskiy et al. 2020): an image as a sentence of patches.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class ViT:
    """Builds the graph: image (B, 3, size, size) -> logits (B, classes)."""

    def __init__(
        self,
        weights: str | Path,
        size: int = 224,
        patch: int = 16,
        D: int = 768,
        layers: int = 12,
        heads: int = 12,
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.size, self.patch, self.D, self.layers, self.heads = size, patch, D, layers, heads

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def shape(self, *sizes: int | ov.Node) -> ov.Node:
        """A shape of which some sizes are tensors."""
        parts = [np.int32([s]) if isinstance(s, int) else s for s in sizes]
        return ops.concat(parts, 0)

    def layer_norm(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-6, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def attention(self, x: ov.Output, name: str, heads: int) -> ov.Node:
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

    def conv(self, x: ov.Output, name: str, stride: int) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [stride] * 2, [0, 0], [0, 0], [1, 1])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1, 1]), name=name)

    def layer(self, x: ov.Output, name: str, heads: int) -> ov.Node:
        """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""
        h = self.layer_norm(x, f"{name}.layer_norm1")
        h = ops.add(x, self.attention(h, f"{name}.attention", heads))
        h2 = self.linear(self.layer_norm(h, f"{name}.layer_norm2"), f"{name}.linear1")
        return ops.add(h, self.linear(ops.gelu(h2, "erf"), f"{name}.linear2"))

    def build(self) -> ov.Model:
        image = ops.parameter([-1, 3, self.size, self.size], ov.Type.f32, name="image")
        B = ops.gather(ops.shape_of(image, "i32"), [0], 0)
        if self.size % self.patch != 0:
            raise ValueError(f"patches of {self.patch} do not fill {self.size}")
        tokens = ops.transpose(self.conv(image, "conv", self.patch), [0, 2, 3, 1])
        tokens = ops.reshape(
            tokens,
            [0, self.size // self.patch * (self.size // self.patch), self.D],
            special_zero=True,
        )
        h = ops.broadcast(self.constant("start"), self.shape(B, 1, self.D))
        h = ops.add(ops.concat([h, tokens], 1), self.constant("position"))
        for i in range(self.layers):
            h = self.layer(h, f"layers.{i}", self.heads)
        h = self.layer_norm(h, "layer_norm")
        logits = self.linear(ops.gather(h, np.int32(0), 1), "linear")
        model = ov.Model([logits], [image], "ViT")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return ViT(weights, **config).build()
