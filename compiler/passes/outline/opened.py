"""Blocks while they are read: their nodes take what is outside itself, not the inputs for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...graph import Graph, Node, Value


def own_inputs(node: Node) -> int:
    """How many inputs of its blocks a node with blocks gives anew each time, before those that are
    the same each time."""
    carried: int = node.attrs.get("carried", 0)
    scanned: int = node.attrs.get("scanned", 0)
    return carried + scanned


@contextmanager
def opened(graphs: Sequence[Graph]) -> Iterator[Mapping[Value, Value]]:
    """Within it, nodes in blocks take tensors and weights of outside; yields what stands for each
    input of a block that is the same each time."""
    outside: dict[Value, Value] = {}
    before: list[tuple[Node, tuple[Value | None, ...]]] = []
    for graph in graphs:
        _open(graph, outside, before)
    try:
        yield outside
    finally:
        for node, inputs in before:
            node.set_inputs(inputs)


def _open(
    graph: Graph,
    outside: dict[Value, Value],
    before: list[tuple[Node, tuple[Value | None, ...]]],
) -> None:
    for node in graph:
        if any(value in outside for value in node.values):
            before.append((node, node.inputs))
            node.set_inputs([v if v is None else outside.get(v, v) for v in node.inputs])
        for block in node.blocks:
            given = node.values[len(node.values) - len(block.inputs) :]
            pairs = [*zip(block.inputs, given, strict=True)]
            outside.update(pairs[own_inputs(node) :])
            _open(block, outside, before)


__all__ = ["opened", "own_inputs"]
