"""One sample of an op's record, as a graph of one node and arrays to feed it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc.compiler.graph import Graph, Init, Input, Node, Scope, Type, Value, Weight
from mlc.compiler.op import Build, Op, complete
from mlc.compiler.ops import OPS
from mlc.compiler.ops.constant import numpy_dtype


@dataclass
class Sample:
    """`graph` applies `op` once; its inputs and weights are `values`, drawn as `arrays`."""

    op: Op
    number: int
    spec: dict[str, Any]
    graph: Graph
    node: Node
    values: dict[str, Value]
    arrays: dict[str, np.ndarray]
    random: np.random.Generator
    drawn: bool

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {value.name: self.arrays[value.name] for value in self.graph.inputs}

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {path: self.arrays[path] for path in self.graph.weights}

    @property
    def slots(self) -> list[np.ndarray | None]:
        """What the op's functions take: an array, or None where an optional one is absent."""
        return [None if value is None else self.arrays[value.name] for value in self.node.inputs]


def cases() -> list[tuple[Op, int]]:
    """Every sample of every op."""
    return [(op, i) for op in OPS.values() for i in range(len(op.samples))]


def make(op: Op, number: int) -> Sample:
    """Builds sample `number` of `op`. Floats are drawn as f32 numbers, and held as float64."""
    spec = dict(op.samples[number])
    random = np.random.default_rng(zlib.crc32(op.name.encode()) + number)
    graph = Graph(op.name, Scope("model"))
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Value] = {}
    slots: list[Value | None] = []
    drawn = True

    def give(name: str, tensor: Any) -> Value:
        nonlocal drawn
        drawn = drawn and not _listed(tensor)
        arrays[name], dtype = draw(tensor, random)
        values[name] = Input(name, Type(dtype, arrays[name].shape))
        graph.inputs.append(values[name])
        return values[name]

    if op.variadic:
        tensors = spec.pop(op.inputs[0][1:])
        slots += [give(f"{op.inputs[0][1:]}{i}", tensor) for i, tensor in enumerate(tensors)]
    else:
        for name in (key.rstrip("?") for key in op.inputs):
            slots.append(give(name, spec.pop(name)) if name in spec else None)
    given = {key.rstrip("?"): spec.pop(key.rstrip("?"), None) for key in op.weights}
    attrs = complete(op, spec)
    if op.params is not None:
        types = [None if value is None else value.type for value in slots]
        params = op.params(*types, **attrs)
        for name, tensor in given.items():
            if name not in params:
                slots.append(None)
                continue
            type = params[name].type
            arrays[name], _ = draw(tensor or (type.shape, type.dtype), random)
            values[name] = graph.weights[name] = Weight(
                name, type, Init("zeros"), trainable=True, scope=graph.root, part=name
            )
            slots.append(values[name])
    node = Build(graph).node(op, slots, spec)
    graph.outputs = {f"y{i}": output for i, output in enumerate(node.outputs)}
    return Sample(op, number, spec, graph, node, values, arrays, random, drawn)


def _listed(tensor: Any) -> bool:
    return isinstance(tensor, list) or (
        isinstance(tensor, tuple) and bool(tensor) and isinstance(tensor[0], list)
    )


def draw(tensor: Any, random: np.random.Generator) -> tuple[np.ndarray, str]:
    """The array and dtype of a sample's tensor (see `Op`)."""
    if isinstance(tensor, list):
        tensor = (tensor, "f32")
    if tensor == () or isinstance(tensor[0], int):
        tensor = (tensor, "f32")
    what, dtype, *bounds = tensor
    held = numpy_dtype("f64" if dtype == "f32" else dtype)
    if isinstance(what, list):
        return np.asarray(what, dtype=held), dtype
    array = _random(what, dtype, bounds, random)
    return np.asarray(array.astype(np.float32) if dtype == "f32" else array, dtype=held), dtype


def _random(
    shape: Sequence[int], dtype: str, bounds: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    if dtype == "bool":
        return random.random(shape) < 0.5
    if dtype[0] in "iu":
        low, high = bounds or (0 if dtype[0] == "u" else -4, 5)
        return random.integers(int(low), int(high), shape)
    return np.asarray(random.uniform(*bounds, shape) if bounds else random.normal(size=shape))
