"""Reads classes, constructor arguments, static ifs and loops off a flat graph with scopes.

Read-only. All instances of a definition are merged into one class: what stands at the same site in
each is one statement, its attributes are the source's expressions where these give every instance
its own value, and literals where all agree. Where instances differ in something that no expression
explains, they become two classes; where only the iterations of a loop do, the loop is written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

from ...diagnose import MlcError
from ...graph import Definition, Graph, Scope, Weight
from ...program import Class, Place, Program
from .classes import Builder, Made, loose
from .frame import Disagree, Freeze, Runs, Unroll
from .opened import opened
from .tree import Tree


def outline(
    graph: Graph, variants: Sequence[Graph] = (), literal: Set[Place] = frozenset()
) -> Program:
    """The program of a graph: callees first, the model last.

    `variants` are the same model with other hyper-parameters. Their instances show the arms of
    static ifs, and the bodies of loops, that this model passes by; a variant that is no instance of
    the same classes is left out. The attributes that stand at `literal` become literals, with the
    hyper-parameters that tell them.
    """
    graphs, best = [graph], _settled([graph], literal)
    together = [variants] if len(variants) > 1 else []
    for group in (*together, *([each] for each in variants)):
        if len(graphs) <= len(variants):
            with suppress(MlcError):  # instances that differ are no instances of one class
                wider = _settled([*graphs, *group], literal)
                if _agrees(wider, best, [*graphs, *group]):
                    graphs, best = [*graphs, *group], wider
    return best.program


@dataclass(frozen=True, slots=True)
class Settled:
    """A program, and the loops that are written out in it."""

    program: Program
    unrolled: set[tuple[Definition, int]]

    def count(self, graph: Graph) -> int:
        """How many classes the graph has instances of."""
        own = (any(graph.root in s.ancestors() for s in c.scopes) for c in self.program.classes)
        return sum(own)


def _settled(graphs: Sequence[Graph], literal: Set[Place]) -> Settled:
    unrolled: set[tuple[Definition, int]] = set()
    while True:
        try:
            with opened(graphs) as outside:
                return Settled(_outline(Tree(graphs, unrolled, outside, literal)), unrolled)
        except Unroll as found:
            unrolled.add(found.place)


def _agrees(wider: Settled, before: Settled, graphs: Sequence[Graph]) -> bool:
    """Whether all graphs are instances of the classes of the first one, and offer more of it."""
    offered = {hyper.name for hyper in wider.program.model.params}
    return (
        len(wider.program.model.scopes) == len(graphs)
        and offered > {hyper.name for hyper in before.program.model.params}
        and wider.count(graphs[0]) <= before.count(graphs[0])
        and wider.unrolled <= before.unrolled
    )


def _outline(tree: Tree) -> Program:
    graph = tree.graphs[0]
    classes: dict[Scope, Class] = {}
    made: dict[Scope, Made] = {}
    ordered: list[Class] = []
    for definition, scopes in _callees_first(tree):
        waiting = [scopes]
        frozen: set[str] = set()
        running: set[tuple[int, str, int]] = set()
        while waiting:
            group = waiting.pop(0)
            try:
                cls = Builder(tree, definition, group, classes, made, frozen, running).build()
            except Disagree as difference:
                waiting = [*_part(group, difference), *waiting]
                continue
            except Freeze as found:
                frozen |= found.names
                waiting = [group, *waiting]
                continue
            except Runs as found:
                running.add(found.place)
                waiting = [group, *waiting]
                continue
            ordered.append(cls)
            classes.update(dict.fromkeys(group, cls))
    _distinct_names(ordered)
    paths = {w: _segments(tree, w) for w in graph.weights.values()}
    return Program(ordered, {w: path for w, path in paths.items() if _kept(tree, classes, w, path)})


def _kept(
    tree: Tree, classes: Mapping[Scope, Class], weight: Weight, path: Sequence[tuple[str, object]]
) -> bool:
    """Whether a class has the weight: by itself, or in a layer that it applies. One that nothing
    reads is in none."""
    if weight.layer in tree.applied:
        return True
    cls = classes.get(weight.scope.block)
    return cls is not None and any(p.name == path[-1][0] for p in cls.parameters)


def _callees_first(tree: Tree) -> list[tuple[Definition, list[Scope]]]:
    """The definitions with their instances, each after those that it calls."""
    instances: dict[Definition, list[Scope]] = {}
    calls: dict[Definition, dict[Definition, None]] = {}
    for scope in [*tree.roots, *tree.scopes]:
        if scope.kind not in ("model", "block"):
            continue
        assert scope.definition is not None
        instances.setdefault(scope.definition, []).append(scope)
        calls.setdefault(scope.definition, {})
        if scope.parent is not None:
            caller = scope.parent.block.definition
            assert caller is not None
            calls.setdefault(caller, {})[scope.definition] = None
    order: dict[Definition, None] = {}

    def visit(definition: Definition) -> None:
        for callee in calls[definition]:
            if callee not in order:
                visit(callee)
        order[definition] = None

    root = next(iter(tree.roots)).definition
    assert root is not None
    visit(root)
    return [(definition, instances[definition]) for definition in order]


def _part(group: Sequence[Scope], difference: Disagree) -> Sequence[list[Scope]]:
    """The instances by what tells them apart; those that lack it stay with the first."""
    groups = difference.groups()
    if len(groups) > 1:
        named = {scope for each in groups for scope in each}
        first = {*groups[0], *(scope for scope in group if scope not in named)}
        return [[scope for scope in group if scope in first], *groups[1:]]
    iteration = next((f.iteration for f in difference.frames if f.iteration), None)
    if iteration is None or iteration.scope.loop is None:
        raise MlcError("internal", f"instances of one class differ in {difference}")
    raise Unroll(iteration.scope)


def _distinct_names(classes: Sequence[Class]) -> None:
    """Classes of one definition are numbered: Residual, Residual2."""
    seen: dict[str, int] = {}
    for cls in classes:
        seen[cls.name] = seen.get(cls.name, 0) + 1
        if seen[cls.name] > 1:
            cls.name = f"{cls.name}{seen[cls.name]}"


def _segments(tree: Tree, weight: Weight) -> tuple[tuple[str, int | None], ...]:
    """The members from the model down to the weight, as the classes hold them."""
    parts: list[tuple[str, int | None]] = [(weight.part, None)]
    holder = weight.layer
    scope: Scope | None = weight.scope
    if holder is not None and holder not in tree.applied:
        scope = weight.scope.block
        parts = [(loose(weight.path[len(scope.path) :].lstrip(".")), None)]
    elif holder is not None:
        parts.insert(0, tree.held(holder.member, holder.index, holder.scope))
        scope = holder.scope
    while scope is not None and scope.parent is not None:
        if scope.kind not in ("iteration", "region"):
            parts.insert(0, tree.held(scope.member, scope.index, scope.home or scope.parent))
        scope = scope.parent
    return tuple(parts)


__all__ = ["outline"]
