"""OpenVINO source: every op against its `eval`, whole models against the reference, the text."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from mlc.backends.artefact import import_package
from mlc.backends.openvino import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.op import Op
from mlc.compiler.tensor import write
from mlc.frontends.mdl import load
from tests.backends import settings, single
from tests.backends.models import MODELS
from tests.backends.truth import Truth, draw, near, weights_of
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CORE = ov.Core()
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
KNOWN = [(op, n) for op, n in cases() if not op.samples[n].get("training")]
CASES = [(op, n, False) for op, n in KNOWN]
CASES += [(op, n, True) for op, n in KNOWN if op.layout != "any"]


def call(model: ov.Model, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """What the model computes in f32, output by output."""
    compiled = CORE.compile_model(model, "CPU", EXACT)
    results = compiled(feeds, share_inputs=False)
    return [np.array(results[output]) for output in compiled.outputs]


@pytest.mark.parametrize(
    ("op", "number", "symbolic"), CASES,
    ids=[f"{op.name}-{n}{'-symbolic' * symbolic}" for op, n, symbolic in CASES],
)  # fmt: skip
def test_op(op: Op, number: int, symbolic: bool, tmp_path: Path) -> None:
    made = single.sample(op, number, symbolic)
    artefact = emit(made.graph, "single")
    model = single.build(artefact, made.weights, tmp_path)
    got = call(model, single.feed(artefact, made))
    for array, want in zip(got, single.expected(made), strict=True):
        if op.name == "clamp":  # OpenVINO's comparisons do not pass a NaN on.
            array = np.where(np.isnan(want), want.astype(array.dtype), array)
        close(array, want, op, 1e-5, 1e-6)
        assert array.dtype == single.f32(want).dtype


# ------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"state"}))
def test_model(name: str, tmp_path: Path) -> None:
    graph = load(MODELS[name], name)
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net")
    model = single.build(artefact, weights, tmp_path)
    got = call(model, [feed[port.name] for port in artefact.interface.inputs])
    truth = Truth(graph, weights, feed, False)
    for array, (output, want) in zip(got, truth.outputs.items(), strict=True):
        near(array, want, f"{output} of {name}", 1e-5)
    assert [output.any_name for output in model.outputs] == list(graph.outputs)


@pytest.mark.parametrize("name", sorted(set(settings.OFFERED) - {"state"}))
def test_every_setting_that_is_offered_is_right(name: str, tmp_path: Path) -> None:
    graph, others = settings.settings(name)
    package = import_package(emit(graph, "net").save(tmp_path))
    model = getattr(package, emit(graph, "net").interface.model)
    for parameter in inspect.signature(model.__init__).parameters.values():
        if parameter.name in ("self", "weights", "args", "kwargs"):
            continue
        value, other = others(parameter)
        artefact = emit(other, "other")
        weights, feed = weights_of(other), draw(other)
        path = [single.written(artefact, weights, tmp_path)] if weights else []
        built = package.build(*path, **{parameter.name: value})
        got = call(built, [feed[port.name] for port in artefact.interface.inputs])
        truth = Truth(other, weights, feed, False)
        for array, (output, want) in zip(got, truth.outputs.items(), strict=True):
            near(array, want, f"{output} at {parameter.name} = {value}", 1e-5)


def test_a_state_is_refused_by_name() -> None:
    with pytest.raises(MlcError, match=r"the state count\.calls"):
        emit(load(MODELS["state"]), "net")


# --------------------------------------------------------------------------- the file itself

LINEAR = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 2]\n    y = x -> linear(2)\n"


@pytest.mark.parametrize("fault", ["missing", "extra"])
def test_weights_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    graph = load(LINEAR)
    artefact = emit(graph, "net")
    tensors = dict(artefact.weight_map.convert(weights_of(graph)))
    if fault == "missing":
        del tensors["linear.bias"]
    else:
        tensors["other"] = np.zeros(2, np.float32)
    path = tmp_path / "weights.safetensors"
    write(path, tensors)
    with pytest.raises((KeyError, ValueError), match=r"linear\.bias|\['other'\]"):
        single.load(artefact, tmp_path).build(path)


def test_a_fact_bounds_the_input() -> None:
    text = "model M:\n    in x: f32[B, T <= 9]\n    out y: f32[B, T]\n    y = relu(x)\n"
    assert "ops.parameter([-1, ov.Dimension(1, 9)], ov.Type.f32" in emit(load(text), "net").source


def test_types_that_it_does_not_compute_in_are_refused() -> None:
    text = "model M:\n    in x: f64[B]\n    out y: f64[B]\n    y = relu(x)\n"
    with pytest.raises(MlcError, match="OpenVINO does not compute in f64"):
        emit(load(text), "net")


def test_a_module_is_no_longer_than_by_hand() -> None:
    root = Path(__file__).parents[2]
    for name in ("tiny_resnet", "gpt"):
        written = (root / "tests" / "handwritten" / "openvino" / f"{name}.py").read_text()
        made = emit(load((root / "examples" / f"{name}.mdl").read_text()), name).source
        counts = [
            sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))
            for text in (made, written)
        ]
        assert counts[0] <= 1.15 * counts[1], f"{name}: {counts}"
