"""What the body of a class reads: names of the class, and tensors that loops leave behind."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from ... import expr
from ...diagnose import MlcError
from ...graph import Scope, Value
from ...program import (
    Apply,
    Call,
    Chain,
    Check,
    If,
    Repeat,
    Statement,
    Var,
    followed,
    shared,
    used,
    walk,
)

if TYPE_CHECKING:
    from .classes import Builder


def names_read(
    body: list[Statement], given: Set[str], checks: Sequence[Check]
) -> tuple[set[str], set[str]]:
    """The names that the constructor uses (`given` among them), and those of the computation."""
    init, call = set(given), set[str]()
    for check in checks:
        init |= expr.names(check.condition)
    for statement in walk(body):
        match statement:
            case Apply(op=op, attrs=attrs):
                used = {n for e in attrs.values() for n in expr.names(e)}
                init, call = (init | used, call) if op.layer else (init, call | used)
            case If(condition=condition):
                init |= expr.names(condition)
                call |= set() if statement.optional else expr.names(condition)
            case Repeat(table=table):
                init |= expr.names(table)
                held = any(isinstance(s, (Apply, Call)) and s.member for s in walk(statement.body))
                driven = not statement.chain and (bool(statement.variables) or not held)
                call |= expr.names(table) if driven else set()
    everything = list(walk(body))
    return followed(everything, init), followed(everything, call)


def sized(builder: Builder, scope: Scope) -> list[Value]:
    """The tensors that a block, or one that it calls, reads at least sizes of.

    MlcError `unsupported` for one that nothing else needs: it is not there any more.
    """
    read: set[str] = set()
    found: list[Value | None] = []
    for body in builder.bodies(scope):
        read |= {name for condition, _ in body.ifs.values() for name in expr.names(condition)}
        for item in builder.tree.body(body):
            holder = item.node or item.scope
            read |= {n for e in (holder.exprs if holder else {}).values() for n in expr.names(e)}
            read |= expr.names(item.loop.table) if item.iterations else set()
            if item.kind == "call" and item.scope is not None:
                found += builder.made[item.scope].inputs.values()
    places = builder.definition.sizes
    names = {places[n][0] for n in read & places.keys()} & scope.inputs.keys()
    given = [builder.tree.current(scope.inputs[n]) for n in builder.definition.inputs if n in names]
    for value in given:
        if value.node is not None and value.node.graph is None:
            text = f"source of {builder.definition.name} with sizes of a tensor that nothing needs"
            raise MlcError("unsupported", text, scope.span, help="give it one that is used")
    return [*given, *(value for value in found if value is not None)]


def share(body: list[Statement]) -> None:
    """Notes which static ifs apply members that are there whatever their condition says."""
    common = shared(body)
    for statement in walk(body):
        if isinstance(statement, If):
            arms = [*statement.then, *statement.orelse]
            statement.shares = any(used(each) & common for each in arms)


def prune(body: list[Statement], outputs: set[Var]) -> None:
    """Forgets what loops leave behind that nothing reads."""
    read = set(outputs)
    for statement in walk(body):
        match statement:
            case Apply(inputs=inputs) | Call(inputs=inputs):
                read |= {var for var in inputs if var is not None}
            case Chain(input=given):
                read.add(given)
            case If(phis=phis):
                read |= {var for phi in phis for var in (phi.then, phi.orelse)}
            case Repeat(carried=carried):
                read |= {var for each in carried for var in (each.initial, each.next)}
    for statement in walk(body):
        if isinstance(statement, Repeat):
            kept = {inside: after for inside, after in statement.results.items() if after in read}
            statement.results = kept
