"""Common subexpressions: of nodes that compute the same, the first stays."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping
from typing import Any

from ..graph import Graph, Node, Value
from .rewrite import whole


def cse(graph: Graph) -> int:
    """Merges pure nodes of one scope with equal op, inputs and attributes; returns how many.

    Attributes are equal only if they also came from equal expressions, so that the merge holds for
    other hyper-parameters; nodes of different arms of an `if` are kept apart for the same reason.
    """
    barred: set[Node] = set()
    while True:
        merges = _merges(graph, barred)
        kept = set(whole(graph, merges))
        if len(kept) == len(merges):
            break
        barred.update(node for node in merges if node not in kept)
    for node, first in merges.items():
        for old, new in zip(node.outputs, first.outputs, strict=True):
            graph.replace(old, new)
        graph.erase(node)
    return len(merges)


def _merges(graph: Graph, barred: set[Node]) -> dict[Node, Node]:
    """Node -> the earlier one that computes the same, for all but the `barred`."""
    merges: dict[Node, Node] = {}
    same: dict[Value, Value] = {}
    seen: dict[Hashable, Node] = {}
    for node in graph:
        if node.op.effect != "pure" or node.blocks:
            continue
        inputs = node.inputs
        if same:
            inputs = tuple(same.get(v, v) if v is not None else None for v in inputs)
        first = seen.setdefault((node.op, inputs, node.scope, _rest(node)), node)
        if first is not node and node not in barred:
            merges[node] = first
            same.update(zip(node.outputs, first.outputs, strict=True))
    return merges


def _rest(node: Node) -> Hashable:
    """What else tells nodes apart."""
    if not (node.attrs or node.exprs or node.arms or node.layer):
        return None
    exprs = tuple(sorted((key, ast.dump(e)) for key, e in node.exprs.items()))
    return tuple(frozen(v) for v in node.attrs.values()), exprs, node.arms, node.layer


def frozen(value: Any) -> Hashable:
    """A hashable stand-in that is equal only for values that mean the same."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((key, frozen(item)) for key, item in value.items())
    if isinstance(value, float):
        return "float", value.hex()
    if hasattr(value, "tobytes"):
        return str(value.dtype), value.shape, value.tobytes()
    return type(value), value
