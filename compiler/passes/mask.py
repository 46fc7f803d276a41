"""Noise as inputs, for targets that draw none: a mask for each node that drops elements."""

from __future__ import annotations

from ..graph import Graph, Input, Type
from ..ops.random import MASKS
from .noise import unique


def mask(graph: Graph) -> dict[str, float]:
    """Gives every node that would draw a mask an input for it: name -> the rate that it stands for.

    The graph is resolved to training. A mask is 1 where elements stay and 0 where they are dropped;
    1 - rate everywhere drops nothing. It is called `<layer>.keep`, with a number behind it where
    that is taken.
    """
    made: dict[str, float] = {}
    taken = {*(x.name for x in graph.inputs), *graph.weights, *graph.outputs}
    for node in graph:
        if node.op.name not in MASKS or not node.attrs["training"] or not node.attrs["rate"]:
            continue
        x, keep = node.inputs
        if keep is not None or x is None:
            continue
        path = node.layer.path if node.layer else node.scope.path
        title = f"{path}.keep" if path else "keep"
        name = unique(title, taken)
        shape = MASKS[node.op.name](x.type)
        given = Input(name, Type(x.type.dtype, shape), span=node.span)
        graph.inputs.append(given)
        node.set_inputs((x, given))
        made[name] = float(node.attrs["rate"])
    return made
