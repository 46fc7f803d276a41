"""The scopes of a graph as a tree of items: what stands in the body of each."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from ...expr import Expr, literal, names
from ...graph import Definition, Graph, Loop, Node, Scope, Value, Weight
from ...program import Place


@dataclass(eq=False, slots=True)
class Item:
    """One thing in a body: a node, a call of a block, a chain, or all iterations of a loop.

    `key` is (site, ordinal): equal for the same thing in all instances of a definition. `bindings`
    are the loop variables of unrolled iterations; `flat` says that list members become plain ones.
    """

    key: tuple[int, int]
    kind: str
    arms: tuple[tuple[int, int], ...]
    node: Node | None = None
    scope: Scope | None = None
    iterations: list[Scope] = field(default_factory=list)
    bindings: dict[str, Expr] = field(default_factory=dict)
    flat: bool = False

    @property
    def site(self) -> int:
        """Where it is constructed: for a layer held by name, earlier than where it is applied."""
        layer = self.node.layer if self.node is not None else None
        return self.key[0] if layer is None else min(self.key[0], layer.site)

    @property
    def loop(self) -> Loop:
        loop = self.iterations[0].loop
        assert loop is not None
        return loop


class Tree:
    """The items of every scope, in order; loops whose key is in `unrolled` are dissolved.

    `graphs` are the model, and the same model with other hyper-parameters, whose instances show
    what the first one leaves out. Attributes at `literal` are to be literals.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        unrolled: set[tuple[Definition, int]],
        outside: Mapping[Value, Value],
        literal: Set[Place] = frozenset(),
    ) -> None:
        self.graphs = graphs
        self.unrolled = unrolled
        self.outside = outside
        self.literal = literal
        nodes = tuple(node for graph in graphs for node in graph.nested())
        blocks = [block for node in nodes for block in node.blocks]
        self.applied = {node.layer for node in nodes if node.layer is not None}
        self.live = {value for graph in graphs for value in graph.outputs.values()}
        self.given: dict[Value, list[Scope]] = {}
        self.taken: dict[Value, Scope] = {}
        self.facts = [f for f in graphs[0].facts if all(f in graph.facts for graph in graphs)]
        self.tables: dict[Definition, set[str]] = {}
        self.roots = {graph.root: graph for graph in graphs}
        self.items: dict[Scope, list[Item]] = {root: [] for root in self.roots}
        self.scopes: list[Scope] = []
        self._seen: set[Scope] = set(self.roots)
        self._loops: dict[tuple[Scope, Loop], Item] = {}
        self._ordinals: dict[tuple[Scope, int], int] = {}
        self._forwarded = ChainMap(*(graph.forwarded for graph in (*graphs, *blocks)))
        self.regions: dict[Graph, Scope] = {}
        for node in chain(*graphs):
            self._enter(node.scope)
            if node.layer is not None and self.dissolved(node.layer.scope):
                self._enter(node.layer.scope)
            self._put(node.scope, Item((node.site, 0), "node", node.arms, node=node))
            self._look_into(node)

    def _look_into(self, node: Node) -> None:
        """Makes items of the nodes in the blocks of a node. A block that passes have made has no
        scope of its own: its nodes stand there in order."""
        known = set(self.regions.values())
        for block in node.blocks:
            written = block.root.kind == "region" and block.root not in known
            root = (
                block.root if written else Scope("region", parent=node.scope, path=node.scope.path)
            )
            self.regions[block] = root
            self.taken.update(dict.fromkeys(block.inputs, root))
            for value in block.outputs.values():
                self.given.setdefault(self.outside.get(value, value), []).append(root)
            self._enter(root)
            for number, inner in enumerate(block):
                if written:
                    self._enter(inner.scope)
                    self._put(inner.scope, Item((inner.site, 0), "node", inner.arms, node=inner))
                else:
                    self._put(root, Item((number, 0), "node", (), node=inner))
                self._look_into(inner)

    def graph(self, scope: Scope) -> Graph:
        """The graph that `scope` belongs to."""
        *_, root = scope.ancestors()
        return self.roots[root]

    def holds(self, node: Node) -> bool:
        """Whether a node still stands in one of the graphs, or in a block of theirs."""
        return node.graph in self.graphs or node.graph in self.regions

    def current(self, value: Value) -> Value:
        """The value that now stands for `value`, as a scope record names it."""
        while value in self._forwarded:
            value = self._forwarded[value]
        return value

    def body(self, scope: Scope) -> list[Item]:
        """What stands in the body of `scope`, by key."""
        return self.items.get(scope, [])

    def _enter(self, scope: Scope) -> None:
        """Makes `scope` and its ancestors items of their parents, once."""
        if scope in self._seen:
            return
        self._seen.add(scope)
        assert scope.parent is not None
        self._enter(scope.parent)
        if scope.home is not None and self.dissolved(scope.home):
            self._enter(scope.home)
        self.items.setdefault(scope, [])
        self.scopes.append(scope)
        if scope.kind == "region":  # the node that runs it is an item
            return
        if scope.kind != "iteration":
            kind = "chain" if scope.kind == "chain" else "call"
            self._put(scope.parent, Item((scope.site, 0), kind, scope.arms, scope=scope))
            return
        assert scope.loop is not None
        if self.dissolved(scope):
            definition = scope.block.definition
            assert definition is not None
            decided = [scope.loop.table, *scope.exprs.values(), *scope.carries.values()]
            decided += [condition for condition, _ in scope.ifs.values()]
            self.tables.setdefault(definition, set()).update(*map(names, decided))
            return
        home = (scope.parent, scope.loop)
        if home not in self._loops:
            item = Item((scope.loop.site, 0), "loop", scope.arms)
            self._loops[home] = item
            self._put(scope.parent, item)
        self._loops[home].iterations.append(scope)

    def dissolved(self, scope: Scope) -> bool:
        """Whether `scope` is an iteration of a loop that is written out."""
        definition = scope.block.definition
        if scope.kind != "iteration" or definition is None or scope.loop is None:
            return False
        return (definition, scope.loop.site) in self.unrolled

    def held(self, member: str, index: int | None, home: Scope) -> tuple[str, int | None]:
        """A member with its place in a list; one name where the list's loop is written out."""
        if index is not None and self.dissolved(around(home)):
            return f"{member}_{index}", None
        return member, index

    def _put(self, scope: Scope, item: Item) -> None:
        """Adds `item` to the body that `scope` belongs to once loops are dissolved."""
        while self.dissolved(scope):
            self._bind(item, scope)
            assert scope.parent is not None and scope.loop is not None
            item.key, item.arms = (scope.loop.site, 0), scope.arms
            scope = scope.parent
        outer: Scope | None = scope if scope.kind == "region" else None
        while outer is not None and (outer.kind == "region" or self.dissolved(outer)):
            if outer.kind != "region":
                self._bind(item, outer)
            outer = outer.parent
        place = (scope, item.key[0])
        self._ordinals[place] = self._ordinals.get(place, -1) + 1
        item.key = (item.key[0], self._ordinals[place])
        self.items.setdefault(scope, []).append(item)

    def _bind(self, item: Item, iteration: Scope) -> None:
        """Notes the variables of a loop that is written out."""
        item.flat = True
        for name, value in iteration.values.items():
            with suppress(TypeError):  # an op has no literal, and no number depends on it
                item.bindings.setdefault(name, literal(value))

    def nodes(self, scope: Scope) -> Iterator[Node]:
        """The nodes of `scope` and of everything in it, in order of their items."""
        for item in self.body(scope):
            if item.node is not None:
                yield item.node
                for block in item.node.blocks:
                    yield from self.nodes(self.regions[block])
            for inner in (*([item.scope] if item.scope else ()), *item.iterations):
                yield from self.nodes(inner)


