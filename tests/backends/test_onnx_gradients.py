"""ONNX files that compute their gradients: every op by the protocol, names, faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import mlc
from mlc.backends.onnx import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.compiler.op import Op
from mlc.compiler.ops import OPS
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.passes.adjoint import adjoint
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.equivalence import Emitted, Report, verify
from mlc.equivalence.compare import LIMIT, Row, judge, scales
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.noise import downstream, measure
from mlc.equivalence.reference import Feed, Key, joint
from tests.backends.test_onnx import close, session, unknown_sizes
from tests.compiler.ops.sample import Sample, cases, drawn, make
from tests.proof.examples import load

CASES = cases()
each = pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{i}" for op, i in CASES])


def cotangents(graph: Graph, sample: Sample) -> dict[str, np.ndarray]:
    """A number for each element of each output of floats."""
    shapes = {n: y.shape for n, y in run(graph, sample.inputs, sample.weights).outputs.items()}
    floats = [name for name, value in graph.outputs.items() if value.type.floating]
    return {n: sample.random.normal(size=shapes[n]).astype(np.float32) for n in floats}


def execute(
    graph: Graph, sample: Sample, weighs: Mapping[str, np.ndarray]
) -> dict[Key, np.ndarray]:
    """What the emitted file gives: outputs, and gradients by inputs and weights."""
    types = {value.name: value.type for value in (*graph.inputs, *graph.weights.values())}
    held = {n: np.asarray(sample.arrays[n], numpy_dtype(t.dtype)) for n, t in types.items()}
    weights = {path: held[path] for path in graph.weights}
    artefact = emit(graph, "m", weights=weights, gradients=True)
    made = artefact.interface.gradients
    assert made is not None
    feed = {x.name: held[x.name] for x in graph.inputs}
    feed |= {made.cotangents[name]: array for name, array in weighs.items()}
    names = [port.name for port in artefact.interface.outputs]
    found = dict(zip(names, session(artefact.files["m.onnx"]).run(names, feed), strict=True))
    keys = {Key("output", n): n for n in graph.outputs}
    keys |= {Key("input gradient", n): title for n, title in made.inputs.items()}
    keys |= {Key("parameter gradient", n): title for n, title in made.weights.items()}
    return {key: found[title] for key, title in keys.items()}


def check(graph: Graph, sample: Sample, chosen: bool) -> None:
    """Every tensor is within LIMIT of the rounding noise of the reference in float64.

    Noise covers only what lies on a step, and some of what is computed from `chosen` numbers.
    """
    for node in graph:
        if "rate" in node.attrs:
            node.attrs["rate"] = 0.0
    resolve(graph, training=False)
    both = joint(graph, training=False)
    if both.no_gradient:
        with pytest.raises(MlcError) as caught:
            emit(graph, "m", gradients=True)
        assert (caught.value.code, caught.value.message) == ("gradient", both.no_gradient)
        return
    weighs = cotangents(graph, sample)
    sizes = run(graph, sample.inputs, sample.weights).sizes
    feed = Feed(sizes, sample.inputs, weighs, sample.weights)
    with np.errstate(all="ignore"):
        truth, noise = both.run(feed), measure(both, feed, sample.random, strict=False)
    found = execute(graph, sample, weighs)
    assert found.keys() == truth.keys()
    hidden, scale = downstream(noise.hazards, both), scales(truth, noise.yardsticks)
    for key, want in truth.items():
        row = judge(Row("onnx", "", "", *key, "failed"), found[key], want, scale[key])
        assert row.ratio <= LIMIT, row
        assert row.verdict == "equal" or (row.verdict == "unseen" and (chosen or key in hidden)), (
            row
        )


@each
def test_gradients_of_an_op_at_sizes_that_are_not_known(op: Op, number: int) -> None:
    sample = make(op, number)
    check(unknown_sizes(sample), sample, not drawn(op, number))


@pytest.mark.parametrize("name", ["dropout", "channel_dropout", "drop_path"])
def test_a_mask_drops_gradients_too(name: str) -> None:
    sample = make(OPS[name], 1)
    weighs = cotangents(sample.graph, sample)
    found = execute(sample.graph, sample, weighs)
    both = adjoint(sample.graph)
    feed = sample.inputs | {both.cotangents[n]: array for n, array in weighs.items()}
    want = run(both.graph, feed, sample.weights).outputs
    assert (want["grad.x"] == 0).any()
    close(found[Key("input gradient", "x")], want["grad.x"], want["grad.x"])
    close(found[Key("output", "y0")], want["y0"], want["y0"])


# ----------------------------------------------------------------------------------- the artefact

NET = """
model Net(width = 5):
    in  x: f32[B, 4]
    in? s: f32[B, 1] = 1.0
    out y: f32[B, width]
    out n: i32[B]

    y = (x * s) -> linear(width) as grad -> relu
    n = argmax(y, axis = 1)
