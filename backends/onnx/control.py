"""Scans, loops and choices on data: nodes with graphs in them, which may read what is outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.graph import Graph, Node, Value
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
        results = _results(w, nodes, list(block.outputs.values()))
    inputs = [tensor_info(w.names[v], v.type.dtype, v.type.shape) for v in given]
    outputs = [
        tensor_info(name, v.type.dtype, v.type.shape)
        for name, v in zip(results, block.outputs.values(), strict=True)
    ]
    return helper.make_graph(nodes, path or block.name, inputs, outputs)


def _results(w: Writer, nodes: Sequence[Any], values: Sequence[Value]) -> list[str]:
    """The results of a block, each made in it, under a name that no other result has."""
    free = {name for node in nodes for name in node.output}
    found = []
    for value in values:
        name = w.names[value]
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


__all__ = ["scan"]
