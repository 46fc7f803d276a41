"""Noise as inputs: for the reference, and for targets that draw none."""

from __future__ import annotations

from ..graph import Graph, Input
from ..ops.draw import NOISE


def as_inputs(graph: Graph) -> dict[str, Input]:
    """Makes what each `noise` node draws an input behind all others; gives them by key.

    It is called by its key, with a number behind it where an input, output or weight has that name.
    """
    made: dict[str, Input] = {}
    taken = {*(x.name for x in graph.inputs), *graph.weights, *graph.outputs}
    for node in graph:
        if node.op is not NOISE:
            continue
        key, old = node.attrs["key"], node.output
        given = Input(unique(key, taken), old.type, span=node.span)
        given.noise = node.attrs["distribution"]
        graph.inputs.append(given)
        graph.replace(old, given)
        graph.erase(node)
        made[key] = given
    return made


def unique(title: str, taken: set[str]) -> str:
    """`title`, or the first of `title_1`, ... that nothing else is called; it is then taken."""
    name, count = title, 0
    while name in taken:
        count += 1
        name = f"{title}_{count}"
    taken.add(name)
    return name
