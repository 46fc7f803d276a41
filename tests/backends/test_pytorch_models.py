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
from mlc.compiler.graph import Graph
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.models import MODELS
from tests.backends.truth import Truth, draw, near, weights_of


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


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    check(MODELS[name], tmp_path)