"""


def test_the_folder_says_which_are_gradients(tmp_path: Path) -> None:
    artefact = mlc.compile(mlc.load(NET), "onnx", name="net", gradients=True)
    folder = artefact.save(tmp_path)
    table = json.loads((folder / "weights.json").read_text())["interface"]["gradients"]
    assert table == {
        "cotangents": {"y": "grad.y"},
        "inputs": {"x": "grad.x", "s": "grad.s"},
        "weights": {"grad.weight": "grad.grad.weight", "grad.bias": "grad.grad.bias"},
    }
    readme = (folder / "README.md").read_text()
    assert "cotangent of an output NAME is the input `grad.NAME`" in readme
    assert "- outputs: `y` f32[B, 5], `n` i32[B]\n" in readme
    model = artefact.build()
    feed = {"x": np.ones((2, 4), "f"), "grad.y": np.ones((2, 5), "f")}
    names = ["y", "grad.s", "grad.grad.bias"]
    y, slope, bias = model.run(names, feed)
    assert slope.shape == (2, 1)
    np.testing.assert_array_equal(bias, np.sum(y > 0, axis=0))
    plain = json.loads((mlc.compile(mlc.load(NET), "onnx").save(tmp_path / "plain") /
                        "weights.json").read_text())  # fmt: skip
    assert "gradients" not in plain["interface"]


def test_weights_that_are_given_are_in_the_file() -> None:
    graph = mlc.load(NET)
    weights = {path: np.full(w.type.shape, 2.0, np.float32) for path, w in graph.weights.items()}
    artefact = mlc.compile(graph, "onnx", weights, gradients=True)
    model = onnx.load_model_from_string(next(b for n, b in artefact.files.items() if "onnx" in n))
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert "grad.x" in {y.name for y in model.graph.output}
    np.testing.assert_array_equal(found["grad.weight"], weights["grad.weight"])


DROPS = """
model Drops:
    in  x: f32[B, 4]
    out y: f32[B, 4]

    y = x -> batch_norm -> dropout(0.25) -> linear(4)
"""


def test_a_file_of_the_training_mode(tmp_path: Path) -> None:
    artefact = mlc.compile(mlc.load(DROPS), "onnx", training=True)
    folder = artefact.save(tmp_path)
    assert (
        "`dropout.keep` f32[B, 4] (0.75 where there is none)" in (folder / "README.md").read_text()
    )
    model = artefact.build()
    feed = {"x": np.arange(8, dtype="f").reshape(2, 4), "dropout.keep": np.zeros((2, 4), "f")}
    mean = np.zeros(4, "f")
    feed |= {"batch_norm.running_mean": mean, "batch_norm.running_var": mean + 1}
    y, new = model.run(["y", "batch_norm.running_mean.next"], feed)
    np.testing.assert_array_equal(y[0], y[1])
    np.testing.assert_allclose(new, feed["x"].mean(0) / 10, rtol=1e-6)
    assert [y.name for y in model.get_outputs()][:1] == ["y"]
    with pytest.raises(MlcError, match="keras comes in no file of the training mode"):
        mlc.compile(mlc.load(DROPS), "keras", training=True)


def test_verify_compares_both_modes(pool: Pool) -> None:
    pool.start(["onnx"])
    from mlc.request import verify as run_all

    report = run_all(mlc.load(DROPS), ["onnx"], None, 1, None, None, pool=pool)
    report.assert_equivalent()
    found = {(row.mode, row.kind) for row in report.rows if row.verdict == "equal"}
    kinds = ("output", "input gradient", "parameter gradient")
    assert found == {(m, k) for m in ("inference", "training") for k in kinds} | {
        ("training", "update")
    }
    assert [unseen.what for unseen in report.unseen if unseen.target] == ["what dropout drops"]


def test_verify_says_why_it_does_not_compare_gradients(pool: Pool) -> None:
    pool.start(["onnx"])
    from mlc.request import verify as run_all

    whole = "model Net:\n    in x: f32[B, 3]\n    out n: i32[B]\n\n    n = argmax(x, axis = 1)\n"
    report = run_all(mlc.load(whole), ["onnx"], None, 1, ["inference"], None, pool=pool)
    report.assert_equivalent()
    reasons = {unseen.what: unseen.reason for unseen in report.unseen if unseen.target == "onnx"}
    assert reasons == {"gradients in inference mode": "no output of Net is of floats"}


def test_refusals() -> None:
    whole = "model Net:\n    in x: f32[B]\n    out n: i32[]\n\n    n = argmax(x, axis = 0)\n"
    with pytest.raises(MlcError, match="no output of Net is of floats") as caught:
        mlc.compile(mlc.load(whole), "onnx", gradients=True)
    assert caught.value.code == "gradient"
    with pytest.raises(MlcError, match="pytorch") as caught:
        mlc.compile(mlc.load(NET), "pytorch", gradients=True)
    assert caught.value.code == "usage"


# ----------------------------------------------------------------------------------------- faults


def _backward(model: Any) -> list[Any]:
    """The nodes that a cotangent comes to, in order."""
    reached = {x.name for x in model.graph.input if x.name.startswith("grad.")}
    found = []
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            found.append(node)
    return found


def _of(model: Any, kind: str) -> Any:
    """The last node of a kind in the backward part."""
    return [node for node in _backward(model) if node.op_type == kind][-1]


def _rename(model: Any, kind: str, other: str) -> None:
    _of(model, kind).op_type = other


def _keep_first(model: Any, kind: str) -> None:
    """The last node of a kind gives its first input."""
    node = _of(model, kind)
    node.op_type = "Identity"
    del node.input[1:]


def _turn(model: Any, kind: str) -> None:
    """The last two inputs of the last node of a kind change places."""
    node = _of(model, kind)
    node.input[-2:] = [node.input[-1], node.input[-2]]


def _swap(model: Any, *names: str) -> None:
    """Two gradients of one shape change places."""
    swapped = dict(zip(names, reversed(names), strict=True))
    for node in model.graph.node:
        for outputs in (node.input, node.output):
            outputs[:] = [swapped.get(name, name) for name in outputs]


def _edit(model: Any, name: str, kind: str, value: Any = None) -> None:
    """The output `name` is what an op of this kind makes of it."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["inner" if each == name else each for each in names]
    given = ["inner"]
    if value is not None:
        model.graph.initializer.append(numpy_helper.from_array(value, "by"))
        given.append("by")
    model.graph.node.append(helper.make_node(kind, given, [name]))


