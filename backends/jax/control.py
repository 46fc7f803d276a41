"""Scans, loops and choices on data: `jax.lax.scan` and its like, on functions within the call."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Var
from ..source.control import Scan, function, packed
from ..source.tree import tree

if TYPE_CHECKING:
    from .printer import Lines


def written(lines: Lines, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    scan(lines, statement)


def scan(lines: Lines, statement: Apply) -> None:
    """`h, ys = jax.lax.scan(step, h, xs)`; the axis of the steps goes to the front and back."""
    s = Scan.of(statement)
    results = [[lines.read(v) for v in s.following], [lines.read(v) for v in s.collected]]
    step = function(
        lines, "step", [("carry", s.current), ("inputs", s.elements)], s.region,
        ast.Tuple([packed(each) for each in results], ast.Load()),
    )  # fmt: skip
    raw = [Var(y.name, y.type) if s.along(y) else y for y in s.stacks]
    value = tree(
        "jax.lax.scan({step}, {carry}, {xs}, reverse={reverse})",
        step=step, carry=packed([lines.read(v) for v in s.initial]),
        xs=packed([_first(lines.read(x), s.along(x), 0) for x in s.sources]),
        reverse=literal(True) if s.reverse else None,
    )  # fmt: skip
    lines.assign([*s.results, *raw], value, (len(s.results), len(raw)))
    for y, stack in zip(s.stacks, raw, strict=True):
        if stack is not y:
            lines.define([y], _first(lines.out.ref(stack), 0, s.along(y)))


def _first(x: Expr, source: int, target: int) -> Expr:
    """The tensor with one of its axes moved."""
    if source == target:
        return x
    if {source, target} == {0, 1}:
        return tree("{x}.swapaxes(0, 1)", x=x)
    return tree("jnp.moveaxis({x}, {a}, {b})", x=x, a=literal(source), b=literal(target))


__all__ = ["written"]
