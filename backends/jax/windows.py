"""Sizes of kernels, and paddings, one for each spatial axis."""

from __future__ import annotations

import ast

from ...compiler.expr import Expr, literal
from ...compiler.graph import Type
from ..source.parts import Parts
from ..source.tree import is_literal, number, tree


def elements(node: Expr) -> list[Expr]:
    """The items of a tuple or list."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def spatial(x: Type) -> int:
    """How many spatial axes an image has."""
    return x.rank - 2


def each(value: Expr, count: int) -> Expr:
    """A number, or one for each spatial axis, as a tuple."""
    if isinstance(value, (ast.Tuple, ast.List)):
        return ast.Tuple(value.elts, ast.Load())
    return ast.Tuple([value] * count, ast.Load())


def pairs(pad: Expr, count: int) -> Expr:
    """Padding as a pair for each spatial axis."""
    rows = elements(each(pad, count))
    return ast.Tuple(
        [row if isinstance(row, ast.Tuple) else tree("({n}, {n})", n=row) for row in rows],
        ast.Load(),
    )


def unpadded(pad: Expr) -> bool:
    """Whether it says that there is no padding: 0 on every side."""
    sides = (side for row in elements(pad) for side in elements(row))
    return all(is_literal(side, 0) for side in sides)


def reaches(p: Parts) -> Expr:
    """How far the stretched input of a transposed convolution is padded: for each axis, by what
    the kernel reaches beyond PyTorch's padding."""
    count = spatial(p.x.type)
    columns = [elements(each(p[name], count)) for name in ("kernel", "dilation", "output_pad")]
    rows = zip(*columns, elements(pairs(p["pad"], count)), strict=True)
    return ast.List([_reach(*sides) for sides in rows], ast.Load())


def _reach(kernel: Expr, dilation: Expr, more: Expr, pair: Expr) -> Expr:
    low, high = elements(pair)
    sides = {"k": kernel, "d": dilation, "m": more, "low": low, "high": high}
    fixed = {name: number(side) for name, side in sides.items()}
    if None not in fixed.values():
        reach = fixed["d"] * (fixed["k"] - 1)
        return literal((reach - fixed["low"], reach - fixed["high"] + fixed["m"]))
    if fixed["d"] == 1:
        return tree("({k} - 1 - {low}, {k} - 1 - {high} + {m})", **sides)
    return tree("({d} * ({k} - 1) - {low}, {d} * ({k} - 1) - {high} + {m})", **sides)
