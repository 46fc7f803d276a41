"""Finds where a target goes wrong: the first layer whose result differs, and what lies before it.

Layers are what every framework can be watched at, in the very file that was emitted: modules in
PyTorch and Flax, layers in Keras, named results in ONNX and OpenVINO. Between the last layers that
agree and the first that does not stand the nodes that may be at fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.clone import clone
from ..compiler.graph import Graph, Layer, Node, Value
from .compare import LIMIT, Row, judge, scales
from .engines.pool import Pool, RunFailed
from .feeds import seeded
from .noise import measure
from .reference import Feed, Joint, Key, forward
from .report import Finding
from .target import Target


def bisect(graph: Graph, target: Target, feed: Feed, mode: str, pool: Pool) -> Finding | None:
    """The first difference of the forward at `feed`; None if no layer could be watched.

    `mode` is "inference" or "training". Raises what the pool raises.
    """
    watched = _watched(graph)
    names = {path: _target_name(target, layer) for path, (layer, _) in watched.items()}
    job = target.job(feed, mode == "training", "bisect", trace=sorted(set(names.values())))
    try:
        trace = pool[target.name].submit(job).result().trace
    except RunFailed:
        return None
    if not trace:
        return None
    whole = _observed(graph, watched, mode)
    rows = _compare(whole, feed, trace, names, Row(target.name, mode, "", "", "", "failed"))
    bad = next((path for path, row in rows.items() if row.ratio > LIMIT), "")
    good = {
        output for path in rows if rows[path].ratio <= LIMIT for output in watched[path][1].outputs
    }
    ends = watched[bad][1].outputs if bad else tuple(graph.outputs.values())
    return Finding(
        target.name,
        mode,
        bad,
        rows[bad].ratio if bad else 0.0,
        tuple(_lines(target.folder, watched[bad][0].member)) if bad else (),
        tuple(_text(node) for node in _between(graph, ends, good)),
    )


def _watched(graph: Graph) -> dict[str, tuple[Layer, Node]]:
    """The layers with weights, by path, each with the node that applies it first."""
    found: dict[str, tuple[Layer, Node]] = {}
    for node in graph:
        if node.layer is not None and node.layer.weights:
            found.setdefault(node.layer.path, (node.layer, node))
    return found


def _target_name(target: Target, layer: Layer) -> str:
    """What the target calls a layer: the key of one of its tensors, less the tensor's own name."""
    weight = next(iter(layer.weights.values()))
    own = weight.part.count(".") + 1
    for entry in target.map.entries.values():
        if weight.path in entry.sources:
            pieces = re.split(r"([./])", entry.target)
            return "".join(pieces[: -2 * own])
    return layer.path


def _observed(graph: Graph, watched: Mapping[str, tuple[Layer, Node]], mode: str) -> Joint:
    """The forward in one mode, with the layers' results as its outputs."""
    copy, values = clone(graph)
    copy.outputs = {path: values[node.outputs[0]] for path, (_, node) in watched.items()}
    copy.updates = {}
    return forward(copy, mode == "training")


def _compare(
    whole: Joint, feed: Feed, trace: Mapping[str, Sequence[Any]], names: Mapping[str, str], row: Row
) -> dict[str, Row]:
    """A row for each layer that the target showed, in the order of the model."""
    truth = whole.run(feed)
    noise = measure(whole, feed, seeded(0), strict=False)
    scale = scales(truth, noise.yardsticks)
    rows = {}
    for path, name in names.items():
        key = Key("output", path)
        if name in trace:
            ways = _orders(trace[name][0], truth[key].shape)
            judged = [judge(row, found, truth[key], scale[key]) for found in ways]
            if judged:
                rows[path] = min(judged, key=lambda one: one.ratio)
    return rows


def _orders(array: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """The array in those orders of its axes that have the shape: a target may store another."""
    for axes in permutations(range(array.ndim)):
        if tuple(array.shape[axis] for axis in axes) == shape:
            yield np.transpose(array, axes)


def _between(graph: Graph, ends: Sequence[Value], good: set[Value]) -> list[Node]:
    """The nodes that `ends` come from, back to results that agree, in the order of the graph."""
    reached: set[Node] = set()
    waiting = [value.node for value in ends]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in reached:
            reached.add(node)
            waiting += [value.node for value in node.values if value not in good]
    return [node for node in graph if node in reached and node.op.name != "constant"]


def _text(node: Node) -> str:
    name = f"{node.op.name} {node.layer.path}" if node.layer else node.op.name
    return f"{name} at {node.span}" if node.span else name


def _lines(folder: Path, member: str) -> Iterator[str]:
    """The first place in each of the artefact's sources that names the layer."""
    for path in sorted(folder.glob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(rf"(\.|_|\"){re.escape(member)}\b", line):
                yield f"{path.name}:{number}"
                break
