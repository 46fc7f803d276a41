"""Whole models in PyTorch: outputs, gradients and buffers in both modes, and strict loading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlc.backends.artefact import Artefact
from mlc.backends.pytorch import emit
from mlc.compiler import dim
from mlc.compiler.clone import clone
from mlc.compiler.graph import Graph, Input, Value
from mlc.compiler.init import initialise
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.passes.grad import gradients
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.models import MODELS

SIZES = {"B": 3, "T": 5, "S": 4, "H": 8, "W": 12, "L": 7, "N": 5, "D": 4}


def draw(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """An array for each input: numbers in f32, indices below 3, masks with something in them."""
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
            found[given.name] = random.integers(0, 3, shape).astype(kind)
    return found


def weights_of(graph: Graph) -> dict[str, np.ndarray]:
    """Weights that differ from each other everywhere: none is zero, or one, by its start."""
    random = np.random.default_rng(7)
    return {
        path: (array + random.uniform(0.05, 0.3, array.shape)).astype(array.dtype)
        for path, array in initialise(graph, 1).items()
    }


def without_dropout(module: torch.nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0


def wide(dtype: Any) -> Any:
    return np.float64 if dtype == np.float32 else dtype


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """The emitted file names no dtype for floats: it runs in float64 as it is."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def source(text: str, **params: Any) -> str:
    return emit(load(text, "net", params=params), "net").source


def check(text: str, folder: Path, *, leave_out: tuple[str, ...] = (), **params: Any) -> str:
    """Holds the emitted model to the reference, in both modes; returns its source."""
    graph = load(text, "net", params=params)
    artefact = emit(graph, "net")
    weights = weights_of(graph)
    feed = {name: x for name, x in draw(graph).items() if name not in leave_out}
    for training in (False, True):
        _check_mode(graph, artefact, weights, feed, folder, training)
    return artefact.source


def _check_mode(
    graph: Graph,
    artefact: Artefact,
    weights: dict[str, np.ndarray],
    feed: dict[str, np.ndarray],
    folder: Path,
    training: bool,
) -> None:
    module = single.build(artefact, weights, folder).double()
    module.train(training)
    without_dropout(module)
    inputs = {
        name: torch.from_numpy(array.copy().astype(wide(array.dtype)))
        for name, array in feed.items()
    }
    for x in inputs.values():
        x.requires_grad_(x.is_floating_point())
    result = module(**{port.argument: inputs[port.name] for port in artefact.interface.inputs
                       if port.name in inputs})  # fmt: skip
    results = dict(zip(graph.outputs, result if isinstance(result, tuple) else (result,),
                       strict=True))  # fmt: skip
    truth = Truth(graph, weights, feed, training)
    for name, want in truth.outputs.items():
        near(results[name].detach().numpy(), want, name)
    leaves = {name: x for name, x in inputs.items() if x.requires_grad}
    parameters = dict(module.named_parameters())
    total = sum((results[n] * torch.from_numpy(g)).sum() for n, g in truth.cotangents.items())
    taken = [*leaves.values(), *parameters.values()]
    found = torch.autograd.grad(total, taken, allow_unused=True, materialize_grads=True)
    arrays = [g.numpy() for g in found]
    got = dict(zip(leaves, arrays, strict=False))
    held = dict(zip(parameters, arrays[len(leaves) :], strict=True))
    got |= artefact.weight_map.gradients(held)
    for name, want in truth.gradients.items():
        near(got[name], want, f"gradient of {name}")
    buffers = {name: x.numpy() for name, x in module.named_buffers()
               if not name.endswith("num_batches_tracked")}  # fmt: skip
    after = artefact.weight_map.invert({**{n: p.detach().numpy() for n, p in parameters.items()},
                                        **buffers})  # fmt: skip
    for path, want in truth.updates.items():
        near(after[path], want, f"new {path}")


class Truth:
    """What the reference computes: outputs, updates, and gradients for drawn cotangents."""

    def __init__(
        self, graph: Graph, weights: dict[str, Any], feed: dict[str, Any], training: bool
    ) -> None:
        copied, _ = clone(graph)
        resolve(copied, training)
        for node in copied:
            if node.op.name == "dropout":
                node.attrs["rate"] = 0.0
        found = run(copied, feed, weights)
        self.outputs, self.updates = found.outputs, found.updates
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


def near(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Equal to rounding in float64."""
    assert got.shape == want.shape, what
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    scale = max(float(np.max(np.abs(want), initial=0.0)), 1e-3)
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    check(MODELS[name], tmp_path)
