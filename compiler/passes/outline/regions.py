"""The blocks of a scan, a loop or a choice on data: bodies of the class, alike in all frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph import Graph, Node, Type
from ...op import Signature
from ...ops.control import element
from ...program import Apply, Chain, Region, Repeat, Statement, Var, outputs, taken, walk
from .frame import Frame, agree
from .opened import own_inputs

if TYPE_CHECKING:
    from .body import Part


def regions(part: Part, nodes: Sequence[Node]) -> tuple[tuple[Var | None, ...], tuple[Region, ...]]:
    """What nodes with blocks that are one statement take, in the class's names, and the blocks,
    which all take what any of them reads behind their own inputs."""
    count = agree(part.frames, [len(node.blocks) for node in nodes])
    given = _given(part, nodes)
    own = given[_tests(nodes[0]) :]
    made = [_region(part, nodes[0], [node.blocks[i] for node in nodes], own) for i in range(count)]
    read = dict.fromkeys(var for region in made for var in _read(region))
    for region in made:
        region.inputs = (*region.inputs, *read)
    return (*given, *read), tuple(made)


def _given(part: Part, nodes: Sequence[Node]) -> list[Var]:
    """What a node with blocks takes but for what its blocks only read: a condition, what is carried
    and what is gone through."""
    count = agree(part.frames, [own_inputs(n) + _tests(n) for n in nodes])
    found = [part.body.operand(part.frames, [n.inputs[i] for n in nodes]) for i in range(count)]
    return [var for var in found if var is not None]


def _tests(node: Node) -> int:
    """How many inputs none of the blocks gets."""
    return len(node.inputs) - len(node.blocks[0].inputs)


def signatures(made: Sequence[Region]) -> tuple[Signature, ...]:
    """What `infer` is told of the blocks."""
    return tuple(
        Signature(tuple(v.type for v in r.inputs), tuple(v.type for v in r.outputs)) for r in made
    )


def _region(part: Part, node: Node, blocks: Sequence[Graph], own: Sequence[Var]) -> Region:
    from .body import Body  # bodies hold regions, and regions bodies

    tree = part.builder.tree
    agree(part.frames, [len(block.outputs) for block in blocks])
    variables = [
        Var(value.name, _inside(node, i, var.type), value.order)
        for i, (var, value) in enumerate(zip(own, blocks[0].inputs, strict=False))
    ]
    frames = [Frame(tree.regions[b], f) for f, b in zip(part.frames, blocks, strict=True)]
    for frame, block in zip(frames, blocks, strict=True):
        frame.vars.update(zip(block.inputs, variables, strict=False))
    body = Body(part.builder, frames, part)
    body.sizes.symbolic.update(part.sizes.symbolic)
    statements = body.statements()
    results = [
        body.operand(frames, [tree.outside.get(value, value) for value in values])
        for values in zip(*(block.outputs.values() for block in blocks), strict=True)
    ]
    return Region(tuple(variables), tuple(v for v in results if v is not None), statements)


def _inside(node: Node, i: int, outside: Type) -> Type:
    """The type of what changes from step to step."""
    return outside if i < node.attrs["carried"] else element(outside, node.attrs["axis"])


def _read(region: Region) -> list[Var]:
    """What a region reads of outside."""
    made = set(region.inputs)
    read = dict.fromkeys(region.outputs)
    for statement in walk(region.body):
        made |= _made(statement)
        read.update(dict.fromkeys(taken(statement)))
    return [var for var in read if var not in made]


def _made(statement: Statement) -> set[Var]:
    """All tensors that a statement names, those within it too."""
    match statement:
        case Repeat(carried=carried, elements=elements):
            within = {var for c in carried for var in (c.current, c.next)}
            return {*outputs(statement), *within, *elements}
        case Chain(body=body):
            return {*outputs(statement), *(var for each in body for var in outputs(each))}
        case Apply(values=values, regions=inner):
            own = values.get("carried", 0) + values.get("scanned", 0)
            return {*outputs(statement), *(var for r in inner for var in r.inputs[:own])}
    return {*outputs(statement)}


__all__ = ["regions", "signatures"]