def around(scope: Scope) -> Scope:
    """The scope, or that which its region stands in."""
    while scope.kind == "region" and scope.parent is not None:
        scope = scope.parent
    return scope


def within(inner: Scope, outer: Scope) -> bool:
    """Whether `inner` is `outer` or lies in it."""
    return any(scope is outer for scope in inner.ancestors())


def runs(scope: Scope, home: Scope) -> bool:
    """Whether `scope` is the turn `home` of a loop, in any call of its block, or lies in it."""
    alike = (s for s in scope.ancestors() if s.kind == "iteration" and s.index == home.index)
    return any(s.path == home.path and s.loop and home.loop and s.loop.site == home.loop.site
               for s in alike)  # fmt: skip


def own_weights(node: Node) -> dict[str, Weight]:
    """The weights that the node takes from the layer that it applies, by part."""
    weights = (v for v in node.inputs if isinstance(v, Weight))
    return {w.part: w for w in weights if node.layer is not None and w.layer is node.layer}


def owned(weight: Weight, scope: Scope) -> bool:
    """Whether the weight belongs to this call of a block (or to another call of the same)."""
    path = scope.path
    own = weight.scope.path
    return own == path or path == "" or own.startswith(path + ".")


def earlier(value: Value, scope: Scope) -> bool:
    """Whether another call of the instance that `scope` is a call of made the value."""
    return value.node is not None and _again(value.node.scope, scope)


def external(tree: Tree, scope: Scope) -> list[Value]:
    """The values that come into `scope` from outside, in order of first use."""
    found: dict[Value, None] = {}
    passed = {tree.current(value) for value in scope.inputs.values()}
    for node in tree.nodes(scope):
        for value in node.values:
            if isinstance(value, Weight):
                outside = not owned(value, scope)
            else:
                home = value.node.scope if value.node is not None else tree.taken.get(value)
                outside = home is None or not within(home, scope)
                outside = outside and (value in passed or not earlier(value, scope))
            if outside:
                found[value] = None
    return list(found)


def leaving(tree: Tree, scope: Scope) -> list[Value]:
    """The values made in `scope` that are used outside, in order."""
    named = {tree.current(value) for value in scope.outputs.values()}
    return [
        output
        for node in tree.nodes(scope)
        for output in node.outputs
        if output in tree.live
        or any(not within(region, scope) for region in tree.given.get(output, ()))
        or any(
            not within(user.scope, scope) and (output in named or not _again(user.scope, scope))
            for user in output.users
        )
    ]


def _again(inner: Scope, scope: Scope) -> bool:
    """Whether `inner` lies in another call of the instance that `scope` is a call of."""
    return scope.kind == "block" and any(
        s is not scope and s.kind == "block" and s.path == scope.path for s in inner.ancestors()
    )
