"""Expressions of nodes that passes have made: what sizes of tensors are called in a class."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import expr
from ...dim import Dim, Size
from ...expr import Expr
from ...graph import Node
from .frame import Disagree

if TYPE_CHECKING:
    from .body import Part

FAILURES = (TypeError, ValueError, ArithmeticError)
"""What evaluating an expression of sizes may raise."""


def measured(part: Part, node: Node, key: str, number: int) -> Expr | None:
    """The expression of an attribute, with sizes of tensors in names of the class.

    `number` is that of the frame that `node` stands in. Where a size has no name, the expression
    gives no value of an attribute: what else it reads is then right for one value alone.
    """
    source = node.exprs.get(key)
    if source is None or node.graph is None:
        return source
    read = expr.names(source) & node.graph.measured.keys()
    if not read:
        return source
    found = {name: _size(part, node, name, number) for name in read}
    sizes = {name: size for name, size in found.items() if size is not None}
    rest = sorted(expr.names(source) - read)
    if len(sizes) < len(read):
        names = [expr.name(name) for name in rest]
        return ast.List([*names, ast.Constant("open")], ast.Load()) if rest else None
    if not rest:
        with suppress(expr.Undecided, *FAILURES):
            return _expressed(part, expr.evaluate(source, sizes))
    return expr.substitute(source, {name: part.sizes.expression(s) for name, s in sizes.items()})


def _expressed(part: Part, value: Any) -> Expr:
    if isinstance(value, (tuple, list)):
        return ast.Tuple([_expressed(part, v) for v in value], ast.Load())
    return part.sizes.expression(value) if isinstance(value, Size) else expr.literal(value)


def _size(part: Part, node: Node, name: str, number: int) -> Dim | None:
    """The size in names of the class; None where it has none."""
    assert node.graph is not None
    value, axis = node.graph.measured[name]
    var = part.frames[number].find(node.graph.current(value))
    if var is None:
        return None
    try:
        part.sizes.expression(var.type.shape[axis])
    except Disagree:
        return None
    return var.type.shape[axis]


def number(part: Part, i: int, value: Any, source: Expr | None) -> Any:
    """A float as the integer that it is for an op on integers, or by its expression."""
    node = part.items[i].node
    if type(value) is not float or not value.is_integer() or node is None:
        return value
    whole = source is not None and type(part.frames[i].evaluate(source)) is int
    return value if node.outputs[0].type.floating and not whole else int(value)
