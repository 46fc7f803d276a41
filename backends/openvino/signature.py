"""What an input's axes are: numbers, bounds where the model's facts give any, or anything.

That a number divides a size cannot be said to OpenVINO: an `ov.Dimension` is an interval.
"""

from __future__ import annotations

import math

from ...compiler import dim
from ...compiler.dim import Dim, symbol, symbols
from ...compiler.expr import Expr, literal
from ...compiler.graph import Fact, Graph
from ...compiler.interval import Interval
from ..source.tree import tree

OPEN: Interval = (1, math.inf)
"""What a size is of which nothing is known."""


def bounds(graph: Graph, size: Dim) -> Expr:
    """`ov.Dimension(1, 1024)` where a fact says `T <= 1024`; -1 where nothing is known."""
    if isinstance(size, int):
        return literal(size)
    limits = {name: _limits(graph.facts, name) for name in symbols(size)}
    low, high = dim.bounds(size, limits)
    low = max(low, 1)
    if high == math.inf and low == 1:
        return literal(-1)
    top = -1 if high == math.inf else int(high)
    return tree("ov.Dimension({low}, {high})", low=literal(int(low)), high=literal(top))


def _limits(facts: list[Fact], name: str) -> Interval:
    """What the facts about one symbol alone let it be."""
    low, high = OPEN
    for fact in facts:
        for slope, least in _conditions(fact, name):
            if slope > 0:
                low = max(low, -(-least // slope))
            else:
                high = min(high, least // slope)
    return low, high


def _conditions(fact: Fact, name: str) -> list[tuple[int, int]]:
    """The fact as conditions `slope * size >= least`; none where it is not of that form."""
    if fact.relation not in ("<=", "<", "=="):
        return []
    gap = fact.right - fact.left
    if symbols(gap) != (name,):
        return []
    offset = dim.evaluate(gap, {name: 0})
    slope = dim.evaluate(gap, {name: 1}) - offset
    if gap != slope * symbol(name) + offset:
        return []
    if fact.relation == "==":
        return [(slope, -offset), (-slope, offset)]
    return [(slope, (fact.relation == "<") - offset)]
