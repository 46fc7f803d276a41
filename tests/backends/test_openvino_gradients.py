"""OpenVINO with gradients: the gradient of every op and of whole models, against float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from mlc.backends.artefact import Artefact
from mlc.backends.openvino import emit
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.compiler.op import Op
from mlc.compiler.passes.adjoint import adjoint
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.models import MODELS
from tests.backends.test_openvino import EXACT, KNOWN
from tests.backends.truth import SIZES, Truth, draw, near, weights_of

CORE = ov.Core()


def _differentiable(op: Op, number: int) -> bool:
    """Whether the op has a gradient by a float input of the sample, and an output of floats."""
    graph, _ = clone(single.sample(op, number).graph)
    resolve(graph, training=False)
    try:
        both = adjoint(graph)
    except MlcError:
        return False
    return bool(both.inputs or both.weights)


CASES = [(op, number) for op, number in KNOWN if op.layout != "any" and _differentiable(op, number)]


def call(artefact: Artefact, folder: Path, feeds: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the model gives, by name."""
    model = CORE.compile_model(single.load(artefact, folder).build(), "CPU", EXACT)
    given = {port.any_name: single.f32(feeds[port.any_name]) for port in model.inputs}
    results = model(given, share_inputs=False)
    return {port.any_name: np.array(results[port]) for port in model.outputs}


def _expected(graph: Graph, feeds: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Outputs and gradients in float64, without what the backend makes of the graph."""
    copied, _ = clone(graph)
    resolve(copied, training=False)
    both = adjoint(copied).graph
    return run(both, {x.name: feeds[x.name] for x in both.inputs}, weights).outputs


@pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_gradients_do_not_need_the_sizes(op: Op, number: int, tmp_path: Path) -> None:
    made = single.sample(op, number, symbolic=True)
    artefact = emit(made.graph, "single", gradients=True)
    outputs = dict(zip(made.graph.outputs, single.expected(made), strict=True))
    random = np.random.default_rng(1)
    gradients = artefact.interface.gradients
    assert gradients is not None
    cotangents = {
        title: random.normal(size=outputs[name].shape).astype(np.float32)
        for name, title in gradients.cotangents.items()
    }
    feeds = {**{k: single.f32(v) for k, v in made.arrays.items()}, **cotangents}
    found = call(artefact, tmp_path, feeds)
    weights = {path: feeds[path] for path in made.graph.weights}
    wanted = _expected(made.graph, feeds, weights)
    titles = [*gradients.inputs.values(), *gradients.weights.values()]
    floor = max(np.max(np.abs(wanted[t][np.isfinite(wanted[t])]), initial=0) for t in titles)
    for title in titles:
        alike(found[title], wanted[title], f"{title} of {op.name}", max(floor * 0.1, 1e-3))


def alike(found: np.ndarray, wanted: np.ndarray, what: str, floor: float) -> None:
    """The same elements are finite, and those are near, relative to the largest or to `floor`."""
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=what)
    near(np.where(finite, found, 0), np.where(finite, wanted, 0), what, 2e-5, floor)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_gradients_of_models(name: str, training: bool, tmp_path: Path) -> None:
    graph = load(MODELS[name], name)
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net", gradients=True, training=training)
    gradients = artefact.interface.gradients
    assert gradients is not None
    truth = Truth(graph, weights, feed, training)
    cotangents = {gradients.cotangents[n]: c for n, c in truth.cotangents.items()}
    masks = {
        port.name: np.full([SIZES.get(s) or int(s) for s in port.shape], port.default, np.float32)
        for port in artefact.interface.inputs
        if port.default is not None and port.name not in feed
    }
    found = call(artefact, tmp_path, {**feed, **weights, **cotangents, **masks})
    titles = {**gradients.inputs, **gradients.weights}
    assert set(titles) == set(truth.gradients)
    for output, want in truth.outputs.items():
        near(found[output], want, f"{output} of {name}", 1e-5)
    for path, want in truth.updates.items():
        near(found[f"{path}.next"], want, f"{path} of {name} after a step", 1e-5)
    floor = max(np.max(np.abs(y[np.isfinite(y)]), initial=0) for y in truth.gradients.values())
    for tensor, want in truth.gradients.items():
        what = f"gradient by {tensor} of {name}"
        alike(found[titles[tensor]], want, what, max(floor * 0.05, 1e-3))


# --------------------------------------------------------------------------- the file itself

LINEAR = """model M:
    in x: f32[B, 3]
    out y: f32[B, 2]
    state n: f32[] = zeros
    n := n + 1.0
    y = relu(x -> linear(2)) * n
"""


def test_weights_are_inputs_and_states_outputs_too(tmp_path: Path) -> None:
    artefact = emit(load(LINEAR), "net", gradients=True)
    model = single.load(artefact, tmp_path).build()
    inputs = ["x", "grad.y", "linear.bias", "linear.weight", "n"]
    assert sorted(port.any_name for port in model.inputs) == sorted(inputs)
    outputs = ["y", "grad.x", "grad.linear.weight", "grad.linear.bias", "n.next"]
    assert sorted(port.any_name for port in model.outputs) == sorted(outputs)
    assert artefact.interface.fed


DROPS = """model M:
    in x: f32[B, 3]
    out y: f32[B, 3]
    y = x -> dropout(0.25)
"""


def test_in_training_masks_are_inputs(tmp_path: Path) -> None:
    artefact = emit(load(DROPS), "net", training=True)
    assert artefact.interface.gradients is None
    x, keep = np.ones((2, 3), np.float32), np.float32([[1, 0, 1], [0, 0, 1]])
    found = call(artefact, tmp_path, {"x": x, "dropout.keep": keep})
    np.testing.assert_allclose(found["y"], keep / 0.75, rtol=1e-6)


def test_nothing_is_computed_twice_or_in_vain(tmp_path: Path) -> None:
    text = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 3]\n    y = tanh(exp(x))\n"
    model = single.load(emit(load(text), "net", gradients=True), tmp_path).build()
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert kinds.count("Tanh") == kinds.count("Exp") == 1
    made = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
    assert all(any(port.get_target_inputs() for port in node.outputs()) for node in made)


def test_steps_along_the_gradient_need_one_model(tmp_path: Path) -> None:
    graph = load("model M:\n    in x: f32[B, 3]\n    out y: f32[B, 1]\n    y = x -> linear(1)\n")
    model = single.load(emit(graph, "net", gradients=True), tmp_path).build()
    compiled = CORE.compile_model(model, "CPU", EXACT)
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 3)).astype(np.float32)
    wanted = x @ np.float32([[1], [-2], [3]]) + np.float32(0.5)
    weights = {path: np.asarray(w) for path, w in weights_of(graph).items()}
    error = np.zeros_like(wanted)
    for _ in range(200):
        found = compiled({"x": x, "grad.y": error, **weights}, share_inputs=False)
        error = (np.array(found["y"]) - wanted) / 32
        found = compiled({"x": x, "grad.y": error, **weights}, share_inputs=False)
        weights = {
            n: w - np.float32(0.3) * np.array(found[f"grad.{n}"]) for n, w in weights.items()
        }
    np.testing.assert_allclose(weights["linear.weight"], [[1, -2, 3]], atol=1e-3)
    np.testing.assert_allclose(weights["linear.bias"], [0.5], atol=1e-3)


def test_an_op_without_gradient_is_named() -> None:
    text = "model M:\n    in x: f32[B, 3]\n    out y: i32[B]\n    y = argmax(x, axis = 1)\n"
    with pytest.raises(MlcError, match="no output of M is of floats"):
        emit(load(text), "net", gradients=True)
