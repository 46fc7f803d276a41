"""Channels last, where a target wants them: orders on values, transposes only where they must be.

Types and attributes stay in source order. `Value.order` says how a value is stored, and a RELAYOUT
node stands where a value is needed in another order. Convolutions, pools and channel norms ask for
channels last; what works element by element, or only counts axes, takes what it gets; the rest sees
the source's order. What is one statement of the source stores its result alike in all instances of
a block and all iterations of a loop, so that they stay one class.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from ..graph import Graph, Input, Node, Scope, Value, Weight
from ..op import Build
from ..ops.draw import NOISE
from ..ops.join import STACK
from ..ops.shape import RELAYOUT, TRANSPOSE, UNSQUEEZE, permutation

Order: TypeAlias = "tuple[int, ...]"


def last(rank: int) -> Order:
    """Batch, spatial axes, channels."""
    return (0, *range(2, rank), 1)


def channels_last(graph: Graph, *, keep_ports: bool = False, free: bool = False) -> int:
    """Stores images with channels last; returns the number of values so stored.

    `keep_ports` leaves inputs and outputs of the graph as they are, as those of blocks always are.
    `free` is for targets whose transposes and weights heed orders: a transpose may then be nothing
    but another view of what is stored, and a weight that is no layer's be stored as all that takes
    it wants it.
    """
    plan = _Plan(graph, keep_ports, free)
    plan.settle()
    for value in graph.inputs:
        value.order = plan.orders[value]
    writer = _Writer(plan, _movable(graph) if free else set())
    for node in tuple(graph):
        writer.settle(node)
        for block in node.blocks:
            channels_last(block, keep_ports=True, free=free)
    if keep_ports:
        writer.restore(graph)
    return sum(1 for node in graph for output in node.outputs if output.order)


# -------------------------------------------------------------------------------- what is asked


def _layout(node: Node) -> str:
    """What the op asks; a stack of images keeps their order behind its own axis, and what may be
    done by channel is done to each element alike where it is not."""
    if node.op is STACK and node.attrs["axis"] == 0:
        return "axes"
    return "any" if node.attrs.get("per_channel") is False else node.op.layout


def _wanted(
    node: Node, order: Callable[[Value], Order | None], forced: Container[Value], free: bool
) -> Order | None:
    """The order in which a node takes its tensors."""
    if node.op is TRANSPOSE and free:
        given = order(node.values[0])
        return given if given and _viewed(node, given) is None else None
    if _layout(node) == "channels":
        x = node.inputs[0]
        assert x is not None
        return last(x.type.rank) if x.type.rank > 2 else None
    if _layout(node) not in ("any", "axes"):
        return None
    rank = max((v.type.rank for v in node.values), default=0)
    found = (order(v) for v in node.values)
    given = next((o for o in found if o is not None and len(o) == rank), None)
    if given is None and any(o.type.rank == rank and o in forced for o in node.outputs):
        return last(rank)
    return given


def _viewed(node: Node, order: Order) -> Order | None:
    """The order of a transpose's result, stored as its input is, which has this order."""
    axes = permutation(len(order), node.attrs["axes"])
    found = tuple(axes.index(axis) for axis in order)
    return found if _moved(found) else None


def _result(
    node: Node, output: Value, want: Order | None, forced: Container[Value], free: bool
) -> Order | None:
    """The order of an output of a node that takes its tensors in the order `want`."""
    if node.op is TRANSPOSE and free:
        view = _viewed(node, want or tuple(range(output.type.rank)))
        return view if want or (output in forced and view == last(output.type.rank)) else None
    if want is None or output.type.rank == len(want):
        return want
    if node.op is STACK:
        return (0, *(axis + 1 for axis in want))
    return _without(node, want, output.type.rank)


def _without(node: Node, want: Order, rank: int) -> Order | None:
    """The order of what is left when axes go: a mean over H leaves (B, W, C)."""
    axes: Sequence[int] | None = node.attrs.get("axes")
    if axes is None:
        axis = node.attrs.get("axis")
        axes = (axis,) if axis is not None else range(len(want))
    left = [axis for axis in want if axis not in axes]
    if len(left) != rank:
        return None
    count = sorted(left)
    order = tuple(count.index(axis) for axis in left)
    return order if _moved(order) else None


def _moved(order: Sequence[int]) -> bool:
    return tuple(order) != tuple(range(len(order)))


def _asked(value: Value, seen: set[Value]) -> bool:
    """Whether an op that wants channels last takes the value, perhaps through others."""
    seen.add(value)
    for node in value.users:
        if _layout(node) == "channels" and node.inputs[0] is value:
            return True
        through = _layout(node) in ("any", "axes") and node.op is not RELAYOUT
        for output in node.outputs:
            same = through and output.type.rank == value.type.rank
            if same and output not in seen and _asked(output, seen):
                return True
    return False