def _ignore_cotangent(model: Any, name: str) -> None:
    """Only the sign of a cotangent is used."""
    for node in model.graph.node:
        node.input[:] = ["sign" if each == name else each for each in node.input]
    model.graph.node.insert(0, helper.make_node("Sign", [name], ["sign"]))


ONE = np.ones((24, 24), np.float32)
ONE[3, 5] = 1.001

FAULTS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a mean in place of a sum": ("lenet", lambda m: _rename(m, "ReduceSum", "ReduceMean")),
    "the other side of relu": ("mnist", lambda m: _turn(m, "Where")),
    "a path left out": ("gpt", lambda m: _keep_first(m, "Add")),
    "a factor left out": ("gpt", lambda m: _keep_first(m, "Mul")),
    "two weights swapped": ("gpt", lambda m: _swap(
        m, "grad.layers.0.attention.query.weight", "grad.layers.0.attention.key.weight")),
    "a frozen weight": ("tiny_resnet", lambda m: _edit(
        m, "grad.conv.weight", "Mul", np.float32(0))),
    "half a gradient": ("tiny_resnet", lambda m: _edit(
        m, "grad.blocks.1.batch_norm1.bias", "Mul", np.float32(0.5))),
    "one element": ("gpt", lambda m: _edit(
        m, "grad.layers.1.attention.value.weight", "Mul", ONE)),
    "the sign of what weighs the output": ("mnist", lambda m: _ignore_cotangent(m, "grad.logits")),
    "a gradient with its sign turned": ("lenet", lambda m: _edit(m, "grad.image", "Neg")),
}  # fmt: skip
"""Name -> the example, and the edit of its file with gradients."""


def planted(
    graph: Graph, directory: Path, fault: Callable[[Any], None], *, valid: bool = True
) -> Emitted:
    """The folders of a model, with a fault in the file that computes the gradients."""
    plain = mlc.compile(graph, "onnx", name="net").save(directory)
    both = mlc.compile(graph, "onnx", name="net", gradients=True).save(directory / "both")
    (path,) = both.glob("*.onnx")
    model = onnx.load(path)
    before = model.SerializeToString()
    fault(model)
    assert model.SerializeToString() != before
    if valid:
        onnx.checker.check_model(model)
    onnx.save(model, path)
    return Emitted(plain, {"inference": both})


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_gradients_is_seen(pool: Pool, tmp_path: Path, name: str) -> None:
    example, fault = FAULTS[name]
    graph = load(example)
    pool.start(["onnx"])
    emitted = planted(graph, tmp_path, fault)
    report: Report = verify(graph, {"onnx": emitted}, pool=pool, sizes=1, modes=["inference"])
    assert report.exit_code == 1
    assert {row.kind for row in report.faults} <= {"input gradient", "parameter gradient"}
    assert report.faults[0].verdict == "different"
    assert report.faults[0].ratio > LIMIT
    assert report.findings == []


def test_a_file_of_gradients_that_does_not_run_has_failed(pool: Pool, tmp_path: Path) -> None:
    graph = mlc.load(DROPS)
    pool.start(["onnx"])
    emitted = planted(graph, tmp_path, lambda m: m.graph.node.reverse(), valid=False)
    report = verify(graph, {"onnx": emitted}, pool=pool, sizes=1, modes=["inference"])
    assert report.exit_code == 1
    assert {row.verdict for row in report.rows} == {"failed"}
    assert {row.kind for row in report.rows} == {
        "output", "input gradient", "parameter gradient",
    }  # fmt: skip
