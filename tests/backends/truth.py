"""What whole models must compute: the reference's outputs, gradients and new buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc.backends.artefact import Artefact
from mlc.compiler import dim
from mlc.compiler.clone import clone
from mlc.compiler.graph import Graph, Input, Value
from mlc.compiler.init import initialise
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.passes.grad import gradients
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.equivalence.deviation import FORMULAS
from mlc.equivalence.feeds import steps

SIZES = {"B": 3, "T": 5, "S": 4, "H": 8, "W": 16, "L": 7, "N": 5, "D": 4}


def draw(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """An array for each input: numbers in f32, indices below 3 (lengths of 1 or 2), masks."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for given in graph.inputs:
        shape = tuple(dim.evaluate(size, SIZES) for size in given.type.shape)
        kind = numpy_dtype(given.type.dtype)
        if given.type.floating:
            found[given.name] = random.normal(size=shape).astype(np.float32)
        elif given.type.dtype == "bool":
            found[given.name] = random.random(shape) < 0.7
        else:
            least = 1 if steps(given) else 0
            found[given.name] = random.integers(least, 3, shape).astype(kind)
    return found


def weights_of(graph: Graph) -> dict[str, np.ndarray]:
    """Weights that differ from each other everywhere: none is zero, or one, by its start."""
    random = np.random.default_rng(7)
    return {
        path: (array + random.uniform(0.05, 0.3, array.shape)).astype(array.dtype)
        for path, array in initialise(graph, 1).items()
    }


class Truth:
    """Outputs, updates, and gradients for drawn cotangents; dropout at rate 0."""

    def __init__(
        self, graph: Graph, weights: dict[str, Any], feed: dict[str, Any], training: bool
    ) -> None:
        copied, _ = clone(graph)
        resolve(copied, training)
        for node in copied:
            if "rate" in node.attrs:
                node.attrs["rate"] = 0.0
        found = run(copied, feed, weights)
        self.outputs, self.updates = found.outputs, found.updates
        self.deviating = run(copied, feed, weights, perturb=_biased).updates
        random = np.random.default_rng(3)
        given: dict[str, Value] = {}
        self.cotangents: dict[str, Any] = {}
        more = dict(feed)
        for name, output in tuple(copied.outputs.items()):
            if output.type.floating:
                cotangent = random.normal(size=found.outputs[name].shape)
                self.cotangents[name] = more[f"g_{name}"] = cotangent
                given[name] = Input(f"g_{name}", output.type)
        copied.inputs += [value for value in given.values() if isinstance(value, Input)]
        floats = [v for v in copied.inputs if v.type.floating and v.name in feed]
        trained = [w for w in copied.weights.values() if w.trainable and w.type.floating]
        slopes = gradients(copied, given, [*floats, *trained])
        copied.outputs = {v.name: slopes[v] for v in (*floats, *trained)}
        copied.updates = {}
        self.gradients = run(copied, more, weights).outputs

    def compared(self, artefact: Artefact) -> dict[tuple[str, str], np.ndarray]:
        """All of it by kind and name, with the deviations that the artefact declares."""
        declared = {name for d in artefact.interface.deviations for name in d.tensors}
        updates = {n: self.deviating[n] if n in declared else y for n, y in self.updates.items()}
        kinds = {"output": self.outputs, "gradient": self.gradients, "update": updates}
        return {(kind, name): y for kind, arrays in kinds.items() for name, y in arrays.items()}


def _biased(node: Any, arrays: Any, results: Any) -> Any:
    """The running variance of frameworks that take in the batch's biased one."""
    op, _, formula = FORMULAS["running_var"]
    training = node.op.name == op and node.attrs["training"]
    return formula(node, arrays, results) if training else results


def near(
    got: np.ndarray, want: np.ndarray, what: str, tolerance: float = 1e-8, floor: float = 1e-3
) -> None:
    """Equal to `tolerance`, relative to the largest element, or to `floor` where that is less."""
    assert got.shape == want.shape, what
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    scale = max(float(np.max(np.abs(want), initial=0.0)), floor)
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=tolerance, err_msg=what)
