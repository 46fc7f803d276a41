"""One sample of an op's record, as a graph of one node and arrays to feed it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlc.compiler.dim import evaluate, symbol, symbols
from mlc.compiler.graph import Graph, Node, Type, Value
from mlc.compiler.op import Op, TypeMismatch
from mlc.compiler.ops import OPS
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.sample import params, parts, sampled, tensors


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


def make(
    op: Op, number: int, symbolic: bool = False, sizes: Mapping[int, int] | None = None
) -> Sample:
    """Builds sample `number` of `op`. Floats are drawn as f32 numbers, and held as float64.

    Where `symbolic`, a size above 1 of an input is a symbol of its own value (S5 is 5), unless a
    weight's size depends on it. `sizes` are others for those of inputs that are drawn.
    """
    random = np.random.default_rng(zlib.crc32(op.name.encode()) + number)
    change = partial(_unknown, op) if symbolic else partial(_resized, op, number, sizes or {})
    node = sampled(op, number, change)
    assert node.graph is not None
    values: dict[str, Value] = {value.name: value for value in node.graph.inputs}
    arrays = {
        name: draw(tensor, random, _known(values[name].type.shape))
        for name, tensor in tensors(op, number).items()
    }
    for name, weight in node.graph.weights.items():
        shape = _known(weight.type.shape)
        tensor = op.samples[number].get(name, (shape, weight.type.dtype))
        arrays[name] = draw(tensor, random, shape)
        values[name] = weight
    return Sample(op, node.graph, node, values, arrays, random)


def _unknown(op: Op, types: dict[str, Type], attrs: Mapping[str, Any]) -> dict[str, Type]:
    """`types` with symbols for their sizes, but for those that a weight's size depends on."""
    for size in sorted({n for t in types.values() for n in t.shape} - {0, 1}):
        tried = {
            name: t.with_(shape=tuple(symbol(f"S{size}") if n == size else n for n in t.shape))
            for name, t in types.items()
        }
        try:
            weights = params(op, tried, attrs)
        except TypeMismatch:
            continue
        if all(not symbols(n) for param in weights.values() for n in param.type.shape):
            types = tried
    return types


def _resized(
    op: Op, number: int, sizes: Mapping[int, int], types: dict[str, Type], _: Mapping[str, Any]
) -> dict[str, Type]:
    """`types` with other sizes for those of tensors that are drawn."""
    given = tensors(op, number)
    return {
        name: t
        if isinstance(parts(given[name])[0], list)
        else t.with_(shape=tuple(sizes.get(n, n) for n in t.shape))
        for name, t in types.items()
    }


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


def draw(tensor: Any, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a sample's tensor (see `Op`), of this shape where it is drawn."""
    what, dtype, *bounds = parts(tensor)
    held = numpy_dtype("f64" if dtype == "f32" else dtype)
    if isinstance(what, list):
        return np.asarray(what, dtype=held)
    array = _random(shape, dtype, bounds, random)
    return np.asarray(array.astype(np.float32) if dtype == "f32" else array, dtype=held)


def _random(
    shape: Sequence[int], dtype: str, bounds: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    if dtype == "bool":
        return random.random(shape) < 0.5
    if dtype[0] in "iu":
        low, high = bounds or (0 if dtype[0] == "u" else -4, 5)
        return random.integers(int(low), int(high), shape)
    return np.asarray(random.uniform(*bounds, shape) if bounds else random.normal(size=shape))
