"""PyTorch source: every op against its `eval` and its gradient; whole models; refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlc.backends.pytorch import emit
from mlc.compiler.graph import Input, Value
from mlc.compiler.op import Op
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from tests.backends import single
from tests.compiler.ops.sample import Sample, cases
from tests.compiler.ops.test_meaning import SCALED, close

CASES = cases()
DIFFERENTIABLE = [case for case in CASES if case[0].grad is not None]


def each(pairs: list[tuple[Op, int]]) -> Any:
    ids = [f"{op.name}-{number}" for op, number in pairs]
    return pytest.mark.parametrize(("op", "number"), pairs, ids=ids)


class Built:
    """A sample as an emitted module, and the tensors that it is called with."""

    def __init__(self, op: Op, number: int, folder: Path, symbolic: bool = False) -> None:
        self.sample = single.sample(op, number, symbolic)
        attrs = self.sample.node.attrs
        training = attrs.get("training")
        if training is not None and self.sample.node.layer is not None:
            attrs["training"] = None
        self.artefact = emit(self.sample.graph, "single")
        self.module = single.build(self.artefact, self.sample.weights, folder)
        self.module.train(bool(training))
        if "training" in attrs:
            attrs["training"] = training
        self.inputs = {
            value.name: torch.from_numpy(single.f32(self.sample.arrays[value.name]))
            for value in self.sample.graph.inputs
        }

    def __call__(self) -> tuple[torch.Tensor, ...]:
        result = self.module(*self.inputs.values())
        return result if isinstance(result, tuple) else (result,)


@each(CASES)
def test_op(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path)
    wanted = single.expected(built.sample)
    with torch.no_grad():
        for got, want in zip(built(), wanted, strict=True):
            close(got.numpy(), want, op, 1e-5, 1e-6)
            assert got.numpy().dtype == single.f32(want).dtype, built.artefact.source


@each(CASES)
def test_sizes_are_read_from_the_inputs(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path, symbolic=True)
    wanted = single.expected(built.sample)
    with torch.no_grad():
        for got, want in zip(built(), wanted, strict=True):
            close(got.numpy(), want, op, 1e-5, 1e-6)


@each([case for case in CASES if "lengths" not in case[0].samples[case[1]]])
def test_new_tensors_are_where_the_inputs_are(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path)
    built.module.to("meta")
    built.inputs = {name: x.to("meta") for name, x in built.inputs.items()}
    if built.inputs:
        assert {y.device.type for y in built()} == {"meta"}


@each(DIFFERENTIABLE)
def test_gradient(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path)
    leaves = {name: x for name, x in built.inputs.items() if x.is_floating_point()}
    for x in leaves.values():
        x.requires_grad_()
    parameters = dict(built.module.named_parameters())
    results = [y for y in built() if y.requires_grad]
    random = np.random.default_rng(number)
    cotangents = [random.normal(size=y.shape).astype(np.float32) for y in results]
    taken = {**leaves, **parameters}
    found: Any = [None] * len(taken)
    if results:
        given = [torch.from_numpy(np.asarray(g)) for g in cotangents]
        found = torch.autograd.grad(results, list(taken.values()), given, allow_unused=True)
    got = {
        name: np.zeros(x.shape) if g is None else g.numpy()
        for (name, x), g in zip(taken.items(), found, strict=True)
    }
    held = {name: got[name] for name in parameters}
    got |= built.artefact.weight_map.gradients(held)
    for name, want in reverse(built.sample, cotangents).items():
        close(got[name], want, SCALED, 1e-4, 1e-5)


def reverse(sample: Sample, cotangents: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The gradients by the compiler's own reverse mode, in float64."""
    graph, feed = sample.graph, dict(sample.inputs)
    wrt: list[Value] = [v for v in sample.node.values if v.type.floating and _trained(v)]
    floats = [(name, y) for name, y in graph.outputs.items() if y.type.floating]
    given: dict[str, Value] = {}
    for (name, output), array in zip(floats, cotangents, strict=False):
        given[name] = Input(f"g_{name}", output.type)
        graph.inputs.append(given[name])
        feed[f"g_{name}"] = array.astype(np.float64)
    found = gradients(graph, given, wrt)
    graph.outputs = {value.name: found[value] for value in wrt}
    graph.updates = {}
    return run(graph, feed, sample.weights).outputs


def _trained(value: Value) -> bool:
    return getattr(value, "trainable", True)
