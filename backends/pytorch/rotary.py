"""Rotary positions: a function of the file, as much of it as the model needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.program import Apply, Program, walk
from ..source.parts import Parts
from ..source.tree import is_literal


def fits(node: Node) -> bool:
    """Whether the function's angles, which are as wide as x, are wide enough."""
    return node.outputs[0].type.dtype in ("f32", "f64")


def rotary(p: Parts) -> Expr:
    """`rotary(x)`; positions of a batch get the axes that x has before its places."""
    positions, var = p["positions"], p.var("positions")
    if var is not None and var.type.rank == 2 and p.x.type.rank > 3:
        index = [ast.Slice(), *[literal(None)] * (p.x.type.rank - 3)]
        positions = ast.Subscript(positions, ast.Tuple(index, ast.Load()), ast.Load())
    half = is_literal(p["pairing"], "half")
    return p.fill(
        "rotary({x}, {positions}, base={base}, width={width}, interleaved={i})",
        positions=positions, base=p.unless("base", 10000.0), i=None if half else literal(True),
    )  # fmt: skip


def functions(program: Program) -> Iterator[str]:
    """`rotary`, where the model has it."""
    found = [s for cls in program.classes for s in walk(cls.body)
             if isinstance(s, Apply) and s.op.name == "rotary"]  # fmt: skip
    if found:
        yield _function(found)


def _function(found: Sequence[Apply]) -> str:
    placed = any(s.inputs[1] is not None for s in found)
    bases = any(not is_literal(s.attrs["base"], 10000.0) for s in found)
    parted = any(not is_literal(s.attrs["width"], None) for s in found)
    kinds = {is_literal(s.attrs["pairing"], "half") for s in found}
    return "\n".join(
        [
            *_head(placed, bases, parted, kinds),
            *_angles(placed, bases, parted),
            *_turn(parted, kinds),
            "",
        ]
    )


def _head(placed: bool, bases: bool, parted: bool, kinds: set[bool]) -> list[str]:
    given = ["x: Tensor", *["positions: Tensor | None = None"] * placed]
    given += ["*"] * (bases or parted or len(kinds) > 1)
    given += [*["base: float = 10000.0"] * bases, *["width: int | None = None"] * parted]
    given += ["interleaved: bool = False"] * (len(kinds) > 1)
    what = "neighbours" if kinds == {False} else "the halves"
    what = what if len(kinds) == 1 else "pairs of elements"
    return [
        f"def rotary({', '.join(given)}) -> Tensor:",
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


def _turn(parted: bool, kinds: set[bool]) -> list[str]:
    start = ["    x, rest = x[..., :width], x[..., width:]"] if parted else []
    y = "[a * cos - b * sin, b * cos + a * sin]"
    halves = ["a, b = x.chunk(2, dim=-1)", f"y = torch.cat({y}, dim=-1)"]
    pairs = ["a, b = x[..., ::2], x[..., 1::2]", f"y = torch.stack({y}, dim=-1).flatten(-2)"]
    if len(kinds) > 1:
        body = ["if interleaved:", *(f"    {line}" for line in pairs), "else:",
                *(f"    {line}" for line in halves)]  # fmt: skip
    else:
        body = halves if kinds == {True} else pairs
    end = "torch.cat([y, rest], dim=-1)" if parted else "y"
    if not parted and len(kinds) == 1:
        body = [body[0], body[1].replace("y = ", "return ", 1)]
        return [f"    {line}" for line in body]
    return [*start, *(f"    {line}" for line in body), f"    return {end}"]


__all__ = ["fits", "functions", "rotary"]
