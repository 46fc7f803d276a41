"""Llama: a decoder as Llama is one (Touvron et al. 2023), of the size of TinyLlama: S tokens are
in the cache, T are new.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class Llama:
    """Builds the graph: ids (B, T), past_keys (layers, B, groups, S, K), past_values (layers,
    B, groups, S, K) -> logits (B, T, vocab), keys (layers, B, groups, S + T, K), values
    (layers, B, groups, S + T, K).
    """

    def __init__(
        self, weights: str | Path, layers: int = 22, heads: int = 32, groups: int = 4, K: int = 64
    ) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers, self.heads, self.groups, self.K = layers, heads, groups, K

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

    def angles(
        self, position: ov.Output, name: str, width: int, base: float = 10000.0
    ) -> tuple[ov.Node, ov.Node]:
        """Sines and cosines of the angles by which pairs of elements turn at each position.

        position (T,) -> cosine (T, width // 2), sine (T, width // 2).
        """
        frequency = ops.range(0, width // 2, 1, "i32")
        frequency = ops.divide(ops.convert(frequency, "f32"), np.float32(width / 2))
        frequency = ops.power(np.float32(base), ops.negative(frequency))
        angle = ops.multiply(ops.unsqueeze(ops.convert(position, "f32"), [1]), frequency)
        return ops.cos(angle), ops.sin(angle)

    def rotary(self, x: ov.Output, name: str, cosine: ov.Output, sine: ov.Output) -> ov.Node:
        """Turns the first half of the elements with the second (Su et al. 2021).

        x (B, N, T, K), cosine (T, K // 2), sine (T, K // 2) -> y (B, N, T, K).
        """
        a, b = ops.split(x, 3, 2).outputs()
        h = ops.subtract(ops.multiply(a, cosine), ops.multiply(b, sine))
        return ops.concat([h, ops.add(ops.multiply(b, cosine), ops.multiply(a, sine))], 3)

    def attention(
        self,
        x: ov.Output,
        name: str,
        past_keys: ov.Output,
        past_values: ov.Output,
        cosine: ov.Output,
        sine: ov.Output,
        heads: int,
        groups: int,
    ) -> tuple[ov.Node, ov.Node, ov.Node]:
        """Attention of fewer heads of keys and values than of queries, to a cache and to what is
        new.

        x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
        2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
        T, K).
        """
        K = past_keys.get_output_partial_shape(0)[3].get_length()
        T = ops.gather(ops.shape_of(x, "i32"), [1], 0)
        S = ops.gather(ops.shape_of(past_keys, "i32"), [2], 0)
        q = self.linear(x, f"{name}.query")
        q = ops.transpose(ops.reshape(q, [0, 0, heads, K], special_zero=True), [0, 2, 1, 3])
        k = self.linear(x, f"{name}.key")
        k = ops.transpose(ops.reshape(k, [0, 0, groups, K], special_zero=True), [0, 2, 1, 3])
        v = self.linear(x, f"{name}.value")
        v = ops.transpose(ops.reshape(v, [0, 0, groups, K], special_zero=True), [0, 2, 1, 3])
        keys = ops.concat([past_keys, self.rotary(k, f"{name}.turn", cosine, sine)], 2)
        values = ops.concat([past_values, v], 2)
        y = self.rotary(q, f"{name}.turn", cosine, sine)
        y2 = ops.unsqueeze(keys, [2])
        y3 = ops.unsqueeze(values, [2])
        y = ops.reshape(y, [0, groups, heads // groups, -1, K], special_zero=True)
        y = ops.multiply(y, np.float32(1.0 / K**0.5))
        y2 = ops.transpose(y2, [0, 1, 2, 4, 3])
        y = ops.matmul(y, y2, transpose_a=False, transpose_b=False)
        y2 = ops.range(0, ops.squeeze(T, 0), 1, "i32")
        y2 = ops.add(ops.unsqueeze(y2, [1]), ops.convert(ops.squeeze(S, 0), "i32"))
        y2 = ops.less_equal(ops.range(0, ops.squeeze(ops.add(S, T), 0), 1, "i32"), y2)
        y = ops.select(y2, y, np.float32(-3e38))
        y = ops.select(y2, ops.softmax(y, 4), np.float32(0.0))
        y = ops.matmul(y, y3, transpose_a=False, transpose_b=False)
        y = ops.reshape(y, [0, heads, -1, K], special_zero=True)
        y = ops.reshape(ops.transpose(y, [0, 2, 1, 3]), [0, 0, K * heads], special_zero=True)
        y = self.linear(y, f"{name}.output")
        return y, keys, values

    def swi_glu(self, x: ov.Output, name: str) -> ov.Node:
        """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

        (B, T, D) -> (B, T, D).
        """
        gate = ops.swish(self.linear(x, f"{name}.gate"))
        return self.linear(ops.multiply(gate, self.linear(x, f"{name}.up")), f"{name}.down")

    def layer(
        self,
        x: ov.Output,
        name: str,
        past_keys: ov.Output,
        past_values: ov.Output,
        cosine: ov.Output,
        sine: ov.Output,
        heads: int,
        groups: int,
    ) -> tuple[ov.Node, ov.Node, ov.Node]:
        """Pre-norm layer of a decoder, which hands its keys and values on.

        x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
        2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
        T, K).
        """
        h = self.rms_norm(x, f"{name}.rms_norm1")
        a, keys, values = self.attention(
            h, f"{name}.attention", past_keys, past_values, cosine, sine, heads, groups
        )
        h = ops.add(x, a)
        y = ops.add(h, self.swi_glu(self.rms_norm(h, f"{name}.rms_norm2"), f"{name}.swi_glu"))
        return y, keys, values

    def build(self) -> ov.Model:
        ids = ops.parameter([-1, -1], ov.Type.i32, name="ids")
        past_keys = ops.parameter(
            [self.layers, -1, self.groups, -1, self.K], ov.Type.f32, name="past_keys"
        )
        past_values = ops.parameter(
            [self.layers, -1, self.groups, -1, self.K], ov.Type.f32, name="past_values"
        )
        S = ops.gather(ops.shape_of(past_keys, "i32"), [3], 0)
        T = ops.gather(ops.shape_of(ids, "i32"), [1], 0)
        h = ops.range(0, ops.squeeze(ops.add(S, T), 0), 1, "i32")
        cosine, sine = self.angles(ops.slice(h, S, [2147483647], [1], [0]), "angles", self.K)
        h = ops.gather(self.constant("embedding.weight"), ids, 0)
        all_keys = []
        all_values = []
        for i in range(self.layers):
            h2 = ops.squeeze(ops.slice(past_keys, [i], [i + 1], [1], [0]), [0])
            h3 = ops.squeeze(ops.slice(past_values, [i], [i + 1], [1], [0]), [0])
            h, k, v = self.layer(h, f"layers.{i}", h2, h3, cosine, sine, self.heads, self.groups)
            all_keys.append(k)
            all_values.append(v)
        keys = ops.concat([ops.unsqueeze(each, [0]) for each in all_keys], 0)
        values = ops.concat([ops.unsqueeze(each, [0]) for each in all_values], 0)
        logits = self.linear(self.rms_norm(h, "rms_norm"), "linear")
        model = ov.Model([logits, keys, values], [ids, past_keys, past_values], "Llama")
        model.output(0).set_names({"logits"})
        model.output(1).set_names({"keys"})
        model.output(2).set_names({"values"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return Llama(weights, **config).build()
