"""The method for attention: projections, the product in each head, and the last projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...compiler import expr
from ...compiler.expr import Expr
from ...compiler.program import Apply
from ..source.parts import Open, Parts
from ..source.tree import number

MASKED = '''\
def masked_attention(
    self, q: ov.Output, k: ov.Output, v: ov.Output, mask: ov.Output, scale: np.float32 | None = None
) -> ov.Node:
    """Attention in which a query that may attend to nothing gets zeros."""
    y = ops.scaled_dot_product_attention(q, k, v, mask, scale)
    some = ops.reduce_logical_or(mask, [-1], keep_dims=True)
    return ops.select(some, y, np.float32(0))
'''

EARLIER = """\
    if causal:
        T, S = (ops.gather(ops.shape_of(y, "i32"), np.int32(-2), np.int32(0)) for y in (q, k))
        row, column = (ops.range(0, n, 1, "i32") for n in (T, S))
        row = ops.add(ops.unsqueeze(row, 1), ops.subtract(S, T))
        mask = ops.logical_and(mask, ops.less_equal(column, row))
"""


def masked(body: str) -> str:
    """The method for a product with a mask; causal where a call in the body says so."""
    calls = [line for line in body.splitlines() if "self.masked_attention(" in line]
    if not any("causal=" in line for line in calls):
        return MASKED
    head, rest = MASKED.split("    y = ", 1)
    head = head.replace("| None = None", "| None = None, causal: bool = False")
    return f"{head}{EARLIER}    y = {rest}"


def traits(apply: Apply) -> tuple[Any, ...]:
    """What it attends to, how it may, and whether its projections have a bias."""
    names = [n.rstrip("?") for n in apply.op.inputs]
    there = {n: apply.inputs[names.index(n)] is not None for n in ("context", "keep", "mask")}
    scale = number(apply.attrs["scale"])
    if expr.names(apply.attrs["scale"]):
        raise Open(apply, "scale")
    return (
        there["context"], there["keep"], there["mask"], bool(apply.values["causal"]),
        scale, any(part.endswith("bias") for part in apply.weights),
    )  # fmt: skip


def tensors(traits: tuple[Any, ...]) -> Sequence[str]:
    """The method's arguments for tensors."""
    names = ("context", "keep", "mask")
    more = [f"{n}: ov.Output" for n, given in zip(names, traits, strict=False) if given]
    return ("x: ov.Output", "name: str", *more)


def given(p: Parts) -> list[Expr]:
    """The tensors of a call."""
    return [p["x"], *(p[n] for n in ("context", "keep", "mask") if p[n] is not None)]


def lines(traits: tuple[Any, ...], texts: Mapping[str, str]) -> list[str]:
    """The body of the method."""
    context, keep, mask, causal, scale, _ = traits
    source = "context" if context else "x"
    linear = f"self.{texts['linear']}"
    project = f'{linear}({"y" if context else "x"}, f"{{name}}.{{part}}")'
    parts = '("query", "key", "value")'
    pairs = f'(("query", x), ("key", {source}), ("value", {source}))'
    loop = f"for part, y in {pairs}" if context else f"for part in {parts}"
    split = f"ops.reshape({project}, [0, 0, {texts['heads']}, -1], special_zero=True)"
    what = "Causal multi-head" if causal else "Multi-head"
    return [
        f'"""{what} attention over (B, T, D)."""',
        f"q, k, v = (ops.transpose({split}, [0, 2, 1, 3]) {loop})",
        *_masked(source, keep, mask, causal, scale),
        "y = ops.reshape(ops.transpose(y, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)",
        f'return {linear}(y, f"{{name}}.output")',
    ]


def _masked(source: str, keep: bool, mask: bool, causal: bool, scale: float | None) -> list[str]:
    """The product of attention; a query that may attend to nothing gets zeros."""
    factor = "" if scale is None else f", scale=np.float32({scale!r})"
    if not (keep or mask or (causal and source != "x")):
        given = ", causal=True" if causal else ""
        return [f"y = ops.scaled_dot_product_attention(q, k, v{factor}{given})"]
    lines: list[str] = []
    terms: list[str] = []
    if keep:
        terms.append("ops.unsqueeze(keep, [1, 2])")
    if mask:
        terms.append("mask")
    if causal:
        lines += [
            f'T, S = (ops.gather(ops.shape_of(y, "i32"), 1, 0) for y in (x, {source}))',
            'row, column = (ops.range(0, n, 1, "i32") for n in (T, S))',
            "row = ops.add(ops.unsqueeze(row, 1), ops.subtract(S, T))",
        ]
        terms.append("ops.less_equal(column, row)")
    allowed = terms[0]
    for term in terms[1:]:
        allowed = f"ops.logical_and({allowed}, {term})"
    return [
        *lines,
        f"allowed = {allowed}",
        f"y = ops.scaled_dot_product_attention(q, k, v, allowed{factor})",
        "some = ops.reduce_logical_or(allowed, [-1], keep_dims=True)",
        "y = ops.select(some, y, np.float32(0))",
    ]