def _bound(value: Value) -> bool:
    """Whether an op that wants the source's order takes the value itself."""
    return any(
        _layout(node) == "source" or (_layout(node) == "channels" and node.inputs[0] is not value)
        for node in value.users
    )


class _Plan:
    """Which values are stored with channels last although their own op would not do so."""

    def __init__(self, graph: Graph, keep_ports: bool, free: bool) -> None:
        self.graph = graph
        self.keep_ports = keep_ports
        self.free = free
        self.forced: set[Value] = set()
        self.orders: dict[Value, Order | None] = {}
        self.alike = _alike(graph)

    def settle(self) -> None:
        """Forces values until all that are alike are stored alike."""
        while True:
            self._simulate()
            more = self._more() - self.forced
            if not more:
                return
            self.forced |= more

    def _simulate(self) -> None:
        """The order of every value, as the nodes make them."""
        self.orders = {
            value: last(value.type.rank) if self._input(value) else None
            for value in self.graph.inputs
        }
        for node in self.graph:
            want = _wanted(node, self.orders.get, self.forced, self.free)
            for output in node.outputs:
                order = _result(node, output, want, self.forced, self.free)
                if order is None and output in self.forced:
                    order = last(output.type.rank)
                self.orders[output] = order

    def _input(self, value: Input) -> bool:
        if self.keep_ports or value.type.rank < 3:
            return False
        return value in self.forced or _asked(value, set())

    def _more(self) -> set[Value]:
        """Values that an image op asks for, and those that are like one with channels last."""
        plain = {v for v, order in self.orders.items() if order is None and v.type.rank > 2}
        if self.keep_ports:
            plain -= set(self.graph.inputs)
        free = {v for v in plain if v.node is not None and not _bound(v)}
        found = {v for v in free if _asked(v, set())}
        found |= {v for v in free if v.node and v.node.op is NOISE and self._meets(v, set())}
        for group in self.alike:
            if any(v in found or self._is_last(v) for v in group):
                found |= plain & set(group)
        return found

    def _meets(self, value: Value, seen: set[Value]) -> bool:
        """Whether what is stored with channels last is combined with it, element by element."""
        seen.add(value)
        for node in value.users:
            if _layout(node) not in ("any", "axes") or node.op is RELAYOUT:
                continue
            alike = [v for v in node.outputs if v.type.rank == value.type.rank and v not in seen]
            if any(map(self._is_last, node.values)) or any(self._meets(v, seen) for v in alike):
                return True
        return False

    def _is_last(self, value: Value) -> bool:
        return value.type.rank > 2 and self.orders.get(value) == last(value.type.rank)


# ------------------------------------------------------------------------------ what is alike


def _alike(graph: Graph) -> list[list[Value]]:
    """Values of the same rank that one tensor of a class stands for, in all its instances."""
    groups: dict[Any, list[Value]] = {}
    for key, value in _keys(graph):
        groups.setdefault((*key, value.type.rank), []).append(value)
    return _joined(group for group in groups.values() if len(group) > 1)


def _keys(graph: Graph) -> Iterator[tuple[tuple[Any, ...], Value]]:
    for key, node in statements(graph):
        for i, output in enumerate(node.outputs):
            yield (*key, i), output
    scopes = {scope for node in graph for scope in node.scope.ancestors()}
    for scope in sorted(scopes, key=_site):
        place = _place(scope)
        for name, value in scope.inputs.items():
            yield (*place, name), graph.current(value)
            if scope.kind == "iteration" and name in scope.outputs:
                yield (*place, name), graph.current(scope.outputs[name])


def _site(scope: Scope) -> tuple[str, int, int]:
    return scope.path, scope.site, scope.index or 0


def statements(graph: Graph) -> Iterator[tuple[tuple[Any, ...], Node]]:
    """Every node under a key that it shares with those that are one statement of the source."""
    counts: dict[tuple[Scope, int], int] = {}
    for node in graph:
        at = (node.scope, node.site)
        counts[at] = counts.get(at, -1) + 1
        yield (*_place(node.scope), node.site, counts[at]), node


def _place(scope: Scope) -> tuple[Any, ...]:
    """Where a scope stands in its block's source: the same for all instances and iterations."""
    steps: list[Any] = []
    while scope.kind not in ("model", "block"):
        steps += [scope.kind, scope.loop.site if scope.loop else scope.site, scope.member]
        assert scope.parent is not None
        scope = scope.parent
    return (id(scope.definition), *steps)


def _joined(groups: Iterable[list[Value]]) -> list[list[Value]]:
    """Groups that share a value as one."""
    of: dict[Value, list[Value]] = {}
    for group in groups:
        merged: dict[Value, None] = {}
        for value in group:
            merged.update(dict.fromkeys(of.get(value, [value])))
        whole = list(merged)
        of.update(dict.fromkeys(whole, whole))
    return list({id(group): group for group in of.values()}.values())


