"""ONNX files: every op in ONNX Runtime against the reference, names, sizes, states, weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import numpy_helper

from mlc.backends.onnx import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Graph, Init, Input, Scope, Type, Value, Weight
from mlc.compiler.init import initialise
from mlc.compiler.op import Build, Op
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.ops.elementwise import ADD, WHERE
from mlc.compiler.ops.linear import LINEAR
from mlc.compiler.ops.shape import UNSQUEEZE
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.compiler.tensor import write
from mlc.equivalence.engines import onnx as engine
from mlc.equivalence.engines.protocol import Job
from mlc.frontends.mdl import load
from tests.compiler.ops.sample import Sample, cases, make
from tests.compiler.random_graph import graphs

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = cases()
each = pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{i}" for op, i in CASES])


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def execute(
    graph: Graph, inputs: Mapping[str, Any], weights: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The outputs of the emitted file for these arrays, f32 where they are float64."""
    types = {value.name: value.type for value in (*graph.inputs, *graph.weights.values())}
    held = {
        name: np.asarray(array, numpy_dtype(types[name].dtype))
        for name, array in {**inputs, **weights}.items()
    }
    artefact = emit(graph, "m", weights={path: held[path] for path in graph.weights})
    found = session(artefact.files["m.onnx"])
    names = [output.name for output in found.get_outputs()]
    return dict(zip(names, found.run(names, {name: held[name] for name in inputs}), strict=True))


def close(got: np.ndarray, want: np.ndarray, single: np.ndarray) -> None:
    """As near to the truth as f32 is: 16 eps of the largest element, or what NumPy in f32 errs."""
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    finite = np.abs(want[np.isfinite(want)])
    scale = finite.max() if finite.size else 1.0
    with np.errstate(all="ignore"):
        noise = np.nanmax(np.abs(single - want), initial=0.0, where=np.isfinite(single - want))
        near = np.abs(got - want) <= max(2e-6 * scale, 4 * noise)
    same = near | (got == want) | (np.isnan(got) & np.isnan(want))
    assert same.all(), f"{got[~same][:5]} is not {want[~same][:5]} (of {scale})"


def unknown_sizes(sample: Sample) -> Graph:
    """The sample's graph again, on inputs whose sizes (but 1) are symbols."""
    graph = Graph("unknown", Scope("model"))
    graph.weights = sample.graph.weights
    twins: dict[Value, Value] = dict(
        zip(graph.weights.values(), graph.weights.values(), strict=True)
    )
    for old in sample.graph.inputs:
        shape = tuple(symbol(f"S{size}") if size != 1 else 1 for size in old.type.shape)
        twins[old] = Input(old.name, old.type.with_(shape=shape))
        graph.inputs.append(twins[old])
    slots = [None if value is None else twins[value] for value in sample.node.inputs]
    node = Build(graph).node(sample.op, slots, sample.node.attrs)
    graph.outputs = {f"y{i}": output for i, output in enumerate(node.outputs)}
    return graph


@each
def test_sizes_are_read_from_the_inputs(op: Op, number: int) -> None:
    sample = make(op, number)
    resolve(sample.graph, training=False)
    graph = unknown_sizes(sample)
    want = run(graph, sample.inputs, sample.weights).outputs
    single = run(graph, sample.inputs, sample.weights, dtype="f32").outputs
    got = execute(graph, sample.inputs, sample.weights)
    for name, array in want.items():
        close(got[name], array, single[name])


# -------------------------------------------------------------------------------------- examples

SMALL = {
    "mnist": ({}, {"image": (3, 28, 28)}),
    "tiny_resnet": ({}, {"image": (2, 3, 17, 20)}),
    "gpt": ({"vocab": 50, "D": 24, "layers": 2, "heads": 3}, {"ids": (2, 7)}),
}
"""Hyper-parameters and shapes of the inputs at which an example runs in no time."""


