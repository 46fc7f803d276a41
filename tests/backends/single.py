"""One sample of an op as a model that a source backend can print, and what it must compute."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlc.backends.artefact import Artefact
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Definition
from mlc.compiler.op import Op
from mlc.compiler.run import run
from mlc.compiler.sample import in_layer
from mlc.compiler.tensor import write
from tests.compiler.ops.sample import Sample, make

_numbers = itertools.count()


def sample(op: Op, number: int, symbolic: bool = False) -> Sample:
    """The sample with a definition, its weights those of a layer, its buffers updated.

    Where `symbolic`, sizes that no weight depends on are unknown.
    """
    made = make(op, number, symbolic)
    graph, node = made.graph, made.node
    names = tuple(value.name for value in graph.inputs)
    sizes = {
        str(size): (value.name, axis)
        for value in reversed(graph.inputs)
        for axis, size in enumerate(value.type.shape)
        if not isinstance(size, int)
    }
    graph.root.definition = Definition("Single", "model", {}, sizes, names, tuple(graph.outputs))
    graph.root.values.update({name: symbol(name) for name in sizes})
    if not op.weights:
        return made
    layer = in_layer(node, "layer")
    for part, weight in layer.weights.items():
        made.arrays[weight.path] = made.arrays.pop(part)
    if op.effect == "state":
        graph.outputs = {"y0": node.outputs[0]}
        buffers = [w for w in layer.weights.values() if not w.trainable]
        for buffer, value in zip(buffers, node.outputs[1:], strict=True):
            graph.updates[buffer] = (value, "training")
    return made


def expected(made: Sample) -> list[np.ndarray]:
    """What the op's `eval` gives in float64."""
    return list(run(made.graph, made.inputs, made.weights).outputs.values())


def feed(artefact: Artefact, made: Sample) -> list[np.ndarray]:
    """The inputs as the target takes them."""
    ports = artefact.interface.inputs
    return [f32(made.arrays[p.name]).transpose(p.order or range(len(p.shape))) for p in ports]


def canonical(artefact: Artefact, results: Any) -> list[np.ndarray]:
    """What the target gave, in the model's order of axes."""
    pairs = zip(results, artefact.interface.outputs, strict=True)
    return [
        np.asarray(x) if port.order is None else np.transpose(x, np.argsort(port.order))
        for x, port in pairs
    ]


def f32(array: Any) -> np.ndarray:
    """The array as a target takes it."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def load(artefact: Artefact, folder: Path) -> ModuleType:
    """The emitted file as a module."""
    name = f"single_{next(_numbers)}"
    path = folder / f"{name}.py"
    path.write_text(artefact.source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def stored(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    """A tensor of the model in a target's order of axes."""
    return array if order is None else np.ascontiguousarray(array.transpose(order))


def moved_back(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    """A target's tensor in the model's order of axes."""
    return array if order is None else array.transpose(np.argsort(order))


def written(artefact: Artefact, weights: dict[str, np.ndarray], folder: Path) -> Path:
    """A file of these canonical weights as the target reads them."""
    path = folder / f"weights_{next(_numbers)}.safetensors"
    write(path, dict(artefact.weight_map.convert(weights)))
    return path


def build(artefact: Artefact, weights: dict[str, np.ndarray], folder: Path) -> Any:
    """The model, with these canonical weights read from a file by the emitted code."""
    module = load(artefact, folder)
    if not weights:
        return module.build()
    path = folder / f"{module.__name__}.safetensors"
    given = {name: f32(array) for name, array in weights.items()}
    write(path, dict(artefact.weight_map.convert(given)))
    return module.build(path)
