"""Whole models in PyTorch: outputs, gradients and buffers in both modes, and strict loading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlc.backends.artefact import Artefact
from mlc.backends.jax import emit as emit_jax
from mlc.backends.openvino import emit as emit_openvino
from mlc.backends.pytorch import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.compiler.init import initialise
from mlc.compiler.tensor import write
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.architectures import ARCHITECTURES
from tests.backends.models import MODELS
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of


def without_dropout(module: torch.nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, (torch.nn.Dropout, torch.nn.Dropout2d)):
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


ALL = {**MODELS, **STRUCTURES, **ARCHITECTURES}


@pytest.mark.parametrize("name", ALL)
def test_models(name: str, tmp_path: Path) -> None:
    check(ALL[name], tmp_path)


def test_optional_inputs_may_be_left_out(tmp_path: Path) -> None:
    check(STRUCTURES["optional"], tmp_path, leave_out=("keep", "scale", "shift"))
    check(STRUCTURES["cross_self"], tmp_path, leave_out=("keep",))


def test_buffers_take_the_values_that_they_had_at_the_start(tmp_path: Path) -> None:
    text = check(STRUCTURES["states"], tmp_path)
    assert "self.b = h.detach()" in text
    assert "self.a = old_b.detach()" in text


def test_what_a_layer_makes_of_its_buffers_is_read_after_its_call(tmp_path: Path) -> None:
    text = check(
        """
model Buffers:
    in  x: f32[B, 4, L]
    out y: f32[B, 4, L]
    out m: f32[4]
    n = batch_norm()
    y = x -> n -> relu -> n
    m = n.running_mean * 2
""",
        tmp_path,
    )
    assert "self.n.running_mean.clone()" in text


DEAD = """
model Dead:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    param gone: f32[3] = ones
    y = x -> linear(4)
    unused = x -> linear(3)
"""


def test_weights_that_nothing_reads_are_in_no_file(tmp_path: Path) -> None:
    graph = load(DEAD, "net")
    for emitted in (emit(graph, "net"), emit_jax(graph, "net"), emit_openvino(graph, "net")):
        assert len(emitted.weight_map.entries) == 2
    module = single.build(emit(graph, "net"), weights_of(graph), tmp_path)
    assert sorted(module.state_dict()) == ["linear1.bias", "linear1.weight"]


def test_hyper_parameters_are_arguments(tmp_path: Path) -> None:
    graph = load(STRUCTURES["lists"], "net")
    module = single.load(emit(graph, "net"), tmp_path)
    larger = load(STRUCTURES["lists"], "net", params={"widths": [5, 7]})
    weights = weights_of(larger)
    model = module.build(widths=(5, 7))
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == {
        path: array.shape for path, array in weights.items()
    }


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    graph = load(MODELS["volume"], "net")
    artefact = emit(graph, "net")
    weights = weights_of(graph)
    for wrong in (
        {k: v for k, v in weights.items() if k != "conv.weight"},
        {**weights, "more": np.zeros(3, np.float32)},
        {**weights, "conv.weight": np.zeros((4, 2, 3, 3, 1), np.float32)},
    ):
        path = tmp_path / "wrong.safetensors"
        write(path, wrong)
        with pytest.raises(RuntimeError):
            single.load(artefact, tmp_path).build(path)


STARTS = """
model Starts:
    in  x: f32[B, 40, T]
    out y: f32[B, 40, T]
    param zero: f32[40, 1] = zeros
    param one: f32[40, 1] = ones
    param three: f32[40, 1] = constant(3.0)
    param wide: f32[40, 50] = normal(0.5)
    param flat: f32[40, 50] = uniform(-0.25, 0.75)
    param glorot: f32[40, 50] = xavier_uniform
    param he: f32[40, 50] = kaiming_uniform(1.4)
    param fan: f32[40, 50] = fan_uniform(50)
    h = x * one + zero * three
    y = h + mean(wide + flat + glorot + he + fan, axes = [1], keep = true)
"""


def test_weights_start_as_the_language_says(tmp_path: Path) -> None:
    graph = load(STARTS, "net")
    torch.manual_seed(0)
    model = single.build(emit(graph, "net"), {}, tmp_path)
    for path, want in initialise(graph, 1).items():
        got = dict(model.named_parameters())[path].detach().numpy()
        assert got.shape == want.shape
        for measure in (np.mean, np.std, np.min, np.max):
            assert abs(float(measure(got)) - float(measure(want))) < 0.05 * (1 + np.ptp(want)), path


REFUSED = {
    "pad": ("""
model M:
    in  x: f32[B, C, H, W]
    out y: f32[B + 2, C, H, W]
    y = pad(x, [(1, 1), (0, 0), (0, 0), (0, 0)], mode = "reflect")
""", "reflect padding of 4 axes"),
    "size": ("""
model M:
    in  x: f32[3]
    in? keep: f32[B, 3] = 1.0
    out y: f32[B, 3]
    y = keep * x
""", "known from keep alone"),
    "names": ("""
model M:
    in  x: f32[B, 3]
    out y: f32[B, 3]
    type = linear(3)
    type_ = linear(3)
    y = x -> type -> type_
""", "type_"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_by_name(name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(MlcError, match=words):
        source(text)


def test_inputs_that_may_be_left_out_come_last() -> None:
    inputs = "    in? scale: f32[B, 1] = 1.0\n    in  x: f32[B, 3]\n"
    graph = load(f"model Net:\n{inputs}    out y: like x\n    y = x * scale\n")
    with pytest.raises(MlcError, match="x must be given, and stands behind scale"):
        emit(graph, "net")


def test_attention_to_another_sequence_may_be_causal_by_a_hyper_parameter(tmp_path: Path) -> None:
    text = """
block Attend(causal):
    in  q: f32[B, T, D]
    in  k: f32[B, S, D]
    in  keep: bool[B, 1, S]
    in  near: f32[T, S]
    out y: like q
    y = sdpa(q, k, k, causal = causal) + sdpa(q, k, k, mask = keep, causal = causal)
    y = y + sdpa(q, k, k, bias = near, causal = causal) + sdpa(q, k, k, bias = near, mask = keep)

model Both:
    in  q: f32[B, 3, 4]
    in  k: f32[B, 5, 4]
    in  keep: bool[B, 1, 5]
    in  near: f32[3, 5]
    out y: like q
    y = Attend(true)(q, k, keep, near) + Attend(false)(q, k, keep, near)
"""
    made = " ".join(check(text, tmp_path).split())
    assert ".tril(S - T) if self.causal else None" in made
