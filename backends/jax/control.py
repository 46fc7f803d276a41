"""Scans, loops and choices on data: `jax.lax.scan` and its like, on functions within the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...compiler.expr import Expr, literal
from ...compiler.program import Apply
from ..source.control import Functions
from ..source.tree import tree

if TYPE_CHECKING:
    from .printer import Lines


def written(lines: Lines, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    Functions("jax.lax", moved, whole=True).write(lines, statement)


def moved(x: Expr, source: int, target: int) -> Expr:
    """The tensor with one of its axes moved."""
    if source == target:
        return x
    if {source, target} == {0, 1}:
        return tree("{x}.swapaxes(0, 1)", x=x)
    return tree("jnp.moveaxis({x}, {a}, {b})", x=x, a=literal(source), b=literal(target))


__all__ = ["moved", "written"]
