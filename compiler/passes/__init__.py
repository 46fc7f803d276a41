"""Rewrites of graphs: functions from a graph to the number of changes; pipelines are tuples."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..graph import Graph
from .algebra import algebra
from .cse import cse
from .dce import dce
from .fold import fold

Pass: TypeAlias = Callable[[Graph], int]

CLEAN: tuple[Pass, ...] = (fold, algebra, cse, dce)
"""Makes a graph simpler without changing anything that it computes."""


def apply(graph: Graph, pipeline: Sequence[Pass]) -> int:
    """Runs the passes in order; returns how many changes they made.

    With MLC_CHECK=1 in the environment, checks after each pass that the graph is sound and that it
    still computes the same.
    """
    if os.environ.get("MLC_CHECK") == "1":
        from ..check import checked

        return sum(checked(graph, step) for step in pipeline)
    return sum(step(graph) for step in pipeline)