@pytest.mark.parametrize("name", SMALL)
def test_examples(name: str) -> None:
    params, shapes = SMALL[name]
    graph = load((EXAMPLES / f"{name}.mdl").read_text(), name, params=params)
    random = np.random.default_rng(0)
    inputs = {
        x.name: random.normal(size=shapes[x.name]).astype("f")
        if x.type.floating
        else random.integers(0, 50, shapes[x.name])
        for x in graph.inputs
    }
    weights = initialise(graph, 1)
    got = execute(graph, inputs, weights)
    resolve(graph, training=False)
    want, single = (run(graph, inputs, weights, dtype=dtype).outputs for dtype in ("f64", "f32"))
    for output, array in want.items():
        close(got[output], array, single[output])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    graph.outputs = {f"out_{name}": value for name, value in graph.outputs.items()}
    random = np.random.default_rng(0)
    inputs = {"x": random.normal(size=(5, 3)), "z": random.normal(size=(2, 3))}
    weights = {path: random.normal(size=w.type.shape) for path, w in graph.weights.items()}
    want, single = (run(graph, inputs, weights, dtype=dtype).outputs for dtype in ("f64", "f32"))
    got = execute(graph, inputs, weights)
    for name, array in want.items():
        close(got[name], array, single[name])


# ---------------------------------------------------------------------------------- whole files


def model() -> Graph:
    """y = linear(x) scaled where `keep` is true, in a block `head`; a state counts the calls."""
    root = Scope("model")
    head = Scope("block", parent=root, path="head", member="head")
    graph = Graph("Net", root)
    x = Input("x", Type("f32", (symbol("B"), symbol("T"), 3)))
    keep = Input("keep", Type("bool", (symbol("B"), symbol("T"))), default=True)
    graph.inputs = [x, keep]
    weight = Weight(
        "head.linear.weight", Type("f32", (5, 3)), Init("fan_uniform", (3.0,)), trainable=True,
        scope=head, part="weight",
    )  # fmt: skip
    count = Weight("count", Type("f32", ()), Init("zeros"), trainable=False, scope=root, part="")
    graph.weights = {weight.path: weight, count.path: count}
    b = Build(graph, head)
    h = b(LINEAR, x, weight, features=5, bias=False)
    h.name = "h"
    y = b(WHERE, b(UNSQUEEZE, keep, axes=-1), h, b.constant(symbol("T"), "f32"))
    graph.outputs = {"y": y, "again": y}
    graph.updates[count] = (Build(graph)(ADD, count, 1.0), "always")
    return graph


def feed() -> dict[str, Any]:
    return {"x": np.arange(24, dtype=np.float32).reshape(2, 4, 3), "keep": np.eye(2, 4) > 0}


def test_names_are_those_of_the_source() -> None:
    parsed = onnx.load_model_from_string(emit(model(), "net").files["net.onnx"])
    assert (parsed.ir_version, parsed.opset_import[0].version) == (10, 21)
    assert [x.name for x in parsed.graph.input] == ["x", "keep", "count"]
    assert [x.name for x in parsed.graph.output] == ["y", "again", "count.next"]
    assert {x.name for x in parsed.graph.initializer} == {"keep", "head.linear.weight", "count"}
    dims = [d.dim_param or d.dim_value for d in parsed.graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["B", "T", 5]
    assert "head.h" in {name for node in parsed.graph.node for name in node.output}
    assert "head/MatMul" in {node.name for node in parsed.graph.node}


def test_an_input_with_a_default_may_be_left_out() -> None:
    graph = model()
    weights = {**initialise(graph, 3), "count": np.float32(41)}
    for inputs in (feed(), {"x": feed()["x"]}):
        want = run(graph, inputs, weights)
        got = execute(graph, inputs, weights)
        np.testing.assert_allclose(got["y"], want.outputs["y"], 1e-6)
        np.testing.assert_array_equal(got["y"], got["again"])
        assert got["count.next"] == want.updates["count"] == 42


def test_a_size_that_no_input_gives_is_refused() -> None:
    graph = model()
    graph.inputs[0].type = Type("f32", (2, 4, 3))
    with pytest.raises(MlcError, match="no input that must be given has an axis of size B"):
        emit(graph, "net")


def test_two_tensors_of_one_name_are_refused() -> None:
    graph = model()
    graph.outputs = {"x": graph.outputs["y"]}
    with pytest.raises(MlcError, match="are called x"):
        emit(graph, "net")


def test_weights_are_those_given_or_the_starting_values() -> None:
    graph = model()
    start = initialise(graph, 0)
    artefact = emit(graph, "net")
    assert_holds(artefact.files["net.onnx"], start)
    assert artefact.with_weights(start) is artefact
    other = {"head.linear.weight": np.ones((5, 3), np.float32), "count": np.float32(7)}
    assert_holds(artefact.with_weights(other).files["net.onnx"], other)
    for path, weight in graph.weights.items():
        weight.data = other[path]
    assert_holds(emit(graph, "net").files["net.onnx"], other)


def assert_holds(data: bytes, tensors: Mapping[str, Any]) -> None:
    found = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(data).graph.initializer
    }
    for path, tensor in tensors.items():
        np.testing.assert_array_equal(found[path], tensor)


