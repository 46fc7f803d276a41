"""Lists that an op takes whole: the skips of a WaveNet, the results of all experts."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...dim import Dim
from ...expr import Expr
from ...graph import Node, Type, Value
from ...program import Repeat, Var, Whole, outputs
from .elements import Finished
from .frame import Frame, agree
from .tree import own_weights

if TYPE_CHECKING:
    from .body import Body, Part

JOINS = ("concat", "stack")
"""The ops that take a list."""


def operands(part: Part, nodes: Sequence[Node]) -> tuple[Var | None, ...]:
    """What an op takes, as tensors of the class; None for the weights of a layer, and what is
    absent."""
    if nodes[0].op.name in JOINS:
        return tuple(_joined(part.body, part.frames, [node.values for node in nodes]))
    count = agree(part.frames, [len(node.inputs) for node in nodes])
    made = own_weights(nodes[0]).values()
    slots = [i for i in range(count) if nodes[0].inputs[i] not in made]
    found = {i: part.body.operand(part.frames, [n.inputs[i] for n in nodes]) for i in slots}
    return tuple(found.get(i) for i in range(count))


def _joined(body: Body, frames: list[Frame], given: Sequence[Sequence[Value]]) -> list[Var | None]:
    """The operands of a join: one for each tensor, or for each list that is taken whole."""
    found: list[Var | None] = []
    rest = [list(values) for values in given]
    while any(rest):
        single: Var | None = None
        whole = _whole(body, frames, rest)
        if whole is None:
            agree(frames, [bool(values) for values in rest])
            single = body.operand(frames, [values[0] for values in rest])
        taken, counts = whole or (single, [1] * len(frames))
        found.append(taken)
        rest = [values[n:] for values, n in zip(rest, counts, strict=True)]
    return found


def _whole(
    body: Body, frames: Sequence[Frame], rest: Sequence[Sequence[Value]]
) -> tuple[Whole, list[int]] | None:
    """The list whose tensors come next in all frames, and how many those are.

    A list of one tensor in every frame is none: the tensor may be meant by another name.
    """
    for owner, outer in body.elements.owners(frames):
        for done in owner.elements.finished:
            counts = [done.count(each) for each in outer]
            pieces = [values[:n] for values, n in zip(rest, counts, strict=True)]
            made = [_made(done, o, p) for o, p in zip(outer, pieces, strict=True)]
            inside = {var for found in made for var in found}
            named = all(_listed(f, p) for f, p in zip(frames, pieces, strict=True))
            tops = {var for s in done.loop.body for var in outputs(s)}
            if named and max(counts) > 1 and min(counts) > 0 and len(inside) == 1:
                (var,) = inside
                if var in tops:
                    return body.elements.whole(done, var, frames, pieces), counts
    return None


def _made(done: Finished, outer: Frame, values: Sequence[Value]) -> list[Var | None]:
    """What each value is in the iteration of its number; None where it is not made there."""
    turns = [frame for frame in done.frames if frame.outer is outer]
    if len(turns) != len(values):
        return [None]
    return [frame.vars.get(value) for frame, value in zip(turns, values, strict=True)]


def _listed(frame: Frame, values: Sequence[Value]) -> bool:
    """Whether the source puts the values in a list, and takes none of them from it by its place."""
    scope, given = frame.block.scope, set(values)
    for graph in {value.node.graph for value in values if value.node is not None}:
        if graph is not None:
            listed = {graph.current(v) for v in scope.lists}
            return given <= listed - {graph.current(v) for v in scope.picks}
    return False


def infer(
    part: Part,
    nodes: Sequence[Node],
    inputs: Sequence[Var | None],
    types: Sequence[Type | None],
    attrs: Mapping[str, Any],
) -> tuple[Type | None, ...]:
    """What an op's results are in the names of the class, also where it takes lists."""
    op = nodes[0].op
    inferred = part.sizes.infer(op, types, attrs)
    if not inferred:  # not of symbols: what it passes on of the sizes of its inputs is known still
        kept = {size for given in types if given for size in given.shape}
        inferred = tuple(
            made and made.with_(shape=tuple(size if size in kept else None for size in made.shape))
            for made in part.sizes.infer(op, types, nodes[0].attrs)
        )
    wholes = [var for var in inputs if isinstance(var, Whole)]
    if not inferred or inferred[0] is None or not wholes:
        return inferred
    axis = nodes[0].attrs["axis"]
    stacked = op.name == "stack"
    sizes = [_size(part, v, 1 if stacked else v.type.shape[axis]) for v in inputs if v is not None]
    total: Dim = sum(sizes)
    if not part.sizes.holds(total, [node.outputs[0].type.shape[axis] for node in nodes]):
        part.builder.freeze([whole.loop.table for whole in wholes])
    shape = (*inferred[0].shape[:axis], total, *inferred[0].shape[axis + 1 :])
    return (inferred[0].with_(shape=shape),)


def _size(part: Part, var: Var, one: Dim) -> Dim:
    """What a tensor, or a list of them, adds to the axis along which they are joined."""
    if not isinstance(var, Whole):
        return one
    count: Dim = part.sizes.attributes({"count": _count(var.loop)}, {"count": 0})["count"]
    return one * count


def _count(loop: Repeat) -> Expr:
    """How many times a loop runs."""
    return length(loop.table) if loop.variables else loop.table


def length(table: Expr) -> Expr:
    """How many rows a table has: `count` of range(count), len(xs) of enumerate(xs)."""
    match table:
        case ast.Call(func=ast.Name(id="range"), args=[count]):
            return count
        case ast.Call(func=ast.Name(id="enumerate" | "zip"), args=[rows, *_]):
            return length(rows)
    return ast.Call(ast.Name("len", ast.Load()), [table], [])


__all__ = ["infer", "length", "operands"]
