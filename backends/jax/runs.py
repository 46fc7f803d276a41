"""How often loops run in each instance of a class, and where that puts the layers of stacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...compiler.graph import Graph, Scope, Weight
from ...compiler.program import Apply, Call, Chain, Class, If, Member, Repeat, Statement


class Runs:
    """The iterations of all loops of a graph, by the scope in which the loop stands."""

    def __init__(self, graph: Graph) -> None:
        self._turns: dict[tuple[Scope, int, int | None], Scope] = {}
        self._scopes: dict[Scope, None] = {}
        held = [weight.scope for weight in graph.weights.values()]
        for scope in (*(node.scope for node in graph), *held):
            for each in scope.ancestors():
                if each in self._scopes:
                    break
                self._scopes[each] = None
                if each.kind == "iteration" and each.loop is not None and each.parent is not None:
                    self._turns[each.parent, each.loop.site, each.index] = each

    def counts(self, cls: Class, loop: Repeat) -> set[int]:
        """How often the loop runs, in all places and instances."""
        site = loop.loop.site
        return {
            scope.loops[site].count for scope in self._scopes
            if site in scope.loops and scope.block.definition is cls.definition
        }  # fmt: skip

    @staticmethod
    def holders(weight: Weight) -> list[Scope]:
        """The scopes from the model down to the one that a weight is of, iterations aside."""
        found = [s for s in weight.scope.ancestors() if s.kind != "iteration"]
        return found[::-1]

    def place(
        self, cls: Class, scope: Scope, name: str, index: int
    ) -> tuple[int | None, tuple[int, ...]]:
        """Where the class's instance holds what the graph calls `name.index`: its place in the
        list, None if it is in a stack of that name, and its place in the stack if it is in one."""
        at = 0
        for number, (listed, count) in enumerate(self._held(cls.body, scope, name)):
            if count is None and index == at:
                return number, ()
            if count is not None and at <= index < at + count:
                return number if listed else None, (index - at,)
            at += 1 if count is None else count
        raise AssertionError(f"{cls.name} holds no {name}.{index}")

    def _held(
        self, body: Sequence[Statement], scope: Scope | None, name: str
    ) -> Iterator[tuple[bool, int | None]]:
        """The members of a list, in order: for a stack how many layers it has, else None. The scope
        of an iteration in which nothing runs is None."""
        from .stacks import Stack

        for statement in body:
            match statement:
                case Stack(member=Member(name=own, listed=listed), loop=loop) if own == name:
                    yield listed, self._count(scope, loop)
                case (
                    Apply(member=Member(name=own, listed=True))
                    | Call(member=Member(name=own, listed=True))
                    | Chain(member=Member(name=own, listed=True))
                ) if own == name:
                    yield True, None
                case If(then=then, orelse=orelse):
                    arms = [[*self._held(arm, scope, name)] for arm in (then, orelse)]
                    yield from max(arms, key=len)
                case Repeat(body=inner, loop=loop):
                    for i in range(self._count(scope, statement)):
                        turn = self._turns.get((scope, loop.site, i)) if scope else None
                        yield from self._held(inner, turn, name)

    def _count(self, scope: Scope | None, loop: Repeat) -> int:
        found = scope.loops.get(loop.loop.site) if scope is not None else None
        return found.count if found is not None else 0


__all__ = ["Runs"]
