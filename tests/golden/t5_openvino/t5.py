"""T5: an encoder and decoder as T5 (Raffel et al. 2019), with one embedding for all of it; these
numbers make the small one. `keep` is false where a source is padded.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class T5:
    """Builds the graph: source (B, S), target (B, T), keep (B, S) -> logits (B, T, vocab)."""

    def __init__(
        self, weights: str | Path, D: int = 512, layers: int = 6, heads: int = 8, K: int = 64
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.D, self.layers, self.heads, self.K = D, layers, heads, K

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def masked_attention(
        self,
        q: ov.Output,
        k: ov.Output,
        v: ov.Output,
        mask: ov.Output,
        scale: np.float32 | None = None,
    ) -> ov.Node:
        """Attention in which a query that may attend to nothing gets zeros."""
        y = ops.scaled_dot_product_attention(q, k, v, mask, scale)
        some = ops.reduce_logical_or(mask, [-1], keep_dims=True)
        return ops.select(some, y, np.float32(0))

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        return ops.matmul(
            x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True, name=name
        )

    def rms_norm(self, x: ov.Output, name: str) -> ov.Node:
        scale = ops.sqrt(
            ops.add(ops.reduce_mean(ops.multiply(x, x), [-1], keep_dims=True), np.float32(1e-6))
        )
        y = ops.divide(x, scale)
        return ops.multiply(y, self.constant(f"{name}.weight"), name=name)

    def self_attention(
        self, x: ov.Output, name: str, bias: ov.Output, mask: ov.Output, heads: int, K: int
    ) -> ov.Node:
        """Attention of a sequence to itself; `bias` is added to the scores, which are not scaled.

        x (B, T, D), bias (1, heads, T, T), mask (M, 1, R, T) -> y (B, T, D).
        """
        q = self.linear(x, f"{name}.query")
        q = ops.transpose(ops.reshape(q, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        h = ops.reshape(self.linear(x, f"{name}.key"), [0, 0, heads, K], special_zero=True)
        v = self.linear(x, f"{name}.value")
        v = ops.transpose(ops.reshape(v, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        h = ops.transpose(h, [0, 2, 3, 1])
        h = ops.matmul(q, h, transpose_a=False, transpose_b=False)
        h = ops.select(mask, ops.add(h, bias), np.float32(-3e38))
        h = ops.select(mask, ops.softmax(h, 3), np.float32(0.0))
        h = ops.matmul(h, v, transpose_a=False, transpose_b=False)
        h = ops.reshape(ops.transpose(h, [0, 2, 1, 3]), [0, 0, K * heads], special_zero=True)
        return self.linear(h, f"{name}.output")

    def feed(self, x: ov.Output, name: str) -> ov.Node:
        """Two linear layers without biases: (B, T, D) -> (B, T, D)."""
        return self.linear(ops.relu(self.linear(x, f"{name}.linear1")), f"{name}.linear2")

    def encoder(
        self, x: ov.Output, name: str, bias: ov.Output, mask: ov.Output, heads: int, K: int
    ) -> ov.Node:
        """A layer that sees all of its sequence.

        x (B, S, D), bias (1, heads, S, S), mask (B, 1, 1, S) -> y (B, S, D).
        """
        h = self.rms_norm(x, f"{name}.rms_norm1")
        h = ops.add(x, self.self_attention(h, f"{name}.self_attention", bias, mask, heads, K))
        return ops.add(h, self.feed(self.rms_norm(h, f"{name}.rms_norm2"), f"{name}.feed"))

    def cross_attention(
        self, x: ov.Output, name: str, memory: ov.Output, mask: ov.Output, heads: int, K: int
    ) -> ov.Node:
        """Attention to what the encoder made; `mask` is true where that may be seen.

        x (B, T, D), memory (B, S, D), mask (B, 1, 1, S) -> y (B, T, D).
        """
        q = self.linear(x, f"{name}.query")
        q = ops.transpose(ops.reshape(q, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        k = self.linear(memory, f"{name}.key")
        k = ops.transpose(ops.reshape(k, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        v = self.linear(memory, f"{name}.value")
        v = ops.transpose(ops.reshape(v, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        h = self.masked_attention(q, k, v, mask, np.float32(1.0))
        h = ops.reshape(ops.transpose(h, [0, 2, 1, 3]), [0, 0, K * heads], special_zero=True)
        return self.linear(h, f"{name}.output")

    def decoder(
        self,
        x: ov.Output,
        name: str,
        memory: ov.Output,
        bias: ov.Output,
        before: ov.Output,
        mask: ov.Output,
        heads: int,
        K: int,
    ) -> ov.Node:
        """A layer that sees what stands before, and all of what the encoder made.

        x (B, T, D), memory (B, S, D), bias (1, heads, T, T), before (1, 1, T, T), mask (B, 1,
        1, S) -> y (B, T, D).
        """
        h = self.rms_norm(x, f"{name}.rms_norm1")
        h = self.self_attention(h, f"{name}.self_attention", bias, before, heads, K)
        h = ops.add(x, h)
        c = self.rms_norm(h, f"{name}.rms_norm2")
        c = self.cross_attention(c, f"{name}.cross_attention", memory, mask, heads, K)
        c = ops.add(h, c)
        return ops.add(c, self.feed(self.rms_norm(c, f"{name}.rms_norm3"), f"{name}.feed"))

    def build(self) -> ov.Model:
        source = ops.parameter([-1, -1], ov.Type.i32, name="source")
        target = ops.parameter([-1, -1], ov.Type.i32, name="target")
        keep = ops.parameter([-1, -1], ov.Type.boolean, name="keep")
        S = ops.gather(ops.shape_of(source, "i32"), [1], 0)
        T = ops.gather(ops.shape_of(target, "i32"), [1], 0)
        mask = ops.unsqueeze(keep, [1, 2])
        bias = ops.range(0, ops.squeeze(S, 0), 1, "i32")
        bias = ops.subtract(bias, ops.reshape(bias, [0, 1], special_zero=True))
        bias2 = ops.abs(bias)
        bias3 = ops.minimum(bias2, np.int32(8))
        bias4 = ops.constant([12, 16, 23, 32, 46, 64, 91], ov.Type.i32)
        bias2 = ops.less_equal(bias4, ops.unsqueeze(bias2, [2]))
        bias2 = ops.add(bias3, ops.reduce_sum(ops.convert(bias2, "i32"), [2], keep_dims=False))
        bias = ops.multiply(ops.convert(ops.less(np.int32(0), bias), "i32"), np.int32(16))
        bias = ops.gather(self.constant("far.weight"), ops.add(bias2, bias), 0)
        bias = ops.unsqueeze(ops.transpose(bias, [2, 0, 1]), [0])
        m = ops.gather(self.constant("token.weight"), source, 0)
        for i in range(self.layers):
            m = self.encoder(m, f"encoder.{i}", bias, mask, self.heads, self.K)
        m = self.rms_norm(m, "rms_norm1")
        before = ops.range(0, ops.squeeze(T, 0), 1, "i32")
        before = ops.unsqueeze(ops.less_equal(before, ops.unsqueeze(before, [1])), [0, 1])
        bias = ops.range(0, ops.squeeze(T, 0), 1, "i32")
        bias2 = ops.reshape(bias, [0, 1], special_zero=True)
        bias = ops.maximum(ops.negative(ops.subtract(bias, bias2)), np.int32(0))
        bias2 = ops.minimum(bias, np.int32(16))
        bias3 = ops.constant(
            [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113], ov.Type.i32
        )
        bias = ops.unsqueeze(bias, [2])
        bias = ops.reduce_sum(ops.convert(ops.less_equal(bias3, bias), "i32"), [2], keep_dims=False)
        bias = ops.gather(self.constant("past.weight"), ops.add(bias2, bias), 0)
        bias = ops.unsqueeze(ops.transpose(bias, [2, 0, 1]), [0])
        h = ops.gather(self.constant("token.weight"), target, 0)
        for i in range(self.layers):
            h = self.decoder(h, f"decoder.{i}", m, bias, before, mask, self.heads, self.K)
        h = self.rms_norm(h, "rms_norm2")
        logits = ops.divide(h, np.float32(self.D**0.5))
        logits = ops.matmul(
            logits, self.constant("token.weight"), transpose_a=False, transpose_b=True
        )
        model = ov.Model([logits], [source, target, keep], "T5")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return T5(weights, **config).build()
