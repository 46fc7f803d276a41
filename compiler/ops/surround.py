"""Padding by elements of the tensor itself: from the other end, or mirrored with the edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..array import np
from ..dim import Dim, bounds
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most
from .index import cut
from .join import CONCAT
from .shape import FLIP

Pads = Sequence[Sequence[Dim]]
Side = Callable[[Build, Value, int, Dim, Dim], Value]


def _op(name: str, mode: str, low: Side, high: Side, doc: str) -> Op:
    """`low` and `high` give what stands before and behind an axis: (b, x, axis, size, amount)."""

    def infer(x: Type, pads: Pads) -> Type:
        if isinstance(pads, int) or len(pads) != x.rank or any(isinstance(p, int) for p in pads):
            raise TypeMismatch(f"{name} of {x} takes {x.rank} pairs (low, high), and gets {pads}")
        shape: list[Dim] = []
        for size, (before, behind) in zip(x.shape, pads, strict=True):
            for amount in (before, behind):
                if bounds(amount)[1] < 0:
                    raise TypeMismatch(f"{name} of {x} by {amount}, which is below 0")
                message = f"{name} of {x} by {amount} elements of an axis of {size}"
                require_at_most(amount, size, message)
            shape.append(size + before + behind)
        return x.with_(shape=tuple(shape))

    def body(b: Build, x: Value, pads: Pads) -> Value:
        for axis, (before, behind) in enumerate(pads):
            size = x.type.shape[axis]
            parts = [] if before == 0 else [low(b, x, axis, size, before)]
            parts += [x] if behind == 0 else [x, high(b, x, axis, size, behind)]
            x = b(CONCAT, *parts, axis=axis) if len(parts) > 1 else x
        return x

    def eval(x: Any, pads: Pads) -> Any:
        return np.pad(x, pads, mode)

    return Op(
        name, ("x",), infer, eval,
        config={"pads": Config("pads", doc="(low, high) for each axis, up to its size")},
        body=body, rounding="exact", layout="source", doc=doc,
        samples=(
            {"x": (2, 5), "pads": ((0, 0), (2, 1))},
            {"x": (2, 3, 4), "pads": ((0, 1), (3, 0), (2, 4))},
            {"x": ((3,), "i32"), "pads": ((1, 1),)},
        ),
    )  # fmt: skip


PAD_CIRCULAR = _op(
    "pad_circular", "wrap",
    lambda b, x, axis, size, n: cut(b, x, axis, size - n, size),
    lambda b, x, axis, size, n: cut(b, x, axis, 0, n),
    "Adds elements at both ends of axes: those from the other end.",
)  # fmt: skip
PAD_SYMMETRIC = _op(
    "pad_symmetric", "symmetric",
    lambda b, x, axis, size, n: b(FLIP, cut(b, x, axis, 0, n), axes=(axis,)),
    lambda b, x, axis, size, n: b(FLIP, cut(b, x, axis, size - n, size), axes=(axis,)),
    "Adds elements at both ends of axes: the mirrored tensor, its edge element included.",
)  # fmt: skip

SURROUND = (PAD_CIRCULAR, PAD_SYMMETRIC)
