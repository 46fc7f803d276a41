"""One sample of an op's record, as a graph of one node and arrays to feed it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc.compiler.dim import evaluate, symbol, symbols
from mlc.compiler.graph import Graph, Init, Input, Node, Scope, Type, Value, Weight
from mlc.compiler.op import Build, Op, TypeMismatch, complete
from mlc.compiler.ops import OPS
from mlc.compiler.ops.constant import numpy_dtype


@dataclass
class Sample:
    """`graph` applies `op` once; its inputs and weights are `values`, drawn as `arrays`."""

    op: Op
    graph: Graph
    node: Node
    values: dict[str, Value]
    arrays: dict[str, np.ndarray]
    random: np.random.Generator

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


def make(op: Op, number: int, symbolic: bool = False) -> Sample:
    """Builds sample `number` of `op`. Floats are drawn as f32 numbers, and held as float64.

    Where `symbolic`, a size above 1 of an input is a symbol of its own value (S5 is 5), unless a
    weight's size depends on it.
    """
    spec = dict(op.samples[number])
    random = np.random.default_rng(zlib.crc32(op.name.encode()) + number)
    assert set(spec) <= {*op.config, *_names(op)}, f"{op.name} takes no {set(spec)}"
    given = {name: draw(tensor, random) for name, tensor in _tensors(op, spec)}
    attrs = complete(op, {key: spec[key] for key in op.config if key in spec})
    graph = Graph(op.name, Scope("model"))
    types = {name: Type(dtype, array.shape) for name, (array, dtype) in given.items()}
    if symbolic:
        types = _unknown(op, types, attrs)
    graph.inputs = [Input(name, t) for name, t in types.items()]
    values: dict[str, Value] = {value.name: value for value in graph.inputs}
    arrays = {name: array for name, (array, _) in given.items()}
    for name, param in _params(op, types, attrs).items():
        tensor = spec.get(name, (_known(param.type.shape), param.type.dtype))
        arrays[name], _ = draw(tensor, random)
        values[name] = graph.weights[name] = Weight(
            name, param.type, Init("zeros"), trainable=True, scope=graph.root, part=name
        )
    names = list(values) if op.variadic else _names(op)
    node = Build(graph).node(op, [values.get(name) for name in names], attrs)
    graph.outputs = {f"y{i}": output for i, output in enumerate(node.outputs)}
    return Sample(op, graph, node, values, arrays, random)


def _names(op: Op) -> list[str]:
    return [name.strip("*?") for name in (*op.inputs, *op.weights)]


def _tensors(op: Op, spec: dict[str, Any]) -> list[tuple[str, Any]]:
    """The inputs that the sample gives, by name; those of a variadic op are numbered."""
    if op.variadic:
        name = op.inputs[0][1:]
        return [(f"{name}{i}", tensor) for i, tensor in enumerate(spec[name])]
    names = [name.rstrip("?") for name in op.inputs]
    return [(name, spec[name]) for name in names if name in spec]


def _params(op: Op, types: dict[str, Type], attrs: dict[str, Any]) -> dict[str, Any]:
    if op.params is None:
        return {}
    return dict(op.params(*(types.get(name.rstrip("?")) for name in op.inputs), **attrs))


def _unknown(op: Op, types: dict[str, Type], attrs: dict[str, Any]) -> dict[str, Type]:
    """`types` with symbols for their sizes, but for those that a weight's size depends on."""
    for size in sorted({n for t in types.values() for n in t.shape} - {0, 1}):
        tried = {
            name: t.with_(shape=tuple(symbol(f"S{size}") if n == size else n for n in t.shape))
            for name, t in types.items()
        }
        try:
            weights = _params(op, tried, attrs)
        except TypeMismatch:
            continue
        if all(not symbols(n) for param in weights.values() for n in param.type.shape):
            types = tried
    return types


def _known(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(evaluate(n, {s: int(s[1:]) for s in symbols(n)}) for n in shape)


def drawn(op: Op, number: int) -> bool:
    """Whether every float tensor of the sample is random; numbers that somebody chose may be
    kinks, and places may not."""
    return not any(_listed(tensor) for tensor in op.samples[number].values())


def _listed(tensor: Any) -> bool:
    return isinstance(tensor, list) or (
        isinstance(tensor, tuple) and tensor[1:2] == ("f32",) and isinstance(tensor[0], list)
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
