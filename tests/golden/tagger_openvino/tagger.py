"""Tagger: tags the words of sentences (Huang et al. 2015) by an LSTM that reads them from either
end; the rows of a batch are as long as `lengths` says.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class Tagger:
    """Builds the graph: words (B, T), lengths (B,) -> logits (B, T, tags)."""

    def __init__(self, weights: str | Path, layers: int = 2) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers = layers

    def constant(self, name: str) -> ov.Node:
        return ops.constant(
            self.used.setdefault(name, self.weights[name]), name=name, shared_memory=True
        )

    def tensor(self, name: str) -> np.ndarray:
        """A tensor of the weights file."""
        return self.used.setdefault(name, self.weights[name])

    def lstm_weights(self, name: str, end: str) -> list[np.ndarray]:
        """W, R and B of one direction, gates in the order f, i, g, o."""

        def gates(part: str) -> np.ndarray:
            array = self.tensor(f"{name}.{part}_{end}")
            return array.reshape(4, -1, *array.shape[1:])[[1, 0, 2, 3]].reshape(1, *array.shape)

        w, r = gates("weight_ih"), gates("weight_hh")
        b, d = gates("bias_ih"), gates("bias_hh")
        return [w, r, b + d]

    def lstm(
        self, x: ov.Output, name: str, lengths: ov.Output, layers: int
    ) -> tuple[ov.Node, ov.Node]:
        """Layers of bidirectional LSTM over rows (B, T, C) of these lengths: y, last states."""
        hidden = self.tensor(f"{name}.weight_hh_l0").shape[1]
        B, T = (ops.gather(ops.shape_of(x, "i32"), np.int32([i]), 0) for i in (0, 1))
        steps = ops.broadcast(T, B)
        zeros = ops.broadcast(np.float32(0), ops.concat([B, np.int32([1, hidden])], 0))
        places = ops.range(0, ops.squeeze(T, 0), 1, "i32")
        alive = ops.unsqueeze(ops.less(places, ops.unsqueeze(lengths, 1)), 2)
        last = ops.subtract(lengths, np.int32(1))
        h = []
        for layer in range(layers):
            ways = []
            for end in (f"l{layer}", f"l{layer}_reverse"):
                back = end.endswith("reverse")
                rows = ops.reverse_sequence(x, lengths, 0, 1) if back else x
                y = ops.squeeze(
                    ops.lstm_sequence(
                        rows, zeros, zeros, steps, *self.lstm_weights(name, end), hidden, "forward"
                    ).output(0),
                    1,
                )
                h.append(ops.unsqueeze(ops.gather(y, last, 1, batch_dims=1), 0))
                y = ops.select(alive, y, np.float32(0))
                y = ops.reverse_sequence(y, lengths, 0, 1) if back else y
                ways.append(y)
            x = ops.concat(ways, 2)
        return x, ops.concat(h, 0)

    def linear(self, x: ov.Output, name: str) -> ov.Node:
        y = ops.matmul(x, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(y, self.constant(f"{name}.bias"), name=name)

    def build(self) -> ov.Model:
        words = ops.parameter([-1, -1], ov.Type.i32, name="words")
        lengths = ops.parameter([-1], ov.Type.i32, name="lengths")
        h = ops.gather(self.constant("word.weight"), words, 0)
        h, _ = self.lstm(h, "lstm", lengths, self.layers)
        logits = self.linear(h, "linear")
        model = ov.Model([logits], [words, lengths], "Tagger")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return Tagger(weights, **config).build()
