"""How PyTorch takes and places elements by position, and losses that do."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr
from ..source.parts import Parts, Rule
from ..source.tree import tree
from .dtypes import long
from .reductions import axis


def _gather(p: Parts) -> Expr:
    """`x[:, index]`; a single index as one of a row, so that its value need not be known."""
    var = p.var("index")
    assert var is not None
    before: list[Expr] = [ast.Slice() for _ in range(p.fixed("axis"))]
    index = p["index"] if var.type.dtype in ("i32", "i64") else long(p, "index")
    if var.type.rank == 0:
        row = tree("{i}.unsqueeze(0)", i=index)
        return p.fill("{x}.index_select({axis}, {row}).squeeze({axis})", axis=axis(p), row=row)
    where = ast.Tuple([*before, index], ast.Load()) if before else index
    return ast.Subscript(p["x"], where, ast.Load())


def _dtype(p: Parts, name: str) -> str:
    var = p.var(name)
    assert var is not None
    return var.type.dtype


def _gather_elements(p: Parts) -> Expr:
    return p.fill("{x}.gather({axis}, {i})", axis=axis(p), i=long(p, "index"))


def _scatter_add(p: Parts) -> Expr:
    return p.fill("{x}.scatter_add({axis}, {i}, {updates})", axis=axis(p), i=long(p, "index"))


def _embedding(p: Parts) -> Expr:
    index = p["index"] if _dtype(p, "index") in ("i32", "i64") else long(p, "index")
    return p.fill("F.embedding({index}, {weight}, padding_idx={padding})", index=index)


def _cross_entropy(p: Parts) -> Expr:
    """PyTorch has the classes on axis 1, and wants labels of 64 bits."""
    at, rank = p.fixed("axis"), p.x.type.rank
    logits = p["logits"]
    if rank > 1 and at != 1:
        logits = tree("{x}.movedim({axis}, 1)", x=logits, axis=axis(p))
    return p.fill(
        "F.cross_entropy({logits}, {label}, weight={weight}, ignore_index={ignore}, "
        "reduction={reduction}, label_smoothing={smoothing})",
        logits=logits, label=long(p, "label"), reduction=p.unless("reduction", "mean"),
        smoothing=p.unless("smoothing", 0.0),
    )  # fmt: skip


POSITIONS: Mapping[str, Rule] = {
    "gather": _gather, "gather_elements": _gather_elements, "scatter_add": _scatter_add,
    "embedding": _embedding, "cross_entropy": _cross_entropy,
}  # fmt: skip
"""By the name of the op."""
