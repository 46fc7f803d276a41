"""Constants: what can be computed now, where the result is no longer than its parts."""

from __future__ import annotations

import math
from typing import Any

from ..graph import Graph, Node, Value
from ..ops.constant import CONSTANT
from ..run import attributes
from .rewrite import Recipe, rewrite

LARGEST = 64
"""How many numbers a folded constant may have."""


def fold(graph: Graph) -> int:
    """Computes pure ops on constants that are numbers or small arrays; returns how many.

    What came from a hyper-parameter is left as it is, and so is what is not finite.
    """
    return rewrite(graph, _fold)


def _fold(node: Node) -> Recipe | None:
    if (
        not node.inputs
        or node.blocks
        or node.op.effect != "pure"
        or node.exprs
        or len(node.outputs) != 1
    ):
        return None
    if not all(value is not None and _plain(value) for value in node.inputs):
        return None
    shape = node.output.type.shape
    known = [size for size in shape if isinstance(size, int)]
    if any(node.output.type.labels) or len(known) < len(shape) or math.prod(known) > LARGEST:
        return None
    result = _compute(node)
    if result is None:
        return None
    return lambda b: b.constant(result, node.output.type.dtype)


def _plain(value: Value) -> bool:
    """Whether it is a constant with numbers in it, and of the source's own making."""
    node = value.node
    if node is None or node.op is not CONSTANT or node.exprs:
        return False
    return isinstance(node.attrs["value"], (bool, int, float)) or _count(value) <= LARGEST


def _count(value: Value) -> int:
    """How many numbers the constant has."""
    return int(getattr(value.node.attrs["value"], "size", LARGEST + 1)) if value.node else 0


def _compute(node: Node) -> Any:
    """The result as a number or an array; None where it is longer than its parts or not finite."""
    import numpy as np

    arrays = [CONSTANT.eval(**attributes(v.node, {}, "f64")) for v in node.values if v.node]
    with np.errstate(all="ignore"):
        result = np.asarray(node.op.eval(*arrays, **attributes(node, {}, "f64")))
    if result.size > max(array.size for array in arrays) or not np.all(np.isfinite(result)):
        return None
    return result if result.ndim else result.item()
