"""What a class is written for one value of: hyper-parameters that are literals in it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

from ... import expr
from ...expr import Expr
from .checks import decidable, unseen
from .frame import agree, plain, same

if TYPE_CHECKING:
    from .classes import Builder


def fixed(builder: Builder) -> dict[str, Any]:
    """Hyper-parameters that decide a static if of which only one arm was ever taken, or a loop
    that is written out; Disagree where the latter have several values.

    The other arm is not known, so a class that let them vary would be wrong: they become
    literals, or, where they do vary on the known side, a check in the constructor.
    """
    definition, frames = builder.definition, builder.frames
    found: dict[str, Any] = {}
    if definition.kind == "model":
        model = frames[0].names
        known = {name: model.get(name) for name in definition.sizes}
        found |= {name: size for name, size in known.items() if isinstance(size, int)}
    conditions = [c for c, arms in builder.arms_taken.values() if len(arms) < 2]
    decided = [expr.names(loop.table) for loop in unseen(builder)]
    decided += [expr.names(c) for c in conditions if not _checked(builder, c)]
    for names in decided:
        for name in origins(builder, names) & set(definition.params):
            values = [frame.names[name] for frame in frames]
            if all(same(plain(v), plain(values[0])) for v in values):
                found[name] = values[0]
    written = builder.tree.tables.get(definition, set()) | builder.unexplained
    own = {*definition.params, *definition.sizes}
    read = [expr.names(c) for c in conditions if not (expr.known(c) and expr.names(c) <= own)]
    written |= set().union(*read)  # by what no check can ask for: it knows no turn of a loop
    for name in sorted(origins(builder, written) & set(definition.params)):
        found[name] = agree(frames, [plain(frame.names[name]) for frame in frames])
    return found


def _checked(builder: Builder, condition: Expr) -> bool:
    """Whether a block's constructor checks rather that two of its numbers are related as they were
    seen to be: `C == width`."""
    related = isinstance(condition, ast.Compare) and all(
        expr.names(side) for side in (condition.left, *condition.comparators)
    )
    return builder.definition.kind == "block" and related and decidable(builder, condition)


def literals(found: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a literal, as ops and blocks do not."""
    kept = dict(found)
    for name, value in found.items():
        try:
            expr.literal(value)
        except TypeError:
            del kept[name]
    return kept


def origins(builder: Builder, names: Set[str]) -> set[str]:
    """The names, and those that give the ones among them that loops set their values."""
    found = set(names)
    own = {*builder.definition.params, *builder.definition.sizes}
    iterations = [
        body
        for scope in builder.scopes
        for body in builder.bodies(scope)
        if body.kind == "iteration" and body.loop is not None
    ]
    before = -1
    while len(found) > before and not found <= own:
        before = len(found)
        for turn in iterations:
            set_here = found & turn.values.keys() - own
            if set_here and turn.loop is not None:
                found |= expr.names(turn.loop.table)
            for name in set_here:
                found |= {
                    each
                    for known in (turn.exprs, turn.carries)
                    if name in known
                    for each in expr.names(known[name])
                }
    return found


__all__ = ["fixed", "literals", "origins"]
