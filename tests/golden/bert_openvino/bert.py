"""BERT: an encoder of sentences as BERT has it (Devlin et al. 2018); `keep` is false where one is
padded.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class BERT:
    """Builds the graph: ids (B, T <= 512), segment (B, T), keep (B, T) -> hidden (B, T, D),
    pooled (B, D).
    """

    def __init__(self, weights: str | Path, layers: int = 12, heads: int = 12) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers, self.heads = layers, heads

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def attention(self, x: ov.Output, name: str, keep: ov.Output, heads: int) -> ov.Node:
        """Multi-head attention over (B, T, D)."""
        q, k, v = (
            ops.transpose(
                ops.reshape(self.linear(x, f"{name}.{part}"), [0, 0, heads, -1], special_zero=True),
                [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )
        allowed = ops.unsqueeze(keep, [1, 2])
        y = ops.scaled_dot_product_attention(q, k, v, allowed)
        some = ops.reduce_logical_or(allowed, [-1], keep_dims=True)
        y = ops.select(some, y, np.float32(0))
        y = ops.reshape(ops.transpose(y, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)
        return self.linear(y, f"{name}.output")

    def layer_norm(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-12, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def layer(self, x: ov.Output, name: str, keep: ov.Output, heads: int) -> ov.Node:
        """Post-norm transformer layer: x (B, T, D), keep (B, T) -> y (B, T, D)."""
        h = self.attention(x, f"{name}.attention", keep, heads)
        h = self.layer_norm(ops.add(x, h), f"{name}.layer_norm1")
        h2 = self.linear(ops.gelu(self.linear(h, f"{name}.linear1"), "erf"), f"{name}.linear2")
        return self.layer_norm(ops.add(h, h2), f"{name}.layer_norm2")

    def build(self) -> ov.Model:
        ids = ops.parameter([-1, ov.Dimension(1, 512)], ov.Type.i32, name="ids")
        segment = ops.parameter([-1, ov.Dimension(1, 512)], ov.Type.i32, name="segment")
        keep = ops.parameter([-1, ov.Dimension(1, 512)], ov.Type.boolean, name="keep")
        T = ops.gather(ops.shape_of(ids, "i32"), [1], 0)
        h = ops.gather(self.constant("word.weight"), ids, 0)
        h2 = ops.gather(self.constant("type.weight"), segment, 0)
        h = ops.add(ops.add(h, h2), ops.slice(self.constant("position"), [0], T, [1], [0]))
        h = self.layer_norm(h, "layer_norm")
        for i in range(self.layers):
            h = self.layer(h, f"layers.{i}", keep, self.heads)
        pooled = ops.tanh(self.linear(ops.gather(h, np.int32(0), 1), "pooler"))
        model = ov.Model([h, pooled], [ids, segment, keep], "BERT")
        model.output(0).set_names({"hidden"})
        model.output(1).set_names({"pooled"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return BERT(weights, **config).build()
