"""The same model with other hyper-parameters, to show what the model as it is passes by.

A graph holds only the arms that its static ifs take, and no body of a loop that runs no time. Where
a hyper-parameter of the model decides that, the model is elaborated at another value too: classes
that are read off both have the whole `if`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...compiler import expr
from ...compiler.diagnose import MlcError, MlcErrors
from ...compiler.expr import Expr
from ...compiler.graph import Definition, Graph, Scope

TRIES, KEPT = 12, 4
"""How many other values are tried, and how many graphs are kept."""

NODES = 5_000
"""The size of a graph beyond which no other is made beside it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a scope decided: an arm of a static `if`, or whether a loop runs at all."""

    scope: Scope
    site: int
    condition: Expr
    taken: bool
    loop: bool = False

    @property
    def place(self) -> tuple[Definition | None, int]:
        """The same for all instances of a definition."""
        return self.scope.block.definition, self.site


Change: TypeAlias = "Mapping[str, Any]"
Elaborate: TypeAlias = "Callable[[Change], tuple[Graph, Sequence[Decision]]]"


def variants(graph: Graph, decisions: Sequence[Decision], elaborate: Elaborate) -> list[Graph]:
    """Graphs of the same model that take arms which it does not take, as few as show them."""
    seen = {(decision.place, decision.taken) for decision in decisions}
    waiting: list[tuple[Decision, Change]] = [(decision, {}) for decision in decisions]
    kept: list[Graph] = []
    tries = 0
    for decision, base in waiting if len(graph) <= NODES else ():
        for change in _changes(graph.root, decision):
            if _whole(decision, seen) or tries == TRIES or len(kept) == KEPT:
                break
            tries += 1
            with suppress(MlcError, MlcErrors, RecursionError):  # the model has no such value
                other, made = elaborate({**base, **change})
                shown = {(each.place, each.taken) for each in made} - seen
                if (decision.place, not decision.taken) in shown:
                    kept.append(other)
                    waiting += [
                        (e, {**base, **change}) for e in made if (e.place, e.taken) in shown
                    ]
                    seen |= shown
    return kept


def _whole(decision: Decision, seen: set[tuple[Any, bool]]) -> bool:
    """Whether both arms have been seen; of a loop, one iteration."""
    return (decision.place, not decision.taken) in seen or (decision.loop and decision.taken)


def _changes(root: Scope, decision: Decision) -> Iterator[Change]:
    """Other values of the hyper-parameters of the model that a decision depends on."""
    assert root.definition is not None
    conditions = [decision.condition, *(require.condition for require in root.requires)]
    origins = _origins(decision.scope, expr.names(decision.condition))
    for name in filter(origins.__contains__, root.definition.params):
        for value in _others(root.values[name], conditions):
            yield {name: value}


def _origins(scope: Scope, names: set[str]) -> set[str]:
    """The hyper-parameters of the model that names of a scope come from."""
    while scope.parent is not None:
        found = {name for n in names if n in scope.exprs for name in expr.names(scope.exprs[n])}
        if scope.kind != "block":
            found |= names - set(scope.values)
        if scope.loop is not None and names & set(scope.loop.variables):
            found |= expr.names(scope.loop.table)
        names, scope = found, scope.parent
    return names


def _others(value: Any, conditions: Sequence[Expr]) -> list[Any]:
    """Values like `value` that the conditions speak of, and their neighbours."""
    if isinstance(value, bool):
        return [not value]
    constants: list[Any] = [
        node.value
        for condition in conditions
        for node in ast.walk(condition)
        if isinstance(node, ast.Constant) and type(node.value) is type(value)
    ]
    if type(value) is int:
        constants += [each + step for each in constants for step in (-1, 1)]
        constants += [value - 1, value + 1, 1, 2]
    return [each for each in dict.fromkeys(constants) if each != value]
