"""MoE: a language model of a mixture of experts, of the size of Mixtral's layers (Jiang et al.
2024).

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class MoE:
    """Builds the graph: ids (B, T <= 4096) -> logits (B, T, vocab), load ()."""

    def __init__(
        self,
        weights: str | Path,
        layers: int = 16,
        heads: int = 16,
        experts: int = 8,
        chosen: int = 2,
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers, self.heads, self.experts_, self.chosen = layers, heads, experts, chosen

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        return ops.matmul(
            x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True, name=name
        )

    def rms_norm(self, x: ov.Output, name: str) -> ov.Node:
        scale = ops.sqrt(
            ops.add(ops.reduce_mean(ops.multiply(x, x), [-1], keep_dims=True), np.float32(1e-5))
        )
        y = ops.divide(x, scale)
        return ops.multiply(y, self.constant(f"{name}.weight"), name=name)

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

    def swi_glu(self, x: ov.Output, name: str) -> ov.Node:
        """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

        (B, T, D) -> (B, T, D).
        """
        gate = ops.swish(self.linear(x, f"{name}.gate"))
        return self.linear(ops.multiply(gate, self.linear(x, f"{name}.up")), f"{name}.down")

    def experts(
        self, x: ov.Output, name: str, experts: int, chosen: int
    ) -> tuple[ov.Node, ov.Node]:
        """The `chosen` experts that a router scores highest for each position, weighed by their
        scores; `load` is 1 where all are used alike, and grows with how unevenly they are
        (Fedus et al. 2021).

        x (B, T, D) -> y (B, T, D), load ().
        """
        if chosen > experts:
            raise ValueError(f"{chosen} of {experts} experts")
        scores = self.linear(x, f"{name}.router")
        best, index = ops.topk(scores, np.int32(chosen), 2, "max", "value", stable=True).outputs()
        picked = ops.range(0, experts, 1, "i32")
        picked = ops.convert(ops.equal(ops.unsqueeze(index, [3]), picked), "f32")
        share = ops.unsqueeze(ops.softmax(best, 2), [3])
        share = ops.reduce_sum(ops.multiply(share, picked), [2], keep_dims=False)
        found = [self.swi_glu(x, f"{name}.experts.{i}") for i in range(experts)]
        y = ops.unsqueeze(share, [3])
        y2 = ops.concat([ops.unsqueeze(each, [2]) for each in found], 2)
        y = ops.reduce_sum(ops.multiply(y, y2), [2], keep_dims=False)
        used = ops.reduce_sum(picked, [2], keep_dims=False)
        used = ops.divide(ops.reduce_mean(used, [0, 1], keep_dims=False), np.float32(chosen))
        load = ops.softmax(scores, 2)
        load = ops.multiply(used, ops.reduce_mean(load, [0, 1], keep_dims=False))
        load = ops.multiply(np.float32(experts), ops.reduce_sum(load, [0], keep_dims=False))
        return y, load

    def layer(
        self, x: ov.Output, name: str, heads: int, experts: int, chosen: int
    ) -> tuple[ov.Node, ov.Node]:
        """Pre-norm transformer layer with experts: x (B, T, D) -> y (B, T, D), load ()."""
        h = self.rms_norm(x, f"{name}.rms_norm1")
        h = ops.add(x, self.attention(h, f"{name}.attention", heads))
        h2 = self.rms_norm(h, f"{name}.rms_norm2")
        found, load = self.experts(h2, f"{name}.experts", experts, chosen)
        return ops.add(h, found), load

    def build(self) -> ov.Model:
        ids = ops.parameter([-1, ov.Dimension(1, 4096)], ov.Type.i32, name="ids")
        T = ops.gather(ops.shape_of(ids, "i32"), [1], 0)
        h = ops.gather(self.constant("embedding.weight"), ids, 0)
        h = ops.add(h, ops.slice(self.constant("position"), [0], T, [1], [0]))
        loads = []
        for i in range(self.layers):
            h, load = self.layer(h, f"layers.{i}", self.heads, self.experts_, self.chosen)
            loads.append(load)
        logits = self.linear(self.rms_norm(h, "rms_norm"), "linear")
        load = ops.concat([ops.unsqueeze(each, [0]) for each in loads], 0)
        load = ops.reduce_mean(load, [0], keep_dims=False)
        model = ov.Model([logits, load], [ids], "MoE")
        model.output(0).set_names({"logits"})
        model.output(1).set_names({"load"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return MoE(weights, **config).build()
