"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class GPT:
    """Builds the graph: ids (B, T <= 1024) -> logits (B, T, vocab)."""

    def __init__(self, weights: str | Path, layers: int = 12, heads: int = 12) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers, self.heads = layers, heads

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def layer_norm(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.mvn(x, [-1], normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt")
        return ops.add(
            ops.multiply(y, self.constant(f"{name}.weight")),
            self.constant(f"{name}.bias"),
            name=name,
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def attention(self, x: ov.Output, name: str, heads: int) -> ov.Node:
        """Causal multi-head attention over (B, T, D)."""
        q, k, v = (
            ops.transpose(
                ops.reshape(self.linear(x, f"{name}.{part}"), [0, 0, heads, -1], special_zero=True),
                [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )
        y = ops.scaled_dot_product_attention(q, k, v, causal=True)
        y = ops.reshape(ops.transpose(y, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)
        return self.linear(y, f"{name}.output")

    def layer(self, x: ov.Output, name: str, heads: int) -> ov.Node:
        """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""
        D = x.get_output_partial_shape(0)[2].get_length()
        if D % heads != 0:
            raise ValueError(f"width {D} does not divide into {heads} heads")
        h = self.layer_norm(x, f"{name}.layer_norm1")
        h = ops.add(x, self.attention(h, f"{name}.attention", heads))
        h2 = self.linear(self.layer_norm(h, f"{name}.layer_norm2"), f"{name}.linear1")
        return ops.add(h, self.linear(ops.gelu(h2, "erf"), f"{name}.linear2"))

    def build(self) -> ov.Model:
        ids = ops.parameter([-1, ov.Dimension(1, 1024)], ov.Type.i32, name="ids")
        T = ops.gather(ops.shape_of(ids, "i32"), [1], 0)
        h = ops.gather(self.constant("token.weight"), ids, 0)
        h = ops.add(h, ops.slice(self.constant("position"), [0], T, [1], [0]))
        for i in range(self.layers):
            h = self.layer(h, f"layers.{i}", self.heads)
        logits = self.layer_norm(h, "layer_norm")
        logits = ops.matmul(
            logits, self.constant("token.weight"), transpose_a=False, transpose_b=True
        )
        model = ov.Model([logits], [ids], "GPT")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return GPT(weights, **config).build()
