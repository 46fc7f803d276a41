"""What elementwise ops share: broadcasting of types, its reverse for gradients, dtype checks."""

from __future__ import annotations

from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, TypeMismatch, require_equal


def require_floating(op: str, *types: Type | None) -> None:
    """Raises unless every given type is a float."""
    for t in types:
        if t is not None and not t.floating:
            raise TypeMismatch(
                f"{op} takes floats, and gets {t}", "dtype", help="write cast(x, f32) first"
            )


def require_numeric(op: str, *types: Type | None) -> None:
    """Raises unless every given type is a number (bool is none)."""
    for t in types:
        if t is not None and t.dtype == "bool":
            raise TypeMismatch(
                f"{op} takes numbers, and gets {t}", "dtype", help="write cast(x, f32) first"
            )


def require_bool(op: str, *types: Type | None) -> None:
    """Raises unless every given type is bool."""
    for t in types:
        if t is not None and t.dtype != "bool":
            raise TypeMismatch(f"{op} takes bools, and gets {t}", "dtype")


def require_integer(op: str, *types: Type | None) -> None:
    """Raises unless every given type is an integer."""
    for t in types:
        if t is not None and (t.floating or t.dtype == "bool"):
            raise TypeMismatch(
                f"{op} takes integers, and gets {t}", "dtype", help="write cast(x, i32) first"
            )


def require_same_dtype(op: str, first: Type, *others: Type | None) -> None:
    """Raises unless all types have one dtype: nothing is promoted silently."""
    for t in others:
        if t is not None and t.dtype != first.dtype:
            raise TypeMismatch(
                f"{op} takes tensors of one dtype, and gets {first} and {t}",
                "dtype",
                help=f"write cast(x, {first.dtype}) or cast(x, {t.dtype}) for one of them",
            )


def broadcast(*types: Type, dtype: str | None = None) -> Type:
    """The type of an elementwise result: shapes aligned at the right as NumPy does.

    A size of 1 (or a missing axis) is stretched; other sizes must be equal. An axis keeps the label
    that is known, of several the first. `dtype` is the result's, by default the first type's.
    """
    first = types[0]
    if dtype in (None, first.dtype) and all(
        t.shape == first.shape and t.labels == first.labels for t in types
    ):
        return first
    rank = max(t.rank for t in types)
    axes = [_axis([t for t in types if t.rank > i], -1 - i, types) for i in range(rank)][::-1]
    return Type(dtype or first.dtype, tuple(s for s, _ in axes), tuple(label for _, label in axes))


def _axis(present: list[Type], axis: int, types: tuple[Type, ...]) -> tuple[Dim, str | None]:
    """Size and label of one axis (counted from the right) of the result."""
    size: Dim = 1
    for t in present:
        if size == 1:
            size = t.shape[axis]
        elif t.shape[axis] not in (1, size):
            shown = " and ".join(str(t) for t in types)
            message = f"{shown} do not broadcast: {size} is not {t.shape[axis]}"
            size = require_equal(size, t.shape[axis], message)
    ordered = sorted(present, key=lambda t: t.shape[axis] == 1 and size != 1)
    return size, next((t.labels[axis] for t in ordered if t.labels[axis] is not None), None)


def unbroadcast(b: Build, g: Value, like: Value) -> Value:
    """The gradient of `like`, given the gradient `g` of what `like` was broadcast to."""
    from .reduce import SUM

    extra = g.type.rank - like.type.rank
    if extra:
        g = b(SUM, g, axes=tuple(range(extra)))
    pairs = enumerate(zip(g.type.shape, like.type.shape, strict=True))
    stretched = tuple(i for i, (now, before) in pairs if before == 1 and now != 1)
    return b(SUM, g, axes=stretched, keep=True) if stretched else g


def expand_like(b: Build, g: Value, like: Value, axes: tuple[int, ...], keep: bool) -> Value:
    """`g`, of the shape of a reduction over `axes`, stretched to the shape of `like`."""
    from .shape import EXPAND

    result: Value = b(EXPAND, kept(b, g, axes, keep), shape=like.type.shape)
    return result


def kept(b: Build, y: Value, axes: tuple[int, ...], keep: bool) -> Value:
    """`y`, the result of a reduction over `axes`, with those axes there, of size 1."""
    from .shape import UNSQUEEZE

    if keep or not axes or y.type.rank == 0:
        return y
    result: Value = b(UNSQUEEZE, y, axes=axes)
    return result


def number(b: Build, size: Dim, like: Value) -> Value | float:
    """A size as an operand beside `like`: a float where known, else a constant of the graph."""
    return float(size) if isinstance(size, int) else b.constant(size, like.type.dtype)
