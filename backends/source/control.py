"""Scans, loops and choices on data, for targets where they are plain statements or functions."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...compiler.program import Apply, Region, Var, walk
from .compose import Assign, Def, Return
from .names import free

if TYPE_CHECKING:
    from .computation import Computation


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan by what its tensors are for; each field has one for each carry, element or stack."""

    initial: tuple[Var, ...]
    current: tuple[Var, ...]
    following: tuple[Var, ...]
    results: tuple[Var, ...]
    sources: tuple[Var, ...]
    elements: tuple[Var, ...]
    collected: tuple[Var, ...]
    stacks: tuple[Var, ...]
    axis: int
    reverse: bool
    region: Region

    @classmethod
    def of(cls, statement: Apply) -> Scan:
        """The parts of a statement whose op is `scan`."""
        (region,) = statement.regions
        n, m = statement.values["carried"], statement.values["scanned"]
        given = tuple(var for var in statement.inputs if var is not None)
        return cls(
            given[:n], region.inputs[:n], region.outputs[:n], statement.outputs[:n],
            given[n : n + m], region.inputs[n : n + m], region.outputs[n:], statement.outputs[n:],
            statement.values["axis"], statement.values["reverse"], region,
        )  # fmt: skip

    def along(self, var: Var) -> int:
        """Which axis of a tensor that is scanned, or of a stack, the steps are."""
        return min(self.axis, var.type.rank - 1)


def in_place(region: Region, current: Sequence[Var], following: Sequence[Var]) -> list[bool]:
    """Which carries may be one variable, assigned where their next value is made: nothing reads
    the old one after that."""
    return [_in_place(region, var, after, following) for var, after in
            zip(current, following, strict=True)]  # fmt: skip


def _in_place(region: Region, var: Var, after: Var, following: Sequence[Var]) -> bool:
    made = [i for i, s in enumerate(region.body) if after in s.outputs]
    if not made or following.count(after) > 1 or var in region.outputs:
        return False
    (at,) = made
    maker = region.body[at]
    read = {v for s in walk(region.body[at + 1 :]) for v in _reads(s)}
    read |= {v for inner in maker.regions for v in inner.inputs}
    return var not in read


def _reads(statement: object) -> list[Var]:
    assert isinstance(statement, Apply)
    results = [v for region in statement.regions for v in region.outputs]
    return [v for v in statement.inputs if v is not None] + results


def function(
    out: Computation,
    wish: str,
    params: Sequence[tuple[str, Sequence[Var]]],
    region: Region,
    result: ast.expr,
) -> ast.expr:
    """Adds a function that runs a region; each of its arguments is one tensor, or, under the name
    given, a tuple of several. Returns what it is called."""
    name = free(wish, {*out.taken, *out.scope.locals.values(), *out.cls.inputs, *out.around})
    out.around.add(name)
    line = Def(name, [])
    for called, variables in params:
        kind = Var(called, variables[0].type) if len(variables) > 1 else None
        line.params.append(kind or (variables[0] if variables else None))
        if kind is not None:
            line.body.append(Assign(list(variables), out.out.ref(kind)))
    outside, out.out.lines = out.out.lines, line.body
    out.body(region.body)
    line.body.append(Return(result))
    out.around.discard(name)
    out.out.lines = outside
    out.out.lines.append(line)
    return ast.Name(name, ast.Load())


def packed(items: Sequence[ast.expr]) -> ast.expr:
    """One expression by itself, several as a tuple, none as None."""
    if not items:
        return ast.Constant(None)
    return items[0] if len(items) == 1 else ast.Tuple(list(items), ast.Load())


__all__ = ["Scan", "function", "in_place", "packed"]
