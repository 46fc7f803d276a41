"""Applies local rules, in all places that come from one line of the source or in none.

Blocks are called several times and loops go round: their nodes come from one line. A rule that
fired for some of them only would make a second class of one block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from typing import TypeAlias

from ..graph import Graph, Node, Scope, Value
from ..op import Build

Recipe: TypeAlias = Callable[[Build], Value]
Rule: TypeAlias = Callable[[Node], "Value | Recipe | None"]
"""What a node with one output can be replaced by: a value that is there, a recipe, or nothing."""


def rewrite(graph: Graph, rule: Rule) -> int:
    """Replaces nodes as `rule` says until it has nothing more to say; returns how many.

    Replaced nodes are erased; their inputs stay for dead-code elimination.
    """
    changes = 0
    looked: Iterable[Node] = graph
    while matched := [node for node in looked if rule(node) is not None]:
        touched: dict[Node, None] = {}
        for node in whole(graph, matched):
            replacement = rule(node) if node.graph is graph else None
            if replacement is not None:
                touched.update(_replace(graph, node, replacement))
                changes += 1
        looked = [node for node in touched if node.graph is graph]
    return changes


def _replace(graph: Graph, node: Node, replacement: Value | Recipe) -> Mapping[Node, None]:
    """Puts the replacement in; returns the nodes that a rule may now apply to."""
    b = Build.like(node)
    value = replacement if isinstance(replacement, Value) else replacement(b)
    users = tuple(node.output.users)
    graph.replace(node.output, value)
    graph.erase(node)
    made = [value.node] if value.node is not None else []
    return dict.fromkeys([*made, *users])


def whole(graph: Graph, nodes: Iterable[Node]) -> list[Node]:
    """Those of `nodes` all of whose lines' other nodes are among `nodes` too."""
    nodes = tuple(nodes)
    places: dict[Scope, Hashable] = {}
    if all(place(node.scope, places) is None for node in nodes):
        return list(nodes)
    lines = lines_of(graph)
    total = Counter(lines.values())
    here = Counter(lines[node] for node in nodes)
    return [node for node in nodes if here[lines[node]] == total[lines[node]]]


def lines_of(graph: Graph) -> dict[Node, Hashable]:
    """What line of the source each node comes from: equal for the instances of one definition."""
    places: dict[Scope, Hashable] = {}
    count: Counter[Hashable] = Counter()
    lines: dict[Node, Hashable] = {}
    for node in graph:
        where = place(node.scope, places)
        if where is None:
            lines[node] = node
            continue
        spot = (node.scope, node.site, node.rank, node.op)
        lines[node] = (where, node.site, node.rank, node.op, count[spot])
        count[spot] += 1
    return lines


def place(scope: Scope, places: dict[Scope, Hashable]) -> Hashable:
    """The body of code that the scope runs; None where nothing else can run it."""
    if scope not in places:
        outer = None if scope.parent is None else place(scope.parent, places)
        if scope.kind == "block" and scope.definition is not None:
            places[scope] = scope.definition
        elif scope.kind == "iteration":
            places[scope] = (outer or scope.parent, "iteration", scope.site)
        else:
            places[scope] = outer and (outer, scope.kind, scope.site)
    return places[scope]


def spread(graph: Graph, alive: Container[Node], dead: Iterable[Node]) -> set[Node]:
    """Those of `dead` whose line has a node in `alive`."""
    dead = tuple(dead)
    places: dict[Scope, Hashable] = {}
    if all(place(node.scope, places) is None for node in dead):
        return set()
    lines = lines_of(graph)
    living = {line for node, line in lines.items() if node in alive}
    return {node for node in dead if lines[node] in living}
