"""Layers and calls in the blocks of scans, loops and choices as plain ops of the statement's scope.

For targets that apply no layers there: weights then belong to the block that holds the statement,
and what the ops are told is said in its names.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import expr as expressions
from ..dim import Size
from ..expr import Expr
from ..graph import Graph, Node, Scope, Weight


def loosen(graph: Graph) -> int:
    """Takes layers and scopes from the nodes in blocks, and gives their weights to the scope of the
    statement; returns how many nodes were changed."""
    count = 0
    for node in graph:
        for weight in (v for v in node.values if node.blocks and isinstance(v, Weight)):
            _give(weight, node.scope)
        for block in node.blocks:
            block.root = node.scope
            for inner in block.nested():
                _take(inner, node.scope)
                count += 1
    return count


def _give(weight: Weight, home: Scope) -> None:
    if not any(scope is home for scope in weight.scope.ancestors()) or weight.scope is home:
        return
    if weight.scope.block is not home.block and weight.layer is None:
        path = weight.path[len(home.block.path) :].lstrip(".")
        weight.part, weight.exprs = path.replace(".", "_"), ()
    weight.scope = home


def _take(node: Node, home: Scope) -> None:
    node.exprs = _said(node.exprs, node.scope, home)
    node.scope, node.layer, node.arms = home, None, ()
    for block in node.blocks:
        block.root = home


def _said(given: Mapping[str, Expr], scope: Scope, home: Scope) -> dict[str, Expr]:
    """Expressions over the names of `scope` over those of `home`, around it; without those that
    cannot be said there."""
    found = dict(given)
    for inner in scope.ancestors():
        if inner is home:
            return found
        names = _names(inner)
        own = inner.kind in ("block", "model")
        found = {
            key: expressions.substitute(expr, names)
            for key, expr in found.items()
            if not own or expressions.names(expr) <= names.keys()
        }
    return {}


def _names(scope: Scope) -> dict[str, Expr]:
    """What the names of a scope are, over those of its parent."""
    known = {
        name: expressions.literal(value)
        for name, value in scope.values.items()
        if not isinstance(value, Size) and isinstance(value, (bool, int, float, str))
    }
    return known | scope.exprs


__all__ = ["loosen"]
