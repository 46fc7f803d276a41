"""Resizing, and moving elements between channels and places: where PyTorch has exactly this."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from struct import pack, unpack

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.resize import Line, lines, repeated
from ...compiler.ops.window import Window
from ..source.parts import Parts, Rule
from ..source.tree import number
from .reductions import axis

# --------------------------------------------------------------------------------------- resize

_MODES = {("linear", 3): "linear", ("linear", 4): "bilinear", ("linear", 5): "trilinear",
          ("cubic", 4): "bicubic"}  # fmt: skip


def resizes(node: Node) -> bool:
    """Whether `F.interpolate` is this op: it computes its places in floats, and has one cubic."""
    x, attrs = node.values[0].type, node.attrs
    if not x.floating:
        return False
    if attrs["mode"] == "nearest":
        return _nearest(node) is not None
    if (attrs["mode"], x.rank) not in _MODES or attrs["coordinates"] == "asymmetric":
        return False
    plain = not attrs["antialias"]
    if attrs["renormalise"] and plain:
        return False
    if attrs["mode"] == "cubic" and attrs["a"] != (-0.75 if plain else -0.5):
        return False
    return plain or (x.rank == 4 and attrs["coordinates"] == "half_pixel")


def _nearest(node: Node) -> str | None:
    """The mode that takes exactly these elements, if there is one."""
    attrs, sizes = node.attrs, node.values[0].type.shape[2:]
    coordinates, rounding = attrs["coordinates"], attrs["rounding"]
    found = lines(sizes, attrs["size"], attrs["scale"], coordinates)
    if attrs["scale"] is not None and all(repeated(n, coordinates, rounding) for n in found):
        whole = all(Fraction(_single(1 / n.repeats)) * n.repeats >= 1 for n in found)
        return "nearest" if whole else None
    modes = {("half_pixel", "half_up"): "nearest-exact", ("asymmetric", "floor"): "nearest"}
    mode = modes.get((coordinates, rounding))
    known = all(isinstance(n.before, int) and isinstance(n.after, int) for n in found)
    if mode is None or not known or "size" in node.exprs or attrs["size"] is None:
        return None
    return mode if all(_as_floats(n, mode) for n in found) else None


def _as_floats(line: Line, mode: str) -> bool:
    """Whether PyTorch's product of floats finds the same places."""
    assert isinstance(line.before, int)
    assert isinstance(line.after, int)
    last = line.before - 1
    step, nearest = _single(line.before / line.after), mode == "nearest-exact"
    for place in range(line.after):
        theirs = floor(_single((place + 0.5 * nearest) * step))
        num = place * line.step + line.start
        ours = (2 * num + line.den) // (2 * line.den) if nearest else num // line.den
        if min(max(theirs, 0), last) != min(max(ours, 0), last):
            return False
    return True


def _single(x: float) -> float:
    """The nearest number of f32. Products and quotients of two such are exact enough before."""
    return float(unpack("f", pack("f", x))[0])


def _resize(p: Parts) -> Expr:
    values = p.apply.values
    mode = _MODES.get((values["mode"], p.x.type.rank))
    if mode is None:
        near = values["size"] is not None and values["coordinates"] == "half_pixel"
        mode = "nearest-exact" if near else "nearest"
    corners = values["mode"] != "nearest" and values["coordinates"] == "align_corners"
    scale = number(p["scale"])
    alike = isinstance(scale, tuple) and len(set(scale)) == 1
    return p.fill(
        "F.interpolate({x}, size={size}, scale_factor={scale}, mode={mode}, align_corners={c}, "
        "antialias={antialias})",
        mode=literal(mode) if mode != "nearest" else None, c=literal(True) if corners else None,
        scale=literal(scale[0]) if alike else p["scale"],
        antialias=p.unless("antialias", False) if values["mode"] != "nearest" else None,
    )  # fmt: skip


# --------------------------------------------------------------------------------------- others


def shuffles(node: Node) -> bool:
    """PyTorch has one order of channels."""
    return bool(node.attrs["order"] == "crd")


def unfolds(node: Node) -> bool:
    """PyTorch has it for images, padded alike at both ends."""
    x = node.values[0].type
    names = {name: node.attrs[name] for name in ("kernel", "stride", "pad", "dilation")}
    if x.rank != 4 or any(name in node.exprs for name in names):
        return False
    return all(low == high for low, high in Window.of(x.shape[2:], **names).pads)


def _unfold(p: Parts) -> Expr:
    names = ("kernel", "stride", "pad", "dilation")
    window = Window.of(p.x.type.shape[2:], **{name: p.fixed(name) for name in names})
    pads = tuple(low for low, _ in window.pads)
    kernel, dilation, pad, stride = (
        literal(given[0] if len(set(given)) == 1 else given)
        for given in (window.kernel, window.dilation, pads, window.stride)
    )
    plain = number(dilation) == 1, number(pad) == 0, number(stride) == 1
    return p.fill(
        "F.unfold({x}, {kernel}, dilation={dilation}, padding={pad}, stride={stride})",
        kernel=kernel, dilation=None if plain[0] else dilation, pad=None if plain[1] else pad,
        stride=None if plain[2] else stride,
    )  # fmt: skip


def normalizes(node: Node) -> bool:
    """PyTorch's is along one axis."""
    return len(node.attrs["axes"]) == 1


def _normalize(p: Parts) -> Expr:
    (at,) = p.value("axes")
    dim = literal(-1 if at == p.x.type.rank - 1 > 0 else at)
    dim_given = None if at == 1 else dim
    return p.fill("F.normalize({x}, dim={d}, eps={e})", d=dim_given, e=p.unless("eps", 1e-12))


def _adaptive(p: Parts) -> Expr:
    return p.fill(f"F.adaptive_avg_pool{p.x.type.rank - 2}d({{x}}, {{size}})")


def _softmin(p: Parts) -> Expr:
    return p.fill("F.softmin({x}, dim={axis})", axis=axis(p))


def _local(p: Parts) -> Expr:
    return p.fill(
        "F.local_response_norm({x}, {size}, alpha={alpha}, beta={beta}, k={k})",
        alpha=p.unless("alpha", 1e-4), beta=p.unless("beta", 0.75), k=p.unless("k", 1.0),
    )  # fmt: skip


def _grid_sample(p: Parts) -> Expr:
    """PyTorch wants to be told where -1 and 1 are."""
    return p.fill(
        "F.grid_sample({x}, {grid}, mode={mode}, padding_mode={padding}, align_corners={a})",
        mode=p.unless("mode", "linear"), padding=p.unless("padding", "zeros"),
        a=p["align_corners"],
    )  # fmt: skip


IMAGES: Mapping[str, Rule] = {
    "resize": _resize, "pixel_shuffle": "F.pixel_shuffle({x}, {factor})",
    "pixel_unshuffle": "F.pixel_unshuffle({x}, {factor})", "unfold": _unfold,
    "adaptive_avg_pool": _adaptive, "l2_normalize": _normalize, "softmin": _softmin,
    "local_response_norm": _local, "grid_sample": _grid_sample,
}  # fmt: skip
"""By the name of the op."""

FITS = {
    "resize": resizes, "pixel_shuffle": shuffles, "pixel_unshuffle": shuffles, "unfold": unfolds,
    "l2_normalize": normalizes,
}  # fmt: skip
"""Where having the name is not enough."""
