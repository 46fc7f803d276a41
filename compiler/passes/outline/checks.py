"""What the constructor of a class checks: requirements of the source, and of the class itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ... import expr
from ...dim import Size
from ...expr import Expr
from ...graph import Loop
from ...program import Check
from .wholes import length

if TYPE_CHECKING:
    from .classes import Builder


def checks(builder: Builder) -> list[Check]:
    """`require` lines, and the static ifs whose other arm nobody has seen."""
    found = []
    for require in builder.scopes[0].requires:
        condition = builder.fix(require.condition)
        if decidable(builder, condition):
            found.append(Check(condition, _told(builder, require.message)))
    for site, (condition, arms) in builder.arms_taken.items():
        fixed = builder.fix(condition)
        if len(arms) == 2 or not decidable(builder, fixed):
            continue
        holds: Expr | None = fixed if arms == {0} else expr.negate(fixed)
        assert holds is not None
        if not all(frame.evaluate(holds) for frame in builder.frames):
            holds = _excused(builder, site, holds)
        if holds is not None:
            found.append(_written_for(holds))
    found += _unrun(builder)
    for name, size in builder.held.items():
        found.append(_written_for(ast.Compare(expr.name(name), [ast.Eq()], [expr.literal(size)])))
    return found


def unseen(builder: Builder) -> Iterator[Loop]:
    """The loops that run no time in any instance, so that nobody knows what they do."""
    bodies = [body for scope in builder.scopes for body in builder.bodies(scope)]
    sites = {loop.site for body in bodies for loop in body.loops.values() if loop.count}
    for body in bodies:
        yield from (loop for loop in body.loops.values() if loop.site not in sites)


def _unrun(builder: Builder) -> list[Check]:
    """That the loops whose bodies nobody has seen run no time."""
    found: dict[str, Check] = {}
    for loop in unseen(builder):
        count = builder.fix(length(loop.table) if loop.variables else loop.table)
        holds = ast.Compare(count, [ast.LtE()], [expr.literal(0)])
        if decidable(builder, holds) and all(frame.evaluate(holds) for frame in builder.frames):
            found.setdefault(expr.show(holds), _written_for(holds))
    return [*found.values()]


def _written_for(condition: Expr) -> Check:
    return Check(condition, f"this source was written for {expr.show(condition)}")


def decidable(builder: Builder, condition: Expr) -> bool:
    """Whether the constructor knows what it takes to decide the condition."""
    unknown = {n for f in builder.frames for n, v in f.names.items() if isinstance(v, Size)}
    known = {*builder.definition.params, *builder.definition.sizes} - unknown
    named = expr.names(condition)
    return bool(named) and named <= known and expr.known(condition)


def _told(builder: Builder, message: str) -> str:
    """The message, with values for the names that the class does not know."""
    return re.sub(r"\{(\w+)\}", lambda hole: str(builder.frozen.get(hole[1], hole[0])), message)


def _excused(builder: Builder, site: int, holds: Expr) -> Expr | None:
    """The same where the `if` is decided at all: it stands in an arm of another one."""
    inside = [site in frame.scope.ifs for frame in builder.frames]
    for around, (condition, _) in builder.arms_taken.items():
        taken = [frame.scope.ifs.get(around, (None, -1))[1] for frame in builder.frames]
        arms = {arm for arm, there in zip(taken, inside, strict=True) if there}
        others = {arm for arm, there in zip(taken, inside, strict=True) if not there}
        if around != site and len(arms) == 1 and not arms & others:
            fixed = builder.fix(condition)
            other = fixed if arms == {1} else expr.negate(fixed)
            return ast.BoolOp(ast.Or(), [other, holds])
    return None
