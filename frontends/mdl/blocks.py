"""Blocks that are written out below the op that runs them: what they take, give and compute.

This is how a graph says them. A block reads its own inputs alone, holds nothing, and is kept as it
stands: nothing of it is left out or brought into another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph
from ...compiler.op import Op
from ...compiler.ops.control import IF, SCAN, WHILE
from . import syntax as s
from .context import Frame, Tensor, Variable, is_static
from .limits import ITERATIONS
from .region import Region

if TYPE_CHECKING:
    from .elaborate import Elaborator

OPS: Mapping[str, Op] = {"scan": SCAN, "while": WHILE, "choose": IF}
"""The ops with blocks, by the names that they have here."""


def written(e: Elaborator, frame: Frame, node: s.Blocks) -> None:
    """`h, hs = scan(start, x, carried = 1, scanned = 1, axis = 0):`, and a `block:` or two."""
    callee = node.call.callee if isinstance(node.call, s.Call) else None
    name = callee.id if isinstance(callee, s.Name) else ""
    op = OPS.get(name)
    if op is None or not isinstance(node.call, s.Call):
        message = f"what runs blocks is {', '.join(OPS)}"
        raise MlcError("syntax", message, node.span, help="leave out the `:`, and what is below")
    if len(node.regions) != op.blocks:
        message = f"{name} runs {op.blocks} blocks, and gets {len(node.regions)}"
        raise MlcError("argument", message, node.span)
    given, attrs = e.calls.operands(frame, op, node.call)
    if isinstance(attrs.get("bound"), int) and attrs["bound"] > ITERATIONS:
        raise MlcError("limit", f"a loop of more than {ITERATIONS} steps", node.span)
    blocks = [_block(e, frame, region) for region in node.regions]
    values = [tensor.value for tensor in given]
    made = e.construct.control(frame, op, values, attrs, blocks, node.site, node.span).outputs
    if len(made) != len(node.targets):
        message = f"{len(node.targets)} names take {len(node.targets)} tensors, and get {len(made)}"
        raise MlcError("value", message, node.span)
    for name, value in zip(node.targets, made, strict=True):
        frame.assign(name, Tensor(value, value.type.labels))


def _block(e: Elaborator, frame: Frame, node: s.Region) -> Graph:
    """One block; of the names outside it knows sizes and numbers."""
    before = frame.variables
    region = Region("block", e.graph, frame.scope)
    e.construct.regions.append(region)
    frame.variables = {name: v for name, v in before.items() if is_static(v.value)}
    try:
        results = _results(e, frame, region, node)
    finally:
        frame.variables = before
        e.construct.regions.pop()
    if region.captured:
        message = "a block that is written out has no weights and reads its inputs alone"
        raise MlcError("unsupported", message, node.span, help="hand it what it reads: `in w: ...`")
    region.graph.outputs = {name: tensor.value for name, tensor in results.items()}
    return region.graph


def _results(e: Elaborator, frame: Frame, region: Region, node: s.Region) -> dict[str, Tensor]:
    """Elaborates the body of a block; what its `out` lines name."""
    declare = e.statements.declare(frame)
    seen: set[tuple[type, str]] = set()
    for line in node.body:
        if isinstance(line, (s.In, s.Out)) and (type(line), line.name) in seen:
            raise MlcError("duplicate", f"{line.name} is declared twice", line.span)
        if isinstance(line, s.In):
            if line.optional:
                raise MlcError("syntax", "a block is given all of its inputs", line.span)
            kind = declare.type(line.type)
            given = Tensor(region.input(line.name, kind, line.span), kind.labels)
            frame.variables[line.name] = Variable(given, None, frame.scope)
        if isinstance(line, (s.In, s.Out)):
            seen.add((type(line), line.name))
    e.statements.run(frame, node.body)
    found = {}
    for line in node.body:
        if isinstance(line, s.Out):
            found[line.name] = e.statements.output(frame, line)
            declare.check(declare.type(line.type), found[line.name], line.name, line.span, [])
    return found
