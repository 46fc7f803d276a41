"""What the body of a class reads: names of the class, and tensors that loops leave behind."""

from __future__ import annotations

from collections.abc import Sequence, Set

from ... import expr
from ...program import Apply, Call, Chain, Check, If, Repeat, Statement, Var, followed, walk


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
