"""Dead code: nodes whose results reach no output and no update."""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import Graph, Node, Value
from .rewrite import spread


def dce(graph: Graph) -> int:
    """Erases dead nodes, except where another instance of their line needs its own.

    Weights stay, used or not. Returns how many nodes went.
    """
    alive = reached(graph.live())
    if len(alive) == len(graph):
        return 0
    while more := spread(graph, alive, [node for node in graph if node not in alive]):
        _reach((output for node in more for output in node.outputs), alive)
    return _erase(graph, [node for node in graph if node not in alive])


def sweep(graph: Graph, nodes: Iterable[Node], wanted: Iterable[Value] = ()) -> int:
    """Erases those of `nodes`, given in order, that no output, update or other node needs, and
    that are still there.

    `wanted` are values to keep besides.
    """
    live = {*graph.live(), *wanted}
    return sum(
        _erase(graph, [node])
        for node in reversed(tuple(nodes))
        if node.graph is graph and not any(y.users or y in live for y in node.outputs)
    )


def reached(values: Iterable[Value]) -> set[Node]:
    """The nodes that these values are computed by."""
    alive: set[Node] = set()
    _reach(values, alive)
    return alive


def _reach(values: Iterable[Value], alive: set[Node]) -> None:
    """Adds to `alive` the nodes that `values` are computed by."""
    waiting = [value.node for value in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in alive:
            alive.add(node)
            waiting.extend(value.node for value in node.inputs if value is not None)


def _erase(graph: Graph, nodes: list[Node]) -> int:
    for node in reversed(nodes):
        graph.erase(node)
    return len(nodes)
