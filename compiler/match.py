"""Finds the spelled-out form of an op in a graph, and puts the op in its place.

A pattern is ordinary building code: an op's own body, or one of its `patterns`. It is traced on
inputs of the types at hand; the traced inputs are holes for values, float attributes are holes for
numbers, and attributes of other kinds are tried as they occur near by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, TypeAlias

from .diagnose import MlcError
from .graph import Graph, Input, Node, Scope, Type, Value
from .op import REQUIRED, Build, Config, Op, TypeMismatch
from .ops.compare import EQUAL, LOGICAL_AND, LOGICAL_OR, LOGICAL_XOR, NOT_EQUAL
from .ops.constant import CONSTANT
from .ops.elementwise import ADD, MAXIMUM, MINIMUM, MUL
from .passes.dce import sweep
from .passes.rewrite import Recipe, rewrite

Spelling: TypeAlias = Callable[..., Any]
Bound: TypeAlias = "dict[Value | str, Any]"

COMMUTATIVE = frozenset(
    (ADD, MUL, MAXIMUM, MINIMUM, EQUAL, NOT_EQUAL, LOGICAL_AND, LOGICAL_OR, LOGICAL_XOR)
)
CONE = 40
"""How many nodes before the last one are looked at for types and attributes."""
TRIES = 400
"""How many combinations of types and attributes are tried on a node."""
REFUSALS = (MlcError, TypeMismatch, LookupError, TypeError, ValueError, ArithmeticError)
"""What a spelling raises for types or attributes that it does not fit."""


@dataclass(frozen=True, slots=True)
class Match:
    """An op found in a graph: what it takes, and the nodes that spell it."""

    inputs: tuple[Value | None, ...]
    attrs: Mapping[str, Any]
    nodes: frozenset[Node]


class _Hole(float):
    """A float attribute that may be any number; `name` is the attribute's."""

    name: str


def fuse(graph: Graph, op: Op, *spellings: Spelling) -> int:
    """Replaces what spells `op` by `op`; by default its body and its patterns. Returns how many.

    The spelling must lie within one scope, and nobody else may use what it computes on the way.
    """
    body = () if op.body is None else (op.body,)
    patterns = [Pattern(op, spelling) for spelling in spellings or (*body, *op.patterns)]
    changes = 0
    while found := _outermost(_found(graph, patterns)):
        steps = {step for match in found.values() for step in match.nodes}
        fused = rewrite(graph, lambda node: _recipe(graph, op, found.get(node)))
        sweep(graph, [node for node in graph if node in steps])
        changes += fused
        if not fused:
            break
    return changes


def _found(graph: Graph, patterns: Iterable[Pattern]) -> dict[Node, Match]:
    matches = ((node, p.find(node)) for node in graph for p in patterns)
    return {node: match for node, match in matches if match is not None}


def _outermost(found: Mapping[Node, Match]) -> dict[Node, Match]:
    """Without the matches that are a part of another: a bias belongs to its linear."""
    inner = {step for node, match in found.items() for step in match.nodes if step is not node}
    return {node: match for node, match in found.items() if node not in inner}


def _recipe(graph: Graph, op: Op, match: Match | None) -> Recipe | None:
    if match is None:
        return None
    inputs = [None if value is None else graph.current(value) for value in match.inputs]
    return lambda b: b(op, *inputs, **match.attrs)


