"""The blocks of a scan, a loop or a choice on data: straight lines of ops, alike in all frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph import Graph, Node, Type
from ...op import Signature
from ...ops.control import element
from ...program import Apply, Region, Var
from .frame import agree
from .tree import Item

if TYPE_CHECKING:
    from .body import Part


def regions(part: Part, nodes: Sequence[Node], inputs: Sequence[Var | None]) -> tuple[Region, ...]:
    """The blocks of nodes that are one statement, which takes `inputs`, in the class's names."""
    count = agree(part.frames, [len(node.blocks) for node in nodes])
    given = [var for var in inputs if var is not None]
    return tuple(
        _region(part, nodes[0], [node.blocks[i] for node in nodes], given) for i in range(count)
    )


def signatures(made: Sequence[Region]) -> tuple[Signature, ...]:
    """What `infer` is told of the blocks."""
    return tuple(
        Signature(tuple(v.type for v in r.inputs), tuple(v.type for v in r.outputs)) for r in made
    )


def _region(part: Part, node: Node, blocks: Sequence[Graph], given: Sequence[Var]) -> Region:
    agree(part.frames, [(len(b), len(b.inputs), len(b.outputs)) for b in blocks])
    variables = _inputs(node, blocks[0], given)
    for frame, block in zip(part.frames, blocks, strict=True):
        frame.vars.update(zip(block.inputs, variables, strict=True))
    body: list[Apply] = [_line(part, lines) for lines in zip(*blocks, strict=True)]
    outputs = [
        part.body.operand(part.frames, values)
        for values in zip(*(block.outputs.values() for block in blocks), strict=True)
    ]
    return Region(variables, tuple(var for var in outputs if var is not None), body)


def _line(part: Part, nodes: Sequence[Node]) -> Apply:
    """One op of a block, in all frames."""
    inner = [
        Item(item.key, "node", (), node=node, bindings=item.bindings)
        for item, node in zip(part.items, nodes, strict=True)
    ]
    return type(part)(part.body, part.frames, inner).apply()


def _inputs(node: Node, block: Graph, given: Sequence[Var]) -> tuple[Var, ...]:
    """What the block takes: what it only reads is the tensor of the class itself."""
    own = given[len(given) - len(block.inputs) :]
    kinds = [_inside(node, i, var.type) for i, var in enumerate(own)]
    return tuple(
        var if kind is None else Var(value.name, kind, value.order)
        for var, value, kind in zip(own, block.inputs, kinds, strict=True)
    )


def _inside(node: Node, i: int, outside: Type) -> Type | None:
    """The type of what changes from step to step; None for what does not."""
    carried, scanned = node.attrs.get("carried", 0), node.attrs.get("scanned", 0)
    if i < carried:
        return outside
    return element(outside, node.attrs["axis"]) if i < carried + scanned else None


__all__ = ["regions", "signatures"]
