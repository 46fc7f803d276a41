"""Convolutions by weights that are tensors of the model: no layer of NNX' takes them."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ...compiler.expr import Expr, literal
from ..source.parts import Parts
from ..source.tree import is_literal, tree
from .windows import each, pairs, reaches, spatial


def conv(p: Parts) -> Expr:
    """`jax.lax.conv_general_dilated`, told which axis of each tensor is what."""
    count = spatial(p.x.type)
    same = is_literal(p["pad"], "same")
    return _with_bias(p, p.fill(
        "jax.lax.conv_general_dilated({x}, {weight}, {stride}, {pad}, rhs_dilation={dilation}, "
        "dimension_numbers={axes}, feature_group_count={groups})",
        stride=each(p["stride"], count),
        pad=literal("SAME") if same else pairs(p["pad"], count),
        dilation=_dilation(p, count), axes=_axes(p, "OI"), groups=p.unless("groups", 1),
    ))  # fmt: skip


def conv_transpose(p: Parts) -> Expr:
    """The convolution of the stretched input by the kernel turned round."""
    count = spatial(p.x.type)
    groups = p.fixed("groups")
    weight = p["weight"] if groups == 1 else _regrouped(p, groups)
    flipped = tree("jnp.flip({w}, {axes})", w=weight, axes=literal(_places(p, groups)))
    return _with_bias(p, p.fill(
        "jax.lax.conv_general_dilated({x}, {flipped}, {ones}, {rows}, lhs_dilation={stride}, "
        "rhs_dilation={dilation}, dimension_numbers={axes}, feature_group_count={groups})",
        flipped=flipped, ones=literal((1,) * count), rows=reaches(p),
        stride=None if is_literal(p["stride"], 1) else each(p["stride"], count),
        dilation=_dilation(p, count), axes=_axes(p, "IO" if groups == 1 else "OI", groups == 1),
        groups=None if groups == 1 else literal(groups),
    ))  # fmt: skip


def _places(p: Parts, groups: int) -> tuple[int, ...]:
    """The spatial axes of the weight as it is stored."""
    rank = p.x.type.rank
    order = _order(p, "weight") if groups == 1 else range(rank)
    return tuple(i for i, axis in enumerate(order) if axis > 1)


def _regrouped(p: Parts, groups: int) -> Expr:
    """(in, out / groups, *kernel) as (out, in / groups, *kernel)."""
    var = p.var("weight")
    assert var is not None
    inputs, outputs, *kernel = var.type.shape
    taps = [p.place(literal(size)) for size in kernel]
    weight: Expr = p["weight"]
    if var.order is not None:
        back = [literal(var.order.index(axis)) for axis in range(var.type.rank)]
        weight = tree("{w}.transpose(*{back})", w=weight, back=back)
    return tree(
        "{w}.reshape({g}, -1, {o}, *{k}).swapaxes(1, 2).reshape(-1, {i}, *{k})", w=weight,
        g=literal(groups), o=p.place(literal(outputs)), i=p.place(literal(inputs // groups)),
        k=taps,
    )  # fmt: skip


def _order(p: Parts, name: str) -> Sequence[int]:
    var = p.x if name == "x" else p.var(name)
    assert var is not None
    return var.order or range(var.type.rank)


def _axes(p: Parts, kind: str, stored: bool = True) -> Expr:
    """`("NHWC", "OIHW", "NHWC")`: the axes of input, weight and result as they are stored."""
    places = "DHW"[-spatial(p.x.type) :]
    weight = _order(p, "weight") if stored else range(p.x.type.rank)
    result = p.apply.outputs[0].order or range(p.x.type.rank)
    named = (("NC", _order(p, "x")), (kind, weight), ("NC", result))
    return literal(tuple("".join((first + places)[i] for i in order) for first, order in named))


def _dilation(p: Parts, count: int) -> Expr | None:
    return None if is_literal(p["dilation"], 1) else each(p["dilation"], count)


def _with_bias(p: Parts, y: Expr) -> Expr:
    """Plus the bias, which broadcasts where channels are last."""
    bias = p["bias_tensor"]
    if bias is None:
        return y
    order = p.apply.outputs[0].order or range(p.x.type.rank)
    behind = [literal(None)] * (len(order) - 1 - list(order).index(1))
    if behind:
        bias = ast.Subscript(bias, ast.Tuple([ast.Slice(), *behind], ast.Load()), ast.Load())
    return tree("{y} + {bias}", y=y, bias=bias)
