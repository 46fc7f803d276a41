"""How Keras puts elements in order, moves them, and counts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.index import forwards
from ..source.parts import Parts, Rule
from ..source.tree import number, tree
from .shapes import Pieces


def _argsort(p: Parts) -> Expr:
    """Downwards by what is in order the other way round: -x, or of integers the bits turned."""
    if p.unless("descending", False) is None:
        x: Expr = p["x"]
    else:
        x = p.fill("-{x}" if p.x.type.floating else "keras.ops.bitwise_not({x})")
    return p.fill("keras.ops.cast(keras.ops.argsort({x}, axis={axis}), 'int32')", x=x)


def _roll(p: Parts) -> Expr:
    """Axes as they are stored, in the order of their shifts."""
    axes: Sequence[int] = p.apply.values["axes"]
    order = p.x.order or range(p.x.type.rank)
    stored = tuple(order.index(axis) for axis in axes)
    shift, axis = p["shift"], literal(stored)
    if len(stored) == 1:
        axis = literal(stored[0])
        shift = shift.elts[0] if isinstance(shift, ast.Tuple) else shift
    return p.fill("keras.ops.roll({x}, {n}, axis={axis})", n=shift, axis=axis)


def _range(p: Parts) -> Expr:
    from .rules import dtype

    kind = dtype(p.fixed("dtype"))
    return p.fill(
        "keras.ops.arange({start}, {end}, {step}, dtype={d})", step=p.unless("step", 1), d=kind
    )


def _einsum(p: Parts) -> Expr:
    spec = literal(p.fixed("spec").replace(" ", ""))
    return p.fill("keras.ops.einsum({spec}, *{xs})", spec=spec)


def _put(p: Parts) -> dict[str, Expr]:
    """Each update stands in a line of zeros, in the place of its index: where, and the sum."""
    axis = number(p["axis"])
    size = p.x.type.shape[p.apply.values["axis"]]
    count = (
        literal(size)
        if isinstance(size, int)
        else p.fill("keras.ops.shape({x})[{axis}]", axis=literal(axis))
    )
    line = [literal(-1)] + [literal(1)] * (p.x.type.rank - axis)
    places = p.fill("keras.ops.reshape(keras.ops.arange({n}), (*{line},))", n=count, line=line)
    at = p.fill("keras.ops.equal(keras.ops.expand_dims({index}, {axis}), {places})",
                axis=literal(axis), places=places)  # fmt: skip
    lines = p.fill("keras.ops.where({at}, keras.ops.expand_dims({updates}, {axis}), 0)",
                   at=at, axis=literal(axis))  # fmt: skip
    along = literal(axis + 1)
    total = tree("keras.ops.sum({lines}, axis={axis})", lines=lines, axis=along)
    return {"at": at, "along": along, "total": total}


def _scatter_add(p: Parts) -> Expr:
    eager = isinstance(p, Pieces) and p.var("x") in p.eager
    return p.fill("keras.ops.add({x}, {total})" if eager else "{x} + {total}", **_put(p))


def _scatter(p: Parts) -> Expr:
    template = "keras.ops.where(keras.ops.any({at}, axis={along}), {total}, {x})"
    return p.fill(template, **_put(p))


PLACES: Mapping[str, Rule] = {
    "argsort": _argsort, "sort": "keras.ops.sort({x}, axis={axis})",
    "einsum": _einsum, "scatter": _scatter, "scatter_add": _scatter_add,
    "roll": _roll, "arange": _range,
    **{name: f"keras.ops.{name}({{a}}, {{b}})" for name in (
        "bitwise_and", "bitwise_or", "bitwise_xor", "logaddexp")},
    "shift_left": "keras.ops.bitwise_left_shift({a}, {b})",
    "shift_right": "keras.ops.bitwise_right_shift({a}, {b})",
    "bitwise_not": "keras.ops.bitwise_not({x})", "atan2": "keras.ops.arctan2({a}, {b})",
    **{name: f"keras.ops.{name}({{x}})" for name in (
        "trunc", "isfinite", "exp2", "log2", "log10")},
    "asinh": "keras.ops.arcsinh({x})", "acosh": "keras.ops.arccosh({x})",
    "atanh": "keras.ops.arctanh({x})",
}  # fmt: skip
"""By the name of the op."""

PLACED: Mapping[str, Callable[[Node], bool]] = {
    "slice": forwards,
    "sort": lambda node: not node.attrs["descending"],
}
"""Where having the name is not enough."""
