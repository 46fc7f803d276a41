"""Resizing: `jax.image.resize` where it means the same, repeats where elements only repeat."""

from __future__ import annotations

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.resize import lines, repeated
from ..source.parts import Parts
from ..source.tree import tree


def resizes(node: Node) -> bool:
    """JAX puts middles on middles, leaves out what lies outside, and has one cubic."""
    attrs, sizes = node.attrs, node.values[0].type.shape[2:]
    if attrs["mode"] == "nearest":
        found = lines(sizes, attrs["size"], attrs["scale"], attrs["coordinates"])
        each = (repeated(line, attrs["coordinates"], attrs["rounding"]) for line in found)
        return attrs["scale"] is not None and "scale" not in node.exprs and all(each)
    if attrs["coordinates"] != "half_pixel" or "scale" in node.exprs:
        return False
    inside = attrs["renormalise"] or attrs["antialias"]
    return attrs["mode"] == "linear" or bool(attrs["a"] == -0.5 and inside)


def resize(p: Parts) -> Expr:
    values = {name: p.fixed(name) for name in ("mode", "scale", "antialias")}
    rank = p.x.type.rank
    order = p.x.order or tuple(range(rank))
    scale = values["scale"]
    each = (scale,) * (rank - 2) if isinstance(scale, int) else scale
    if values["mode"] == "nearest":
        result: Expr = p["x"]
        for place, axis in enumerate(order):
            if axis > 1 and each[axis - 2] > 1:
                result = tree("jnp.repeat({x}, {n}, axis={axis})", x=result,
                              n=literal(each[axis - 2]), axis=literal(place))  # fmt: skip
        return result
    sizes = [_size(p, place, axis, each) for place, axis in enumerate(order)]
    return p.fill(
        "jax.image.resize({x}, (*{sizes},), {mode}, antialias={antialias})", sizes=sizes,
        antialias=None if values["antialias"] else literal(False),
    )  # fmt: skip


def _size(p: Parts, place: int, axis: int, scale: tuple[int, ...] | None) -> Expr:
    """The size of an axis of the result."""
    if axis > 1 and scale is None:
        found: Expr = p["size"].elts[axis - 2]
        return found
    before = p.x.type.shape[axis]
    times = 1 if axis < 2 or scale is None else scale[axis - 2]
    if isinstance(before, int):
        return literal(before * times)
    size = p.fill("{x}.shape[{place}]", place=literal(place))
    return size if times == 1 else tree("{size} * {times}", size=size, times=literal(times))
