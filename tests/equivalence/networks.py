"""A small network as a graph, and as a handwritten PyTorch file."""

from __future__ import annotations

from pathlib import Path

from mlc.backends.artefact import Artefact, Interface, Port
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Definition, Graph, Input, Layer, Scope, Type, Value, Weight
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from mlc.compiler.weight import Entry, WeightMap

SOURCE = """
import torch
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(17, 12)
        self.drop = nn.Dropout(0.25)
        self.linear2 = nn.Linear(12, 10)

    def forward(self, x):
        return self.linear2(self.drop(torch.relu(self.linear1(x))))


def build(weights=None):
    model = Net()
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
"""


def network() -> Graph:
    """x: f32[B, 17] -> linear(12) -> relu -> dropout(0.25) -> linear(10) -> y."""
    root = Scope("model", Definition("Net", "model"))
    graph = Graph("Net", root)
    x = Input("x", Type("f32", (symbol("B"), 17)))
    graph.inputs.append(x)
    b = Build(graph)
    hidden = b(OPS["relu"], _linear(b, x, 12, "linear1"))
    graph.outputs["y"] = _linear(b, b(OPS["dropout"], hidden, rate=0.25), 10, "linear2")
    return graph


def _linear(b: Build, x: Value, features: int, name: str) -> Value:
    op = OPS["linear"]
    layer = Layer(op, b.scope, name, None, name, {}, {}, 0)
    assert op.params is not None
    for part, param in op.params(x.type, features=features, bias=True).items():
        weight = Weight(
            f"{name}.{part}", param.type, param.init, trainable=True, scope=b.scope, part=part,
            layer=layer,
        )  # fmt: skip
        layer.weights[part] = b.graph.weights[weight.path] = weight
    attrs = {"features": features, "bias": True}
    return b.node(op, [x, *layer.weights.values()], attrs, layer=layer).output


def save(directory: Path, source: str = SOURCE) -> Path:
    """The artefact folder of a PyTorch source for `network`."""
    interface = Interface(
        "Net", (Port("x", "x", "f32", ("B", "17")),), (Port("y", "y", "f32", ("B", "10")),)
    )
    weights = WeightMap([Entry(path, (path,)) for path in network().weights])
    return Artefact("pytorch", "net", {"net.py": source}, weights, interface).save(directory)
