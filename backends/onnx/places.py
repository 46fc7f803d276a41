"""How ONNX puts elements in order, moves and replaces them, and works on bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...compiler.graph import Node
from ...compiler.ops.index import forwards
from .writer import DTYPES, Writer

if TYPE_CHECKING:
    from .rules import Rule


def _picked(w: Writer, n: Node, x: str, k: str, largest: bool) -> tuple[str, str]:
    """Values and places, the first of equal elements first."""
    values, places = w.many("TopK", 2, x, k, axis=n.attrs["axis"], largest=int(largest))
    return values, w("Cast", places, to=DTYPES["i32"])


def _all(w: Writer, n: Node) -> str:
    return w.size(n.values[0].type.shape[n.attrs["axis"]])


def _argsort(w: Writer, n: Node, x: str) -> str:
    return _picked(w, n, x, _all(w, n), n.attrs["descending"])[1]


def _sort(w: Writer, n: Node, x: str) -> str:
    largest = int(n.attrs["descending"])
    return w.many("TopK", 2, x, _all(w, n), axis=n.attrs["axis"], largest=largest)[0]


def _top_k(w: Writer, n: Node, x: str) -> tuple[str, str]:
    return _picked(w, n, x, w.size(n.attrs["k"]), n.attrs["largest"])


def _scatter(reduction: str) -> Rule:
    def rule(w: Writer, n: Node, x: str, index: str, updates: str) -> str:
        return w("ScatterElements", x, index, updates, axis=n.attrs["axis"], reduction=reduction)

    return rule


def _shift(direction: str) -> Rule:
    """ONNX shifts unsigned integers; downwards, a negative one is turned round before and after."""

    def rule(w: Writer, n: Node, a: str, b: str) -> str:
        from onnx import TensorProto

        dtype = n.output.type.dtype
        wide = TensorProto.UINT64 if dtype == "i64" else TensorProto.UINT32
        signed = dtype[0] == "i" and direction == "RIGHT"
        negative = w("Less", a, w.constant(0, dtype)) if signed else ""
        if signed:
            a = w("Where", negative, w("BitwiseNot", a), a)
        moved = w("BitShift", w("Cast", a, to=wide), w("Cast", b, to=wide), direction=direction)
        result = w("Cast", moved, to=DTYPES[dtype])
        return w("Where", negative, w("BitwiseNot", result), result) if signed else result

    return rule


PLACES: Mapping[str, Rule] = {
    "argsort": _argsort, "sort": _sort, "top_k": _top_k,
    "scatter": _scatter("none"), "scatter_max": _scatter("max"),
    "einsum": lambda w, n, *xs: w("Einsum", *xs, equation=n.attrs["spec"].replace(" ", "")),
    "bitwise_and": lambda w, n, a, b: w("BitwiseAnd", a, b),
    "bitwise_or": lambda w, n, a, b: w("BitwiseOr", a, b),
    "bitwise_xor": lambda w, n, a, b: w("BitwiseXor", a, b),
    "bitwise_not": lambda w, n, x: w("BitwiseNot", x),
    "shift_left": _shift("LEFT"), "shift_right": _shift("RIGHT"),
    "trunc_div": lambda w, n, a, b: w("Div", a, b),
    "fmod": lambda w, n, a, b: w("Mod", a, b, fmod=1),
    "asinh": lambda w, n, x: w("Asinh", x), "acosh": lambda w, n, x: w("Acosh", x),
    "atanh": lambda w, n, x: w("Atanh", x),
}  # fmt: skip
"""By the name of the op."""

PLACED: Mapping[str, Callable[[Node], bool]] = {
    "slice": lambda n: not forwards(n),
    "trunc_div": lambda n: n.output.type.floating,
}
"""When a node is written as its body all the same."""
