"""The order of features between an image and a linear layer: turned in the weights, once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..graph import Graph, Node, Value, Weight
from ..op import Op
from ..ops.linear import LINEAR
from ..ops.shape import FLATTEN, RELAYOUT, RESHAPE
from ..weight import Step
from .layout import Folds, Order, statements


@dataclass(frozen=True, slots=True)
class _Fold:
    """A relayout that can go: beside `node`, which merges or parts the features of `sizes`."""

    relayout: Node
    node: Node
    linears: tuple[Node, ...]
    sizes: tuple[int, ...]
    order: Order
    inward: bool


def fold(graph: Graph) -> Folds:
    """Takes the relayouts out, all of one statement or none; what becomes of the weights."""
    found = {f.relayout: f for f in (_flattened(n) or _parted(n) for n in graph) if f is not None}
    found = {node: f for node, f in found.items() if _alone(f, found.values())}
    groups: dict[object, list[Node]] = {}
    for key, node in statements(graph):
        groups.setdefault(key, []).append(node)
    folds: Folds = {}
    for nodes in groups.values():
        if nodes[0].op is RELAYOUT and all(node in found for node in nodes):
            for node in nodes:
                folds.update(_apply(graph, found[node]))
    return folds


def _flattened(relayout: Node) -> _Fold | None:
    """An image back in the source's order, flattened, and taken by linear layers."""
    given, node = relayout.inputs[0] if relayout.inputs else None, _only_user(relayout)
    if relayout.op is not RELAYOUT or given is None or given.order is None or node is None:
        return None
    sizes = _known(given.type.shape[1:])
    if relayout.output.order is not None or given.order[0] != 0 or sizes is None:
        return None
    if not _merges(node):
        return None
    linears = tuple(_linears(node.output))
    if not linears and not _unmoved(given.order, sizes):
        return None
    return _Fold(relayout, node, linears, sizes, given.order, True)


def _parted(relayout: Node) -> _Fold | None:
    """The features of a linear layer as an image, put in the order of images."""
    given = relayout.inputs[0] if relayout.op is RELAYOUT else None
    order = relayout.output.order if relayout.op is RELAYOUT else None
    if given is None or given.node is None or order is None or given.order is not None:
        return None
    sizes, node = _known(given.type.shape[1:]), given.node
    if sizes is None or node.op is not RESHAPE or len(given.uses) != 1 or order[0] != 0:
        return None
    before = node.inputs[0]
    if before is None or before.type.rank != 2 or before.type.shape[0] != given.type.shape[0]:
        return None
    linear = _linear_before(before)
    if linear is None:
        return None
    return _Fold(relayout, node, (linear,), sizes, order, False)


def _known(sizes: Sequence[object]) -> tuple[int, ...] | None:
    found = tuple(size for size in sizes if isinstance(size, int))
    return found if len(found) == len(sizes) else None


def _only_user(node: Node) -> Node | None:
    users = tuple(node.outputs[0].users) if node.outputs else ()
    live = node.graph is not None and node.outputs and node.outputs[0] in node.graph.live()
    return users[0] if len(users) == 1 and not live else None


def _merges(node: Node) -> bool:
    """Whether all axes but the batch become one."""
    x = node.inputs[0] if node.inputs else None
    if x is None or node.op not in (FLATTEN, RESHAPE) or node.output.type.rank != 2:
        return False
    return node.output.type.shape[0] == x.type.shape[0]


def _unmoved(order: Order, sizes: Sequence[int]) -> bool:
    """Whether the axes that have more than one element stand as in the source."""
    left = [axis for axis in order[1:] if sizes[axis - 1] != 1]
    return left == sorted(left)


def _elementwise(op: Op) -> bool:
    return op.layout == "any" and len(op.inputs) <= 2 and op is not RELAYOUT


def _linears(value: Value) -> Iterator[Node]:
    """The linear layers that take the features, each by itself; nothing if anything else does."""
    found: list[Node] = []
    if not _collect(value, found):
        return
    yield from found


def _collect(value: Value, found: list[Node]) -> bool:
    graph = value.node.graph if value.node is not None else None
    if graph is None or value in graph.live() or not value.users:
        return False
    for node in value.users:
        if node.op is LINEAR and node.inputs[0] is value and _own(node):
            found.append(node)
        elif not (_elementwise(node.op) and _single(node) and _collect(node.output, found)):
            return False
    return True


def _single(node: Node) -> bool:
    """Whether it takes one tensor, beside numbers."""
    return len(node.outputs) == 1 and sum(v.type.rank > 0 for v in node.values) == 1


def _own(node: Node) -> bool:
    """Whether the weight is the node's own layer's."""
    weight = node.inputs[1]
    return isinstance(weight, Weight) and node.layer is not None and weight.layer is node.layer


def _linear_before(value: Value) -> Node | None:
    """The linear layer whose features these are."""
    node = value.node
    if node is None or len(value.uses) != 1 or (node.graph and value in node.graph.live()):
        return None
    if node.op is LINEAR:
        return node if _own(node) else None
    given = next((v for v in node.values if v.type.rank), None)
    plain = _elementwise(node.op) and _single(node) and given is not None
    return _linear_before(given) if plain and given is not None else None


def _alone(fold: _Fold, folds: Iterator[_Fold] | object) -> bool:
    """Whether all that takes the weights of its layers is turned in the same way."""
    assert not isinstance(folds, Iterator)
    others: list[_Fold] = list(folds)  # type: ignore[call-overload]
    for linear in fold.linears:
        weight = linear.inputs[1]
        assert isinstance(weight, Weight)
        alike = {
            node
            for other in others
            for node in other.linears
            if (other.sizes, other.order, other.inward) == (fold.sizes, fold.order, fold.inward)
        }
        mixed = any(
            linear in other.linears and other.inward != fold.inward for other in others
        )  # fmt: skip
        if mixed or any(node not in alike for node in weight.users):
            return False
    return True


def _apply(graph: Graph, fold: _Fold) -> Folds:
    """Takes the relayout out; the steps for the weights of the linear layers."""
    given = fold.relayout.inputs[0]
    assert given is not None
    if graph.forwarded.get(given) is fold.relayout.output:
        del graph.forwarded[given]
    graph.replace(fold.relayout.output, given)
    if not fold.inward:
        given.order = fold.order
    graph.erase(fold.relayout)
    folds: Folds = {}
    for linear in fold.linears:
        for weight in linear.inputs[1:]:
            if isinstance(weight, Weight) and (not fold.inward or weight is linear.inputs[1]):
                folds[weight] = _steps(weight, fold)
    return folds


def _steps(weight: Weight, fold: _Fold) -> tuple[Step, ...]:
    """The features as an image, its axes in the other order, and as features again."""
    shape = tuple(size for size in weight.type.shape if isinstance(size, int))
    total = math.prod(fold.sizes)
    axis = 1 if fold.inward else 0
    assert shape[axis] == total
    before, after = shape[:axis], shape[axis + 1 :]
    moved = tuple(fold.sizes[i - 1] for i in fold.order[1:])
    places = [i - 1 + axis for i in fold.order[1:]]
    count = len(fold.sizes)
    permuted = (*range(axis), *places, *range(axis + count, axis + count + len(after)))
    return (
        Step("reshape", (shape, (*before, *fold.sizes, *after))),
        Step("permute", permuted),
        Step("reshape", ((*before, *moved, *after), shape)),
    )
