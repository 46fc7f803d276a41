"""Scans, loops and choices on data: `jax.lax.scan` and its like, on functions within the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Var
from ..source.control import Functions
from ..source.tree import tree

if TYPE_CHECKING:
    from .printer import Lines


class _Bounds:
    """Lines whose functions take and give tensors in float32, where products are narrower: what a
    scan carries must not change its type."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lines, name)

    def read(self, var: Var) -> Expr:
        """A tensor that goes into a function, or is what it gives."""
        return self.lines.policy.leaving(self.lines.read(var), var.type.dtype)


def written(lines: Lines, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    bounds: Any = _Bounds(lines) if lines.policy.narrow else lines
    Functions("jax.lax", moved, whole=True).write(bounds, statement)


def moved(x: Expr, source: int, target: int) -> Expr:
    """The tensor with one of its axes moved."""
    if source == target:
        return x
    if {source, target} == {0, 1}:
        return tree("{x}.swapaxes(0, 1)", x=x)
    return tree("jnp.moveaxis({x}, {a}, {b})", x=x, a=literal(source), b=literal(target))


__all__ = ["moved", "written"]
