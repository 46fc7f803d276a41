"""Channels last, where a target wants them: orders on values, transposes only where they must be.

Types and attributes stay in source order. `Value.order` says how a value is stored, and a RELAYOUT
node stands where a value is needed in another order. Convolutions, pools and channel norms ask for
channels last; what works element by element, or only counts axes, takes what it gets; the rest sees
the source's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph, Node, Value
from ..op import Build
from ..ops.shape import RELAYOUT, UNSQUEEZE

Order = tuple[int, ...]


def last(rank: int) -> Order:
    """Batch, spatial axes, channels."""
    return (0, *range(2, rank), 1)


def channels_last(graph: Graph) -> int:
    """Stores images with channels last; returns the number of values so stored."""
    for value in graph.inputs:
        if value.type.rank > 2 and _asked(value, set()):
            value.order = last(value.type.rank)
    for node in tuple(graph):
        _settle(node)
    return sum(1 for node in graph for output in node.outputs if output.order)


def _asked(value: Value, seen: set[Value]) -> bool:
    """Whether an op that wants channels last takes the value, perhaps through others."""
    seen.add(value)
    for node in value.users:
        if node.op.layout == "channels" and node.inputs[0] is value:
            return True
        through = node.op.layout == "any" and node.outputs[0].type.rank == value.type.rank
        if through and node.outputs[0] not in seen and _asked(node.outputs[0], seen):
            return True
    return False


def _settle(node: Node) -> None:
    """Gives the node its inputs in the order that it wants, and its outputs theirs."""
    want = _wanted(node)
    inputs = [
        value if value is None or not _mine(node, i) else _stored(node, value, want)
        for i, value in enumerate(node.inputs)
    ]
    if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
        node.set_inputs(inputs)
    for output in node.outputs:
        output.order = _result(node, output, want)


def _mine(node: Node, slot: int) -> bool:
    """Whether the input is a tensor that is stored in the order of images."""
    return node.op.layout != "channels" or slot == 0


def _wanted(node: Node) -> Order | None:
    if node.op.layout == "channels":
        x = node.inputs[0]
        assert x is not None
        return last(x.type.rank) if x.type.rank > 2 else None
    if node.op.layout in ("any", "axes"):
        orders = [v.order for v in node.values if v.order is not None]
        rank = max((v.type.rank for v in node.values), default=0)
        return next((order for order in orders if len(order) == rank), None)
    return None


def _stored(node: Node, value: Value, want: Order | None) -> Value:
    """The value in the wanted order, through a transpose if it is stored otherwise."""
    if value.order == want or value.type.rank == 0:
        return value
    b = Build.like(node)
    if want is not None and value.type.rank < len(want):
        if value.type.rank == 0 or node.op.layout != "any":
            return value
        value = b(UNSQUEEZE, value, axes=tuple(range(len(want) - value.type.rank)))
    moved = b(RELAYOUT, value, order=want or tuple(range(value.type.rank)))
    assert isinstance(moved, Value)
    moved.order = want
    return moved


def _result(node: Node, output: Value, want: Order | None) -> Order | None:
    if want is None:
        return None
    rank = output.type.rank
    if rank == len(want):
        return want
    return _without(node, want, rank)


def _without(node: Node, want: Order, rank: int) -> Order | None:
    """The order of what is left when axes go: a mean over H and W leaves (B, C)."""
    axes: Sequence[int] | None = node.attrs.get("axes")
    if axes is None:
        axis = node.attrs.get("axis")
        axes = (axis,) if axis is not None else range(len(want))
    left = [axis for axis in want if axis not in axes]
    if len(left) != rank:
        return None
    count = sorted(left)
    order = tuple(count.index(axis) for axis in left)
    return None if order == tuple(range(rank)) else order


__all__ = ["channels_last", "last"]
