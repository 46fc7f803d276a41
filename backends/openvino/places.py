"""How OpenVINO puts elements in order, moves and replaces them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.index import forwards

if TYPE_CHECKING:
    from .rules import Parts, Rule

_PICKED = "ops.topk({x}, {k}, {axis}, {mode}, 'value', stable=True)"


def _all(p: Parts) -> Expr:
    """The size of the axis, as a number or a tensor of rank 0."""
    size = p.x.type.shape[p.fixed("axis")]
    if isinstance(size, int):
        return p.fill("np.int32({n})", n=literal(size))
    return p.fill("ops.gather(ops.shape_of({x}, 'i32'), np.int32({axis}), np.int32(0))")


def _ordered(output: int) -> Callable[[Parts], Expr]:
    def rule(p: Parts) -> Expr:
        mode = literal("max" if p.fixed("descending") else "min")
        return p.fill(f"ops.identity({_PICKED}.output({output}))", k=_all(p), mode=mode)

    return rule


def _top_k(p: Parts) -> Expr:
    k = p.sizes.scalar(p["k"])
    k = k if p.sizes.open(k) else p.fill("np.int32({n})", n=k)
    mode = literal("max" if p.fixed("largest") else "min")
    return p.fill(f"{_PICKED}.outputs()", k=k, mode=mode)


def _scatter(reduction: str) -> str:
    return f"ops.scatter_elements_update({{x}}, {{index}}, {{updates}}, {{axis}}, '{reduction}')"


def _roll(p: Parts) -> Expr:
    axes = list(p.fixed("axes"))
    shift: Expr = p["shift"]
    if isinstance(shift, ast.Tuple):
        shift = ast.List(shift.elts, ast.Load())
    elif len(axes) == 1:
        shift = ast.List([shift], ast.Load())
    return p.fill("ops.roll({x}, {shift}, {axes})", shift=shift, axes=literal(axes))


def _einsum(p: Parts) -> Expr:
    spec = literal(p.fixed("spec").replace(" ", ""))
    return p.fill("ops.einsum([*{xs}], {spec})", spec=spec)


PLACES: Mapping[str, Rule] = {
    "argsort": _ordered(1), "sort": _ordered(0), "top_k": _top_k,
    "scatter": _scatter("none"), "scatter_max": _scatter("max"), "roll": _roll,
    "einsum": _einsum,
    **{name: f"ops.{name}({{a}}, {{b}})" for name in (
        "bitwise_and", "bitwise_or", "bitwise_xor")},
    "bitwise_not": "ops.bitwise_not({x})",
    "shift_left": "ops.bitwise_left_shift({a}, {b})",
    "shift_right": "ops.bitwise_right_shift({a}, {b})",
    "trunc_div": "ops.divide({a}, {b})", "fmod": "ops.mod({a}, {b})",
    "isfinite": "ops.is_finite({x})",
    **{name: f"ops.{name}({{x}})" for name in ("asinh", "acosh", "atanh")},
}  # fmt: skip
"""By the name of the op."""


def _known(node: Node) -> bool:
    """Whether all sizes are known: einsum does not compile where one has a large upper bound."""
    return all(isinstance(size, int) for x in node.values for size in x.type.shape)


PLACED: Mapping[str, Callable[[Node], bool]] = {
    "einsum": _known,
    "slice": forwards,
    "trunc_div": lambda node: not node.output.type.floating,
}
"""Where having the name is not enough."""
