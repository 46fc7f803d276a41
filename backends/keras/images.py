"""Resizing of images: Keras' layers and ops where they mean the same."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.resize import lines, repeated
from ..source.parts import Parts
from ..source.tree import tree


def resizes(node: Node) -> bool:
    """Keras repeats elements, and blends two of an image's with middles on middles.

    Its cubic reads its shares from a table on TensorFlow, which is off by 4e-4.
    """
    attrs, x = node.attrs, node.values[0].type
    if "scale" in node.exprs:
        return False
    if attrs["mode"] == "nearest":
        found = lines(x.shape[2:], attrs["size"], attrs["scale"], attrs["coordinates"])
        each = (repeated(line, attrs["coordinates"], attrs["rounding"]) for line in found)
        return attrs["scale"] is not None and all(each)
    if x.rank != 4 or attrs["coordinates"] != "half_pixel" or attrs["antialias"]:
        return False
    known = attrs["scale"] is None or all(isinstance(size, int) for size in x.shape[2:])
    return known and bool(attrs["mode"] == "linear")


def _scales(p: Parts) -> Sequence[int]:
    scale = p.apply.values["scale"]
    return (scale,) * (p.x.type.rank - 2) if isinstance(scale, int) else scale


def upsampling(p: Parts) -> Expr:
    """A layer that repeats, or a function that blends."""
    if p.apply.values["mode"] != "nearest":
        return _blended(p)
    scales = _scales(p)
    size = scales[0] if len(set(scales)) == 1 else tuple(scales)
    plain = size == 2
    return p.fill(f"keras.layers.UpSampling{len(scales)}D({{size}})({{x}})",
                  size=None if plain else literal(size))  # fmt: skip


def repeating(p: Parts) -> Expr:
    """The same inside a layer's `call`."""
    if p.apply.values["mode"] != "nearest":
        return _blended(p)
    result: Expr = p["x"]
    for axis, times in enumerate(_scales(p), 1):
        if times > 1:
            result = tree("keras.ops.repeat({x}, {n}, axis={axis})", x=result, n=literal(times),
                          axis=literal(axis))  # fmt: skip
    return result


def _blended(p: Parts) -> Expr:
    size: Expr = p["size"]
    if size is None:
        pairs = zip(p.x.type.shape[2:], _scales(p), strict=True)
        size = literal(tuple(int(before) * times for before, times in pairs))
    return p.fill("keras.ops.image.resize({x}, {size}, data_format='channels_last')", size=size)
