"""Brings a graph down to what ONNX has nodes for: everything else is written as its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Node, Value
from ...compiler.passes.expand import Recording, apply_body
from . import images
from .places import PLACED
from .rules import ROWS, pool_window

TRILU = ("bool", "i64", "f32", "f64", "f16", "bf16")
"""The element types for which runtimes have the triangle of a matrix."""


def _triangle(n: Node) -> bool:
    return n.output.type.dtype not in TRILU


def _no_axes(n: Node) -> bool:
    return bool(n.attrs["axes"] == ())


def _layer_norm(n: Node) -> bool:
    """LayerNormalization is over all axes from one on, and its weight has a shape that is known."""
    type, axes = n.output.type, n.attrs["axes"]
    trailing = tuple(axes) == tuple(range(axes[0], type.rank))
    return not trailing or not all(isinstance(size, int) for size in type.shape[axes[0] :])


def _unknown_channels(n: Node) -> bool:
    return n.outputs[0].type.rank < 3 or not isinstance(n.outputs[0].type.shape[1], int)


def _batch_norm(n: Node) -> bool:
    """Statistics of the batch would be other ones in ONNX, where the variance is biased."""
    channels = n.inputs[3].type.shape[0] if n.inputs[3] is not None else None
    return bool(n.attrs["training"]) or not isinstance(channels, int)


def _dropout(n: Node) -> bool:
    if n.attrs["training"] and n.attrs["rate"] and n.inputs[1] is None:
        raise MlcError("unsupported", "an ONNX file draws no noise: dropout in training", n.span)
    return bool(n.attrs["training"] and n.attrs["rate"])


def _pool(n: Node) -> bool:
    """Pads must be numbers; with `ceil` and `count_pad` the last window counts fewer elements."""
    if n.attrs["ceil"] and n.attrs.get("count_pad"):
        return True
    return not all(isinstance(pad, int) for pair in pool_window(n)[1] for pad in pair)


def _not_single(n: Node) -> bool:
    """Runtimes have recurrent layers in f32 alone."""
    return n.outputs[0].type.dtype != "f32"


BODIES: Mapping[str, Callable[[Node], bool]] = {
    "logsumexp": _no_axes,
    "l2_norm": _no_axes,
    "tril": _triangle,
    "triu": _triangle,
    "layer_norm": _layer_norm,
    "group_norm": _unknown_channels,
    "instance_norm": _unknown_channels,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("rnn", "lstm", "gru"), _not_single),
    "dropout": _dropout,
    "channel_dropout": _dropout,
    "drop_path": _dropout,
    "max_pool": _pool,
    "avg_pool": _pool,
    **PLACED,
    "resize": images.resize_by_body,
    "pixel_shuffle": images.shuffle_by_body,
    "pixel_unshuffle": images.unshuffle_by_body,
    "local_response_norm": images.local_by_body,
}
"""Ops with a row, and when a node is written as its body all the same."""


def native(node: Node) -> bool:
    """Whether ONNX has a form of its own for this node; the rest is written as its body."""
    name = node.op.name
    return name in ROWS and not (name in BODIES and BODIES[name](node))


def lower(graph: Graph) -> tuple[dict[Node, str], dict[Value, str]]:
    """Writes out what has no row; gives the path of every node, and that of each layer's result.

    A node has the path of its layer, where it is (part of) one, else that of its scope. Raises
    MlcError `unsupported` for an op that has neither row nor body.
    """
    paths: dict[Node, str] = {}
    results: dict[Value, str] = {}
    for node in tuple(graph):
        layer, output = node.layer, node.outputs[0]
        _lower(node, layer.path if layer else node.scope.path, paths)
        if layer is not None:
            results[graph.current(output)] = layer.path
    return paths, results


def _lower(node: Node, path: str, paths: dict[Node, str]) -> None:
    if native(node):
        paths[node] = path
        for block in node.blocks:
            for inner in tuple(block):
                _lower(inner, path, paths)
        return
    if node.op.body is None:
        raise MlcError("unsupported", f"{node.op.name} has no form in ONNX", node.span)
    assert node.graph is not None
    b = Recording.like(node)
    for old, new in zip(node.outputs, apply_body(b, node), strict=True):
        node.graph.replace(old, new)
    node.graph.erase(node)
    for made in b.made:
        _lower(made, path, paths)


def needed(graph: Graph) -> set[Node]:
    """The nodes that something which leaves the graph depends on."""
    found: set[Node] = set()
    waiting = [value.node for value in graph.live()]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [value.node for value in node.values]
    return found
