"""A product with a transposed weight is a linear layer on that weight: a tied output embedding."""

from __future__ import annotations

from ..expr import Expr
from ..graph import Graph, Node, Value, Weight
from ..op import Build
from ..ops.linear import LINEAR, MATMUL
from ..ops.shape import TRANSPOSE


def project(graph: Graph) -> int:
    """Writes `x @ transpose(w)` as `linear(x, w)`, w being a weight of rank 2; counts them."""
    found = 0
    for node in graph:
        weight = _transposed(node)
        if weight is None:
            continue
        b = Build.like(node)
        attrs = {"features": weight.type.shape[0], "bias": False}
        source = _source(weight, node)
        exprs = {"features": source} if source is not None else {}
        made = b.node(LINEAR, (node.inputs[0], weight), attrs, exprs=exprs).output
        graph.replace(node.output, made)
        turned = node.inputs[1]
        graph.erase(node)
        if turned is not None and turned.node is not None and not turned.users:
            graph.erase(turned.node)
        found += 1
    return found


def _source(weight: Weight, node: Node) -> Expr | None:
    """How the source says the number of rows of a layer's weight, in the scope of `node`."""
    layer = weight.layer
    if layer is None or layer.scope is not node.scope:
        return None
    return layer.exprs.get({"embedding": "count"}.get(layer.op.name, "features"))


def _transposed(node: Node) -> Weight | None:
    """The weight whose transpose the product takes on its right."""
    right: Value | None = node.inputs[1] if node.op is MATMUL else None
    if right is None or right.node is None or right.node.op is not TRANSPOSE:
        return None
    source = right.node.inputs[0]
    return source if isinstance(source, Weight) and source.type.rank == 2 else None
