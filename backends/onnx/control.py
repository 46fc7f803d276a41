"""Scans, loops and choices on data: nodes with graphs in them, which may read what is outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.graph import Graph, Node
from .writer import Writer, tensor_info


def _block(w: Writer, block: Graph, own: int, captured: Sequence[str]) -> Any:
    """A block as a graph; the first `own` of its inputs are given each time, the others are read
    from outside."""
    from onnx import helper

    path = w.where
    given, read = block.inputs[:own], block.inputs[own:]
    for value in given:
        w.names[value] = w.claim(f"{path}.{value.name}" if path else value.name)
    w.names.update(zip(read, captured, strict=True))
    with w.inside() as nodes:
        w.write(block)
        w.at(path)
        results = _named(w, nodes, [w.names[value] for value in block.outputs.values()])
    inputs = [tensor_info(w.names[v], v.type.dtype, v.type.shape) for v in given]
    outputs = [
        tensor_info(name, v.type.dtype, v.type.shape)
        for name, v in zip(results, block.outputs.values(), strict=True)
    ]
    return helper.make_graph(nodes, path or block.name, inputs, outputs)


def _named(w: Writer, nodes: Sequence[Any], results: Sequence[str]) -> list[str]:
    """The results of a block, each made in it, under a name that no other result has."""
    free = {name for node in nodes for name in node.output}
    found = []
    for name in results:
        found.append(name if name in free else w("Identity", name))
        free.discard(name)
    return found


def scan(w: Writer, n: Node, *names: str) -> tuple[str, ...]:
    carried, scanned, axis = (n.attrs[key] for key in ("carried", "scanned", "axis"))
    own = carried + scanned
    ends = [min(axis, value.type.rank - 1) for value in n.values[carried:own]]
    starts = [min(axis, value.type.rank - 1) for value in n.outputs[carried:]]
    backwards = int(n.attrs["reverse"])
    body = _block(w, n.blocks[0], own, names[own:])
    return w.many(
        "Scan", len(n.outputs), *names[:own], body=body, num_scan_inputs=scanned,
        scan_input_axes=ends, scan_output_axes=starts or None,
        scan_input_directions=[backwards] * scanned,
        scan_output_directions=[backwards] * len(starts) or None,
    )  # fmt: skip


def choice(w: Writer, n: Node, condition: str, *names: str) -> tuple[str, ...]:
    then, orelse = (_block(w, block, 0, names) for block in n.blocks)
    return w.many("If", len(n.outputs), condition, then_branch=then, else_branch=orelse)


def loop(w: Writer, n: Node, *names: str) -> tuple[str, ...]:
    """A Loop asks for the condition before the first step, and each step for that of the next."""
    from onnx import helper

    path, carried, bound = w.where, n.attrs["carried"], n.attrs["bound"]
    condition, step = n.blocks
    first = _condition(w, condition, names)
    w.at(path)
    given = step.inputs[:carried]
    own = [w.claim(f"{path}.{value.name}" if path else value.name) for value in given]
    w.names.update(zip(step.inputs, (*own, *names[carried:]), strict=True))
    inputs = [("step", "i64"), ("going", "bool")]
    inputs = [(w.claim(name), dtype) for name, dtype in inputs]
    with w.inside() as nodes:
        w.write(step)
        after = list(step.outputs.values())
        going = _condition(w, condition, [*(w.names[v] for v in after), *names[carried:]])
        w.at(path)
        made = _named(w, nodes, [going, *(w.names[v] for v in after)])
    types = [value.type for value in given]
    body = helper.make_graph(
        nodes,
        path or n.op.name,
        [tensor_info(name, dtype, ()) for name, dtype in inputs]
        + [tensor_info(name, t.dtype, t.shape) for name, t in zip(own, types, strict=True)],
        [tensor_info(made[0], "bool", ())]
        + [tensor_info(name, t.dtype, t.shape) for name, t in zip(made[1:], types, strict=True)],
    )
    most = w.constant(bound, "i64") if bound is not None else None
    return w.many("Loop", len(n.outputs), most, first, *names[:carried], body=body)


def _condition(w: Writer, block: Graph, names: Sequence[str]) -> str:
    """The condition of a loop for carries and other tensors of these names."""
    w.names.update(zip(block.inputs, names, strict=True))
    w.write(block)
    (value,) = block.outputs.values()
    return w.names[value]


__all__ = ["choice", "loop", "scan"]
