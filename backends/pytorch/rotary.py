"""Rotary positions: a function of the file, as much of it as the model needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.program import Apply, Program, walk
from ..source.parts import Parts
from ..source.tree import is_literal

NAMES: Mapping[str, str] = {"half": "rotary", "interleaved": "rotary_interleaved"}
"""Pairing -> what turns such pairs."""


def fits(node: Node) -> bool:
    """Whether the function's angles, which are as wide as x, are wide enough."""
    return node.outputs[0].type.dtype in ("f32", "f64")


def rotary(p: Parts) -> Expr:
    """`rotary(x)`; positions of a batch get the axes that x has before its places."""
    positions, var = p["positions"], p.var("positions")
    if var is not None and var.type.rank == 2 and p.x.type.rank > 3:
        index = [ast.Slice(), *[literal(None)] * (p.x.type.rank - 3)]
        positions = ast.Subscript(positions, ast.Tuple(index, ast.Load()), ast.Load())
    return p.fill(
        f"{NAMES[p.fixed('pairing')]}({{x}}, {{positions}}, base={{base}}, width={{width}})",
        positions=positions, base=p.unless("base", 10000.0),
    )  # fmt: skip


def functions(program: Program) -> Iterator[str]:
    """One for each pairing that the model has."""
    found = [s for cls in program.classes for s in walk(cls.body)
             if isinstance(s, Apply) and s.op.name == "rotary"]  # fmt: skip
    for pairing in NAMES:
        if own := [s for s in found if is_literal(s.attrs["pairing"], pairing)]:
            yield _function(pairing, own)


def _function(pairing: str, found: Sequence[Apply]) -> str:
    placed = any(s.inputs[1] is not None for s in found)
    bases = any(not is_literal(s.attrs["base"], 10000.0) for s in found)
    parted = any(expr.show(s.attrs["width"]) != "None" for s in found)
    head = _head(pairing, placed, bases, parted)
    return "\n".join([*head, *_angles(placed, bases, parted), *_turn(pairing, parted), ""])


def _head(pairing: str, placed: bool, bases: bool, parted: bool) -> list[str]:
    given = ["x: Tensor", *["positions: Tensor | None = None"] * placed]
    given += ["*"] * (bases or parted)
    given += [*["base: float = 10000.0"] * bases, *["width: int | None = None"] * parted]
    what = "the halves" if pairing == "half" else "neighbours"
    return [
        f"def {NAMES[pairing]}({', '.join(given)}) -> Tensor:",
        f'    """Turn {what} of x (..., T, K) by angles that grow along T (Su et al. 2021)."""',
    ]


def _angles(placed: bool, bases: bool, parted: bool) -> list[str]:
    return [
        "    width = x.shape[-1] if width is None else width" if parted
        else "    width = x.shape[-1]",
        *(["    if positions is None:",
           "        positions = torch.arange(x.shape[-2], device=x.device)"] if placed
          else ["    positions = torch.arange(x.shape[-2], device=x.device)"]),
        "    step = torch.arange(0, width, 2, dtype=x.dtype, device=x.device) / width",
        f"    angle = positions.unsqueeze(-1) * {'base' if bases else '10000.0'} ** -step",
        "    cos, sin = torch.cos(angle), torch.sin(angle)",
    ]  # fmt: skip


def _turn(pairing: str, parted: bool) -> list[str]:
    pairs = "x.chunk(2, dim=-1)" if pairing == "half" else "x[..., ::2], x[..., 1::2]"
    turned = "[a * cos - b * sin, b * cos + a * sin]"
    y = f"torch.cat({turned}, dim=-1)"
    y = y if pairing == "half" else f"torch.stack({turned}, dim=-1).flatten(-2)"
    if not parted:
        return [f"    a, b = {pairs}", f"    return {y}"]
    return [
        "    x, rest = x[..., :width], x[..., width:]",
        f"    a, b = {pairs}",
        f"    return torch.cat([{y}, rest], dim=-1)",
    ]


__all__ = ["fits", "functions", "rotary"]
