"""WaveNet (van den Oord et al. 2016): of each sample of sound, its class by those before.

Verified with openvino 2026.4.1.
"""

from pathlib import Path

import openvino as ov
from openvino import opset16 as ops
from safetensors.numpy import load_file


class WaveNet:
    """Builds the graph: sound (B, L) -> logits (B, classes, L)."""

    def __init__(self, weights: str | Path, layers: int = 30, cycle: int = 10) -> None:
        self.weights, self.used = load_file(weights), {}
        self.layers, self.cycle = layers, cycle

    def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:
        array = self.used.setdefault(name, self.weights[name])
        array = array if shape is None else array.reshape(shape)
        return ops.constant(array, name=name, shared_memory=True)

    def conv(
        self, x: ov.Output, name: str, pad: tuple[tuple[int, int], ...], dilation: int = 1
    ) -> ov.Node:
        weight = self.constant(f"{name}.weight")
        y = ops.convolution(x, weight, [1], *zip(*pad, strict=True), [dilation])
        return ops.add(y, self.constant(f"{name}.bias", [1, -1, 1]), name=name)

    def gated(self, x: ov.Output, name: str, dilation: int) -> tuple[ov.Node, ov.Node]:
        """A causal convolution with holes, half of which gates the other half.

        x (B, C, L) -> y (B, C, L), skip (B, C, L).
        """
        h = self.conv(x, f"{name}.conv", pad=((dilation, 0),), dilation=dilation)
        content, gate = ops.split(h, 1, 2).outputs()
        h = ops.multiply(ops.tanh(content), ops.sigmoid(gate))
        skip = self.conv(h, f"{name}.skip", pad=((0, 0),))
        y = ops.add(x, self.conv(h, f"{name}.mix", pad=((0, 0),)))
        return y, skip

    def build(self) -> ov.Model:
        sound = ops.parameter([-1, -1], ov.Type.i32, name="sound")
        h = ops.transpose(ops.gather(self.constant("embedding.weight"), sound, 0), [0, 2, 1])
        skips = []
        for i in range(self.layers):
            h, skip = self.gated(h, f"layers.{i}", 2 ** (i % self.cycle))
            skips.append(skip)
        logits = ops.concat([ops.unsqueeze(each, [0]) for each in skips], 0)
        logits = ops.reduce_sum(logits, [0], keep_dims=False)
        logits = self.conv(ops.relu(ops.add(h, logits)), "conv1", pad=((0, 0),))
        logits = self.conv(ops.relu(logits), "conv2", pad=((0, 0),))
        model = ov.Model([logits], [sound], "WaveNet")
        model.output(0).set_names({"logits"})
        if extra := (self.weights.keys() - self.used.keys()):
            raise ValueError(f"the model has no use for {sorted(extra)}")
        return model


def build(weights: str | Path, **config: int) -> ov.Model:
    """Return the graph with the weights of a safetensors file.

    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.
    """
    return WaveNet(weights, **config).build()
