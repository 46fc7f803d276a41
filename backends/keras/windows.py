"""Sizes of kernels and paddings as Keras takes them."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ...compiler.expr import Expr
from ..source.parts import Parts
from ..source.tree import is_literal
from .shapes import elements


def rank(p: Parts) -> int:
    """How many spatial axes the image has."""
    return p.x.type.rank - 2


def each(value: Expr, count: int) -> list[Expr]:
    """A number, or one for each spatial axis, as a list."""
    found = elements(value)
    return found if isinstance(value, (ast.Tuple, ast.List)) else found * count


def short(items: Sequence[Expr]) -> Expr:
    """`(3, 3)` as `3`."""
    first = ast.dump(items[0])
    same = all(ast.dump(item) == first for item in items)
    return items[0] if same else ast.Tuple(list(items), ast.Load())


def ints(p: Parts, name: str) -> Expr:
    return short(each(p[name], rank(p)))


def pairs(pad: Expr, count: int) -> list[tuple[Expr, Expr]]:
    """Padding as (low, high) for each spatial axis."""
    rows = each(pad, count)
    return [
        (row.elts[0], row.elts[1]) if isinstance(row, ast.Tuple) else (row, row) for row in rows
    ]


def around(rows: Sequence[tuple[Expr, Expr]]) -> Expr:
    """`1`, `(1, 2)` or `((1, 0), (0, 2))`, as layers that pad and crop take it."""
    if all(ast.dump(low) == ast.dump(high) for low, high in rows):
        return short([low for low, _ in rows])
    sides: list[Expr] = [ast.Tuple([low, high], ast.Load()) for low, high in rows]
    return sides[0] if len(sides) == 1 else ast.Tuple(sides, ast.Load())


def none(rows: Sequence[tuple[Expr, Expr]]) -> bool:
    return all(is_literal(side, 0) for row in rows for side in row)


def ones(items: Sequence[Expr]) -> bool:
    return all(is_literal(item, 1) for item in items)