def test_the_folder_builds_a_session(tmp_path: Path) -> None:
    graph = model()
    other = {"head.linear.weight": np.ones((5, 3), np.float32), "count": np.zeros((), np.float32)}
    artefact = emit(graph, "net")
    found = artefact.build().run(["y"], feed())[0]
    np.testing.assert_allclose(found, run(graph, feed(), initialise(graph)).outputs["y"], 1e-6)
    write(tmp_path / "w.safetensors", other)
    found = artefact.build(weights=tmp_path / "w.safetensors").run(["y"], feed())[0]
    np.testing.assert_allclose(found, run(graph, feed(), other).outputs["y"], 1e-6)
    assert sorted(p.name for p in artefact.save(tmp_path).iterdir()) == [
        "README.md", "__init__.py", "net.onnx", "weights.json"
    ]  # fmt: skip


def test_large_weights_lie_in_a_file_beside(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mlc.backends.onnx.file.LIMIT", 32)
    graph = model()
    folder = emit(graph, "net").save(tmp_path)
    tensors = onnx.load(folder / "net.onnx").graph.initializer
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    np.testing.assert_array_equal(
        found["head.linear.weight"], initialise(graph)["head.linear.weight"]
    )
    got = onnxruntime.InferenceSession(folder / "net.onnx").run(["y"], feed())[0]
    np.testing.assert_allclose(got, run(graph, feed(), initialise(graph)).outputs["y"], 1e-6)


def test_source_is_text_without_data() -> None:
    text = emit(model(), "net").source
    assert "Net (float[B,T,3] x, bool[B,T] keep, float count) => (float[B,T,5] y" in text
    assert '<float[5,3] "head.linear.weight">' in text
    assert '"head.h" = MatMul' in text


def test_without_onnx_the_error_names_what_installs_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MlcError, match="takes the package onnx") as caught:
        emit(model(), "net")
    assert caught.value.code == "engine"
    assert "mlc[onnx]" in (caught.value.help or "")


@pytest.mark.parametrize("names", [("x", "keep"), ("x",)])
def test_the_engine_feeds_what_may_be_left_out_and_returns_states(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    graph = model()
    weights = {**initialise(graph, 5), "count": np.asarray(3, np.float32)}
    write(tmp_path / "w.safetensors", weights)
    feeds = {name: feed()[name] for name in names}
    folder = emit(graph, "net").save(tmp_path)
    found = engine.run(
        Job(str(folder), str(tmp_path / "w.safetensors"), ("x", "keep"), ("y",), feeds)
    )
    want = run(graph, feeds, weights)
    np.testing.assert_allclose(found.outputs["y"], want.outputs["y"], 1e-5, 1e-5)
    assert found.updates == {"count": 4}


def test_the_whole_file_passes_the_checker() -> None:
    onnx.checker.check_model(emit(model(), "net").files["net.onnx"], full_check=True)


def test_weights_of_another_shape_are_refused() -> None:
    weights = {"head.linear.weight": np.zeros((3, 5), np.float32), "count": np.float32(0)}
    with pytest.raises(MlcError, match=r"the shape of head\.linear\.weight differs"):
        emit(model(), "net", weights=weights)
