"""Convolutions and pools: what their modules and their functions are called with."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.op import TypeMismatch
from ...compiler.ops.window import Window
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, real, text, tree
from .shapes import backwards, elements, pairs


def spatial(p: Parts) -> int:
    """How many spatial axes the first tensor has."""
    return p.x.type.rank - 2


def padding(p: Parts) -> tuple[Expr | None, Expr | None]:
    """The argument `padding` (None for none), and what F.pad must add before (None for nothing).

    PyTorch pads both ends alike.
    """
    pad: Expr = p["pad"]
    if is_literal(pad, 0):
        return None, None
    if is_literal(pad, "same"):
        if p.op.name == "conv" and is_literal(_one(p["stride"]), 1) and _even(p):
            return pad, None
        pad = _same(p)
    if not isinstance(pad, (ast.Tuple, ast.List)):
        return pad, None
    rows = pairs(pad)
    if all(text(low) == text(high) for low, high in rows):
        return _one(ast.Tuple([low for low, _ in rows], ast.Load())), None
    return None, backwards(rows)


def _one(value: Expr) -> Expr:
    """`(2, 2)` as `2`."""
    items = elements(value)
    return items[0] if len({text(item) for item in items}) == 1 else value


def _even(p: Parts) -> bool:
    """Whether "same" pads both ends alike, for which PyTorch needs no copy."""
    kernel, dilation = (p.value(name) for name in ("kernel", "dilation"))
    if kernel is None or dilation is None:
        return True
    window = Window.of(p.x.type.shape[2:], kernel, 1, "same", dilation)
    return all(low == high for low, high in window.pads)


def _same(p: Parts) -> Expr:
    """The pads that "same" stands for: of known sizes, or where they do not matter."""
    names = [name for name in ("kernel", "stride", "dilation") if name in p.op.config]
    fixed = {name: p.fixed(name) for name in names}
    try:
        return literal(Window.of(p.x.type.shape[2:], **fixed, pad="same").pads)
    except TypeMismatch as error:
        raise MlcError("unsupported", f"{p.op.name}: {error}", help=error.help) from error


def _zero(pads: Expr | None) -> Expr | None:
    """None where nothing is padded."""
    if pads is None or all(is_literal(end, 0) for end in elements(pads)):
        return None
    return pads


def padded(p: Parts, x: Expr, value: float = 0.0) -> Expr:
    """`x`, padded by what the argument cannot say."""
    _, before = padding(p)
    if _zero(before) is None:
        return x
    fill = None if value == 0 else real(value)
    return tree("F.pad({x}, {pads}, value={fill})", x=x, pads=before, fill=fill)


def taps(p: Parts) -> dict[str, Expr | None]:
    """The arguments of a convolution, without those that PyTorch takes by itself."""
    pad, _ = padding(p)
    return {
        "stride": p.unless("stride", 1), "pad": pad,
        "dilation": p.unless("dilation", 1), "groups": p.unless("groups", 1),
    }  # fmt: skip


# ----------------------------------------------------------------------------------- convolutions


def _conv(p: Parts) -> Expr:
    return p.fill(
        f"F.conv{spatial(p)}d({{x}}, {{weight}}, {{bias_tensor}}, stride={{stride}}, "
        "padding={pad}, dilation={dilation}, groups={groups})",
        **{**taps(p), "x": padded(p, p["x"])},
    )


def cropping(p: Parts) -> tuple[Expr | None, Expr | None]:
    """For conv_transpose: the argument `padding`, and what F.pad cuts off (negative) afterwards."""
    pad, rest = padding(p)
    if rest is None:
        return pad, None
    low = [min(number(end) for end in row) for row in pairs(p["pad"])]
    left = [
        tuple(literal(least - number(end)) for end in row)
        for least, row in zip(low, pairs(p["pad"]), strict=True)
    ]
    cut = backwards([(row[0], row[1]) for row in left])
    least = _one(literal(tuple(low)))
    return None if is_literal(least, 0) else least, cut


def cropped(p: Parts, y: Expr) -> Expr:
    """`y` without what the argument `padding` of conv_transpose cannot cut off."""
    _, cut = cropping(p)
    return y if _zero(cut) is None else tree("F.pad({y}, {cut})", y=y, cut=cut)


def _conv_transpose(p: Parts) -> Expr:
    pad, _ = cropping(p)
    made = p.fill(
        f"F.conv_transpose{spatial(p)}d({{x}}, {{weight}}, {{bias_tensor}}, stride={{stride}}, "
        "padding={pad}, output_padding={out}, groups={groups}, dilation={dilation})",
        **{**taps(p), "pad": pad, "out": p.unless("output_pad", 0)},
    )
    return cropped(p, made)


# ------------------------------------------------------------------------------------------ pools


def pooling(p: Parts) -> dict[str, Expr | None]:
    """The arguments of a pool."""
    pad, _ = padding(p)
    stride = p["stride"]
    same = stride is None or text(_one(stride)) == text(_one(p["kernel"]))
    return {
        "kernel": _one(p["kernel"]), "stride": None if same else _one(stride), "pad": pad,
        "dilation": p.unless("dilation", 1) if "dilation" in p.op.config else None,
        "ceil": p.unless("ceil", False), "count": _counted(p, pad),
    }  # fmt: skip


def _counted(p: Parts, pad: Expr | None) -> Expr | None:
    """Frameworks disagree on whether padding counts, so that it is written wherever it matters."""
    matters = "count_pad" in p.op.config and pad is not None
    found: Expr | None = p["count_pad"] if matters else None
    return found


def _max_pool(p: Parts) -> Expr:
    return p.fill(
        f"F.max_pool{spatial(p)}d({{x}}, {{kernel}}, stride={{stride}}, padding={{pad}}, "
        "dilation={dilation}, ceil_mode={ceil})",
        **{**pooling(p), "x": padded(p, p["x"], float("-inf"))},
    )


def _avg_pool(p: Parts) -> Expr:
    return p.fill(
        f"F.avg_pool{spatial(p)}d({{x}}, {{kernel}}, stride={{stride}}, padding={{pad}}, "
        "ceil_mode={ceil}, count_include_pad={count})",
        **{**pooling(p), "x": padded(p, p["x"])},
    )


def _windows(p: Parts) -> Expr:
    """`x.unfold(2, 3, 1)`, one for each spatial axis."""
    count = spatial(p)
    kernels, strides = (
        elements(p[name]) * (count if len(elements(p[name])) == 1 else 1)
        for name in ("kernel", "stride")
    )
    x = padded(p, p["x"], p.fixed("value"))
    pad, _ = padding(p)
    if pad is not None:
        ends = elements(pad) * (count if len(elements(pad)) == 1 else 1)
        fill = None if p.fixed("value") == 0 else real(p.fixed("value"))
        rows = backwards([(end, end) for end in ends])
        x = tree("F.pad({x}, {pads}, value={fill})", x=x, pads=rows, fill=fill)
    for axis in range(count):
        x = tree("{x}.unfold({axis}, {kernel}, {stride})", x=x, axis=literal(axis + 2),
                 kernel=kernels[axis], stride=strides[axis])  # fmt: skip
    return x


WINDOWS: Mapping[str, Rule] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "max_pool": _max_pool,
    "avg_pool": _avg_pool, "windows": _windows,
}  # fmt: skip
"""What slides over images, by the name of the op."""
