"""What an input's axes are: numbers, bounds where the model's facts give any, or anything."""

from __future__ import annotations

from ...compiler.dim import Dim
from ...compiler.expr import Expr, literal
from ...compiler.graph import Graph
from ..source.tree import tree


def bounds(graph: Graph, size: Dim) -> Expr:
    """`ov.Dimension(1, 1024)` where a fact says `T <= 1024`; -1 where nothing is known."""
    if isinstance(size, int):
        return literal(size)
    low, high = _range(graph, size)
    if high is None and low <= 1:
        return literal(-1)
    return tree("ov.Dimension({low}, {high})", low=literal(low), high=literal(high or -1))


def _range(graph: Graph, size: Dim) -> tuple[int, int | None]:
    low, high = 1, None
    for fact in graph.facts:
        more = 1 if fact.relation == "<" else 0
        if fact.relation not in ("<=", "<"):
            continue
        if fact.left == size and isinstance(fact.right, int):
            top = fact.right - more
            high = top if high is None else min(high, top)
        if fact.right == size and isinstance(fact.left, int):
            low = max(low, fact.left + more)
    return low, high
