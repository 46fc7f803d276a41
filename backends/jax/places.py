"""How JAX puts elements in order, moves and replaces them, and counts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.index import forwards
from ..source.parts import Parts, Rule
from ..source.tree import number


def _argsort(p: Parts) -> Expr:
    return p.fill(
        "jnp.argsort({x}, {axis}, descending={down}).astype(jnp.int32)",
        down=p.unless("descending", False),
    )


def _top_k(p: Parts) -> Expr:
    last = number(p["axis"]) == p.x.type.rank - 1
    return p.fill("jax.lax.top_k({x}, {k}, axis={axis})", axis=None if last else p["axis"])


def _at(method: str) -> Rule:
    """Every axis but one is indexed by its own positions."""

    def rule(p: Parts) -> Expr:
        axis, rank = number(p["axis"]), p.x.type.rank
        index = [p["index"] if i == axis else _positions(p, i, rank) for i in range(rank)]
        whole = ast.Tuple(index, ast.Load()) if rank > 1 else index[0]
        return p.fill(f"{{x}}.at[{{i}}].{method}({{updates}})", i=whole)

    return rule


def _positions(p: Parts, axis: int, rank: int) -> Expr:
    line = p.fill("jnp.arange({index}.shape[{axis}])", axis=literal(axis))
    after: list[Expr] = [literal(None)] * (rank - 1 - axis)
    if not after:
        return line
    return ast.Subscript(line, ast.Tuple([ast.Slice(), *after], ast.Load()), ast.Load())


def _roll(p: Parts) -> Expr:
    """Axes as they are stored, in the order of their shifts."""
    axes: Sequence[int] = p.apply.values["axes"]
    order = p.x.order or range(p.x.type.rank)
    stored = tuple(order.index(axis) for axis in axes)
    one = literal(stored[0] if len(stored) == 1 else stored)
    return p.fill("jnp.roll({x}, {shift}, {axes})", axes=one)


def _range(p: Parts) -> Expr:
    from .rules import dtype

    kind = dtype(p.fixed("dtype"))
    return p.fill("jnp.arange({start}, {end}, {step}, dtype={d})", step=p.unless("step", 1), d=kind)


def _cumprod(p: Parts) -> Expr:
    from .rules import dtype

    kind = p.x.type.dtype
    narrow = dtype(kind) if kind in ("u8", "i8", "i16") else None
    return p.fill("{x}.cumprod({axis}, dtype={d})", d=narrow)


def _dynamic_slice(p: Parts) -> Expr:
    return p.fill("jax.lax.dynamic_slice_in_dim({x}, {start}, {size}, {axis})")


def _dynamic_update(p: Parts) -> Expr:
    return p.fill("jax.lax.dynamic_update_slice_in_dim({x}, {update}, {start}, {axis})")


PLACES: Mapping[str, Rule] = {
    "argsort": _argsort, "sort": "jnp.sort({x}, {axis})", "top_k": _top_k,
    "scatter": _at("set"), "scatter_max": _at("max"), "dynamic_slice": _dynamic_slice,
    "dynamic_update": _dynamic_update, "roll": _roll, "arange": _range, "cumprod": _cumprod,
    "bitwise_and": "{a} & {b}", "bitwise_or": "{a} | {b}", "bitwise_xor": "{a} ^ {b}",
    "bitwise_not": "~{x}", "shift_left": "{a} << {b}", "shift_right": "{a} >> {b}",
    "einsum": "jnp.einsum({spec}, *{xs})",
    "fmod": "jnp.fmod({a}, {b})", "atan2": "jnp.arctan2({a}, {b})",
    "logaddexp": "jnp.logaddexp({a}, {b})",
    **{name: f"jnp.{name}({{x}})" for name in ("trunc", "isfinite", "exp2", "log2", "log10")},
    "asinh": "jnp.arcsinh({x})", "acosh": "jnp.arccosh({x})", "atanh": "jnp.arctanh({x})",
}  # fmt: skip
"""By the name of the op."""

PLACED: Mapping[str, Callable[[Node], bool]] = {
    "slice": forwards,
    "sort": lambda node: not node.attrs["descending"],
    "top_k": lambda node: bool(node.attrs["largest"]),
}
"""Where having the name is not enough: JAX sorts downwards by turning round what it sorted up."""
