"""Dropout by a mask that the model gives: an op that depends on the mode, and no layer."""

from __future__ import annotations

from ...compiler.expr import Expr, literal
from ...compiler.graph import Graph, Node
from ...compiler.ops.random import MASKS
from ...compiler.program import Apply, Statement
from .parts import Parts
from .tree import number, tree


def unlayered(graph: Graph) -> int:
    """Takes such nodes for no layers: there is nothing that one would draw, or hold."""
    found = [node for node in graph if is_masked(node) and node.layer is not None]
    for node in found:
        node.layer = None
    return len(found)


def is_masked(node: Node) -> bool:
    """Whether a node drops by a mask that it is given, in training."""
    return node.op.name in MASKS and node.inputs[1] is not None and node.attrs["rate"] != 0


def masks(statement: Statement) -> bool:
    """Whether a statement does."""
    return (
        isinstance(statement, Apply)
        and statement.op.name in MASKS
        and statement.inputs[1] is not None
    )


def masked(p: Parts, mode: str, *, still: bool = False, cast: str = "{x}") -> Expr:
    """`x * keep / 0.75 if self.training else x`: `mode` says whether the model is in training, or,
    with `still`, whether it is not; `cast` makes a mask of bools one of floats."""
    rate, keep = number(p["rate"]), p.var("keep")
    share = tree("1 - {r}", r=p["rate"]) if rate is None else literal(round(1 - rate, 12))
    floats = keep is not None and keep.type.floating
    mask = p["keep"] if floats else tree(cast, x=p["keep"])
    y = p.fill("{x} * {mask} / {share}", mask=mask, share=share)
    if still:
        mode += " or {rate} == 0" if rate is None else ""
        return p.fill(f"{{x}} if {mode} else {{y}}", y=y)
    mode += " and {rate} > 0" if rate is None else ""
    return p.fill(f"{{y}} if {mode} else {{x}}", y=y)