# ------------------------------------------------------------------------------------ the nodes


class _Writer:
    """Gives nodes their inputs in the order that they want, and values their orders."""

    def __init__(self, plan: _Plan, movable: set[Weight]) -> None:
        self.forced = plan.forced
        self.free = plan.free
        self.movable = movable
        self.made: dict[tuple[Value, Order | None, Scope], Value] = {}

    def settle(self, node: Node) -> None:
        """Puts relayouts before the node, and behind it where its result is wanted otherwise."""
        want = _wanted(node, lambda v: v.order, self.forced, self.free)
        inputs = [
            value if value is None or not _mine(node, i) else self._stored(node, value, want)
            for i, value in enumerate(node.inputs)
        ]
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            node.set_inputs(inputs)
        for output in node.outputs:
            output.order = _result(node, output, want, self.forced, self.free)
            if output.order is None and output in self.forced:
                order = last(output.type.rank)
                if self.free and (node.op is NOISE or _inserts(node, order)):
                    output.order = order
                else:
                    _behind(node, output, order)

    def _stored(self, node: Node, value: Value, want: Order | None) -> Value:
        """The value in the wanted order, through a transpose if it is stored otherwise."""
        if value.order == want or value.type.rank == 0:
            return value
        if want is not None and value.type.rank < len(want):
            if _layout(node) != "any" or set(value.type.shape) == {1}:
                return value
            fits = value.type.rank == len(want) - 1 and want[0] == 0
            if isinstance(value, Weight) and value in self.movable and fits:
                value.order = tuple(axis - 1 for axis in want[1:])
                return value
            value = self._stored(node, value, None)
            b = Build.like(node)
            value = b(UNSQUEEZE, value, axes=tuple(range(len(want) - value.type.rank)))
        elif isinstance(value, Weight) and value in self.movable and want is not None:
            value.order = want
            return value
        return self._relaid(node, value, want)

    def _relaid(self, node: Node, value: Value, want: Order | None) -> Value:
        key = (value, want, node.scope)
        before = value.node
        if before is not None and before.scope is node.scope:
            given = before.inputs[0] if before.op is RELAYOUT else None
            if given is not None and given.order == want:
                return given
            if self.free and len(value.uses) == 1 and _inserts(before, want):
                value.order = want
                return value
        if key not in self.made or self.made[key].node.arms != node.arms:  # type: ignore[union-attr]
            moved = Build.like(node)(RELAYOUT, value, order=want or tuple(range(value.type.rank)))
            moved.order = want
            self.made[key] = moved
        return self.made[key]

    def restore(self, graph: Graph) -> None:
        """Gives the outputs of the graph in the source's order."""
        roots = [node for node in graph if node.scope is graph.root]
        calls = [s for node in graph for s in node.scope.ancestors() if s.parent is graph.root]
        site = max([0, *(n.site for n in roots), *(_called(s) for s in calls)]) + 1
        for name, value in graph.outputs.items():
            if value.order is not None:
                b = Build(graph, graph.root, site=site)
                graph.outputs[name] = b(RELAYOUT, value, order=tuple(range(value.type.rank)))
                graph.outputs[name].name, site = value.name, site + 1


def _called(scope: Scope) -> int:
    return scope.loop.site if scope.loop else scope.site


def _inserts(node: Node, order: Order | None) -> bool:
    """Whether a node that only adds axes may as well add them where `order` stores them."""
    if node.op is not UNSQUEEZE or order is None:
        return False
    kept = [axis for axis in order if axis not in node.attrs["axes"]]
    return kept == sorted(kept)


def _mine(node: Node, slot: int) -> bool:
    """Whether the input is a tensor that is stored in the order of images."""
    return _layout(node) != "channels" or slot == 0


def _behind(node: Node, output: Value, order: Order) -> None:
    """A relayout directly behind a node, taken by all that take its output."""
    graph = node.graph
    assert graph is not None
    b = Build.like(node, before=node.next)
    moved = b(RELAYOUT, output, order=order)
    moved.order = order
    graph.replace(output, moved)
    moved.node.set_inputs([output])


def _movable(graph: Graph) -> set[Weight]:
    """The weights of no layer that only ops of the layout "any" take, all in one order."""
    return {
        weight
        for weight in graph.weights.values()
        if (weight.layer is None) and weight not in graph.updates
        and len(weight.uses) == 1 and all(n.op.layout == "any" for n in weight.users)
    }  # fmt: skip


Folds: TypeAlias = "dict[Weight, tuple[Any, ...]]"


def fold_flatten(graph: Graph) -> Folds:
    """Takes out transposes between an image and the linear layer beside it.

    The layer's features then stand in the order in which the image is stored: the steps by which
    its weights are turned are returned.
    """
    from .features import fold

    return fold(graph)


__all__ = ["Folds", "channels_last", "fold_flatten", "last", "statements"]