class Pattern:
    """One spelling of an op; remembers what it traced."""

    def __init__(self, op: Op, spelling: Spelling) -> None:
        self.op = op
        self.spelling = spelling
        self.traced: dict[Any, tuple[tuple[Input | None, ...], Value] | None] = {}

    def find(self, node: Node) -> Match | None:
        """The op of which `node` is the last step, if it is."""
        if len(node.outputs) != 1 or node.op is self.op or node.op is CONSTANT:
            return None
        cone = _cone(node)
        types = list(dict.fromkeys(v.type.with_(labels=()) for n in cone for v in n.values))
        attrs = [_candidates(config, key, cone) for key, config in self.op.config.items()]
        tensors = product(*(self._types(name, types) for name in self.op.inputs))
        for given in islice(product(tensors, product(*attrs)), TRIES):
            holes, last = self._trace(*given) or ((), None)
            if last is None or last.node is None or last.node.op is not node.op:
                continue
            for bound in _unify(last, node.output, {}):
                found = self._match(node, holes, last, bound, given[1])
                if found is not None:
                    return found
        return None

    def _types(self, name: str, types: list[Type]) -> tuple[Type | None, ...]:
        """The types that an input may have; None where it may be absent."""
        return (*types, None) if name.endswith("?") else tuple(types)

    def _weights(
        self, types: tuple[Type | None, ...], attrs: Mapping[str, Any]
    ) -> list[Type | None]:
        """The types of the weights that the op makes for tensors of these types."""
        made = {} if self.op.params is None else self.op.params(*types, **attrs)
        names = [name.rstrip("?") for name in self.op.weights]
        return [made[name].type if name in made else None for name in names]

    def _trace(
        self, types: tuple[Type | None, ...], attrs: tuple[Any, ...]
    ) -> tuple[tuple[Input | None, ...], Value] | None:
        """The holes and the last value of the spelling on these types; None where it refuses."""
        key = types, tuple((type(a), getattr(a, "name", a)) for a in attrs)
        if key not in self.traced:
            self.traced[key] = self._spell(types, dict(zip(self.op.config, attrs, strict=True)))
        return self.traced[key]

    def _spell(
        self, types: tuple[Type | None, ...], attrs: Mapping[str, Any]
    ) -> tuple[tuple[Input | None, ...], Value] | None:
        try:
            full = (*types, *self._weights(types, attrs))
            holes = tuple(None if t is None else Input("", t) for t in full)
            result = self.spelling(Build(Graph("", Scope("model"))), *holes, **attrs)
        except REFUSALS:
            return None
        return (holes, result) if isinstance(result, Value) and result not in holes else None

    def _match(
        self, node: Node, holes: Iterable[Value | None], last: Value, bound: Bound, tried: Any
    ) -> Match | None:
        """The match, if everything is bound and the nodes on the way belong to it alone."""
        assert node.graph is not None
        inputs = tuple(None if hole is None else bound.get(hole) for hole in holes)
        values = dict(zip(self.op.config, tried, strict=True))
        attrs = {k: bound.get(k) if isinstance(v, _Hole) else v for k, v in values.items()}
        unbound = [k for k, v in values.items() if isinstance(v, _Hole) and k not in bound]
        lost = any(hole is not None and hole not in bound for hole in holes)
        if unbound or lost:
            return None
        steps = [v for p, v in bound.items() if isinstance(p, Value) and p.node is not None]
        nodes = frozenset(v.node for v in steps if v.node.op is not CONSTANT)
        live = node.graph.live()
        for value in steps:
            inner = value is not node.output and value.node in nodes
            if inner and (value in live or not nodes.issuperset(value.users)):
                return None
        if any(n.scope is not node.scope or n.arms != node.arms for n in nodes):
            return None
        return Match(inputs, attrs, nodes)


def _cone(node: Node) -> list[Node]:
    """The node and some of those that it depends on, nearest first."""
    cone = [node]
    for member in cone:
        if len(cone) < CONE:
            near = (value.node for value in member.values)
            cone += [n for n in dict.fromkeys(near) if n is not None and n not in cone]
    return cone


def _candidates(config: Config, key: str, cone: Iterable[Node]) -> tuple[Any, ...]:
    """The values to try for an attribute."""
    if config.kind == "bool":
        return (True, False)
    if config.choices:
        return config.choices
    found: list[Any] = [] if config.default is REQUIRED else [config.default]
    if config.kind == "float":
        hole = _Hole(0.6180339887)
        hole.name = key
        return (*found, hole) if None in found else (hole,)
    for node in cone:
        for name, value in node.attrs.items():
            found += _as(config.kind, node.op.config[name].kind, value)
        if config.kind in ("size", "int"):
            found += [size for output in node.outputs for size in output.type.shape]
    return tuple(dict.fromkeys(found))


def _as(kind: str, there: str, value: Any) -> Iterable[Any]:
    """`value`, an attribute of kind `there`, as attributes of kind `kind`."""
    if kind == there:
        return (value,)
    if kind == "axis" and there == "axes" and isinstance(value, tuple):
        return value
    if kind == "axes" and there == "axis":
        return ((value,),)
    return ()


# ----------------------------------------------------------------------------------- unification


def _unify(p: Value | None, v: Value | None, bound: Bound) -> Iterator[Bound]:
    """All ways in which the graph's value `v` is the pattern's `p`, going on from `bound`."""
    if p is None or v is None or p in bound:
        if p is v or (p is not None and bound.get(p) is v):
            yield bound
        return
    if isinstance(p, Input):
        if (p.type.dtype, p.type.shape) == (v.type.dtype, v.type.shape):
            yield {**bound, p: v}
        return
    a, n = p.node, v.node
    if a is None or n is None or a.op is not n.op or p.index != v.index:
        return
    if len(a.inputs) != len(n.inputs):
        return
    held = _unify_attrs(a, n, {**bound, p: v})
    if held is None:
        return
    yield from _unify_all(a.inputs, n.inputs, held)
    if a.op in COMMUTATIVE:
        yield from _unify_all(a.inputs, n.inputs[::-1], held)


def _unify_all(
    ps: tuple[Value | None, ...], vs: tuple[Value | None, ...], bound: Bound
) -> Iterator[Bound]:
    if not ps:
        yield bound
        return
    for first in _unify(ps[0], vs[0], bound):
        yield from _unify_all(ps[1:], vs[1:], first)


def _unify_attrs(a: Node, n: Node, bound: Bound) -> Bound | None:
    """`bound` with the holes of the attributes filled; None where they differ."""
    for key, wanted in a.attrs.items():
        found = n.attrs[key]
        if isinstance(wanted, _Hole):
            if not isinstance(found, (int, float)) or isinstance(found, bool):
                return None
            if bound.setdefault(wanted.name, float(found)) != found:
                return None
        elif hasattr(found, "dtype") or found != wanted:
            return None
    return bound
