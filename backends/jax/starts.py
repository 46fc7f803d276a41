"""What constructors of several layers say: sizes of the input, and how a bias starts."""

from __future__ import annotations

from ...compiler.expr import Expr, literal
from ..source.parts import Parts
from ..source.tree import tree


def biased(p: Parts, fan: Expr) -> dict[str, Expr | None]:
    """The starting values of a bias; NNX' own is zero."""
    biased = any(part.endswith("bias") for part in p.apply.weights)
    return {
        "bias": None if biased else literal(False),
        "start": tree("uniform({fan})", fan=fan) if biased else None,
    }


def size(p: Parts, axis: int) -> Expr:
    """A size of the first input, in the names of the constructor."""
    return p.place(literal(p.x.type.shape[axis]))
