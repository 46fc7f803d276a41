"""Brings a graph down to what ONNX has nodes for: everything else is written as its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Node
from ...compiler.op import Build
from ...compiler.ops import OPS
from ...compiler.passes.expand import apply_body, expand
from .rules import ROWS

TRILU = ("bool", "i64", "f32", "f64", "f16", "bf16")
"""The element types for which runtimes have the triangle of a matrix."""

BODIES: Mapping[str, Callable[[Node], bool]] = {
    "logsumexp": lambda n: n.attrs["axes"] == (),
    "l2_norm": lambda n: n.attrs["axes"] == (),
    "tril": lambda n: n.output.type.dtype not in TRILU,
    "triu": lambda n: n.output.type.dtype not in TRILU,
}
"""Ops with a row, and when a node is written as its body all the same."""


def lower(graph: Graph) -> int:
    """Writes out what has no row, and returns how many nodes that were.

    Raises MlcError `unsupported` if one is left.
    """
    keep = {op for name, op in OPS.items() if name in ROWS}
    total, changes = 0, 1
    while changes:
        changes = expand(graph, keep) + sum(map(_write_out, tuple(graph)))
        total += changes
    for node in graph:
        if node.op.name not in ROWS:
            raise MlcError("unsupported", f"{node.op.name} has no form in ONNX", node.span)
    return total


def _write_out(node: Node) -> int:
    if node.op.name not in BODIES or not BODIES[node.op.name](node):
        return 0
    assert node.graph is not None
    for old, new in zip(node.outputs, apply_body(Build.like(node), node), strict=True):
        node.graph.replace(old, new)
    node.graph.erase(node)
    return 1


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
