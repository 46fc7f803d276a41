"""OpenVINO source: ops on sizes that they read, whole models against the reference, the text."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from mlc.backends.artefact import import_package
from mlc.backends.openvino import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.op import Op
from mlc.compiler.tensor import write
from mlc.equivalence import Report, verify
from mlc.equivalence.engines.pool import Pool
from mlc.frontends.mdl import load
from tests.backends import settings, single
from tests.backends.architectures import ARCHITECTURES
from tests.backends.models import MODELS
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CORE = ov.Core()
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
KNOWN = [(op, n) for op, n in cases() if not op.samples[n].get("training")]
CASES = [(op, n) for op, n in KNOWN if op.layout != "any"]


def call(model: ov.Model, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """What the model computes in f32, output by output."""
    compiled = CORE.compile_model(model, "CPU", EXACT)
    results = compiled(feeds, share_inputs=False)
    return [np.array(results[output]) for output in compiled.outputs]


@pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_sizes_are_read_from_the_inputs(op: Op, number: int, tmp_path: Path) -> None:
    made = single.sample(op, number, symbolic=True)
    artefact = emit(made.graph, "single")
    model = single.build(artefact, made.weights, tmp_path)
    got = call(model, single.feed(artefact, made))
    for array, want in zip(got, single.expected(made), strict=True):
        close(array, want, op, 1e-5, 1e-6)
        assert array.dtype == single.f32(want).dtype


# ------------------------------------------------------------------------------------- models


WHOLE = {**MODELS, **STRUCTURES, **ARCHITECTURES}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_model(name: str, tmp_path: Path) -> None:
    graph = load(WHOLE[name], name)
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net")
    model = single.build(artefact, weights, tmp_path)
    states = [port.any_name for port in model.inputs[len(feed) :]]
    feeds = [feed[port.name] for port in artefact.interface.inputs]
    got = call(model, [*feeds, *(weights[name] for name in states)])
    truth = Truth(graph, weights, feed, False)
    wanted = {**truth.outputs, **{f"{n}.next": truth.updates[n] for n in states}}
    for array, (output, want) in zip(got, wanted.items(), strict=True):
        near(array, want, f"{output} of {name}", 1e-5)
    assert [output.any_name for output in model.outputs] == list(wanted)


@pytest.mark.parametrize("name", sorted(settings.OFFERED))
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


# --------------------------------------------------------------------------------------- states


def _verify(text: str, tmp_path: Path, engine: Pool) -> Report:
    graph = load(text)
    folder = emit(graph, "net").save(tmp_path)
    return verify(graph, {"openvino": folder}, modes=["inference"], pool=engine)


@pytest.fixture(scope="module")
def engine() -> Iterator[Pool]:
    with Pool() as pool:
        yield pool


SHARED = """model M:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    out z: f32[B, 4]
    out w: f32[B, 4]
    state n: f32[] = zeros
    state last: f32[4] = ones
    y = x * n
    z = y
    w = x
    n := n + 1.0
    last := mean(x, axes = [0])
"""


@pytest.mark.parametrize("name", ["states", "state_loop", "shared"])
def test_states_are_inputs_and_outputs(name: str, tmp_path: Path, engine: Pool) -> None:
    text = {**STRUCTURES, "shared": SHARED}[name]
    report = _verify(text, tmp_path, engine)
    report.assert_equivalent()
    updated = {row.name for row in report.rows if row.kind == "update"}
    assert updated == {weight.path for weight in load(text).updates}


def test_calls_of_one_state_keep_their_order(tmp_path: Path, engine: Pool) -> None:
    text = MODELS["state"].replace(
        "y = x -> count -> linear(4) -> count", "a = x -> count\n    b = x -> count\n    y = b - a"
    )
    report = _verify(text, tmp_path, engine)
    report.assert_equivalent()


def test_outputs_of_one_tensor_are_found_by_name(tmp_path: Path) -> None:
    artefact = emit(load(SHARED), "net")
    model = single.build(artefact, weights_of(load(SHARED)), tmp_path)
    x, n, last = np.ones((2, 4), np.float32), np.full((), 3, np.float32), np.zeros(4, np.float32)
    compiled = CORE.compile_model(model, "CPU", EXACT)
    found = compiled({"x": x, "n": n, "last": last}, share_inputs=False)
    assert {name: found[name].ravel()[0] for name in ("y", "z", "w", "n.next", "last.next")} == {
        "y": 3, "z": 3, "w": 1, "n.next": 4, "last.next": 1,
    }  # fmt: skip


PORTS = """block S:
    in x: f32[B, 4]
    out a: f32[B, 2]
    out y: f32[B, 4]
    a, b = split(x, 2, axis = 1)
    y = relu(x)
model M:
    in x: f32[B, 4]
    out a: f32[B, 2]
    out b: f32[B, 2]
    out y: f32[B, 4]
    out i: i32[B, 1]
    a, y = x -> S
    c, b = split(x, 2, axis = 1)
    i = argmax(x, axis = 1, keep = true)
"""


def test_one_output_of_a_node_beside_others(tmp_path: Path) -> None:
    x = np.float32([[3, -1, 2, 5]])
    found = call(single.build(emit(load(PORTS), "net"), {}, tmp_path), [x])
    wanted = [x[:, :2], x[:, 2:], np.maximum(x, 0), np.int32([[3]])]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_state_called_like_an_input_is_refused() -> None:
    with pytest.raises(MlcError, match="both a state and an input or output of M are called x"):
        emit(load(SHARED.replace("zeros", 'zeros as "x"')), "net")


# -------------------------------------------------------------------- windows by hyper-parameters

WINDOWS = {
    "axis by axis": """
block P(p, q, s = 1):
    in x: f32[B, C, H, W]
    out y: f32[B, 4, (H + 2 * p - 3) // s + 1, (W + 2 * q - 3) // s + 1]
    y = x -> conv(4, 3, pad = (p, q), stride = s)
model M(p = 1, q = 2):
    in x: f32[B, 3, 7, 8]
    out y: f32[B, 4, 5, 5]
    y = x -> P(p, q) -> P(q, p, s = 2) -> conv(4, 3, pad = 1)
""",
    "both ends": """
block P(p):
    in x: f32[B, C, T]
    out y: f32[B, 4, T + p - 2]
    y = x -> conv(4, 3, pad = ((p, 0),))
model M:
    in x: f32[B, 3, 7]
    out y: f32[B, 4, 7]
    y = x -> P(2) -> P(1) -> P(3)
""",
    "numbers of several forms": """
model M:
    in x: f32[B, 3, 7, 9]
    out y: f32[B, 4, 6, 3]
    h = x -> conv(4, 3, pad = (1, 2), stride = (1, 2))
    y = h -> conv(4, 3, pad = ((0, 1), (1, 0)), dilation = (1, 2))
""",
    "lists": """
model M(pads = [[0, 1], [1, 0]], stride = [1, 2]):
    in x: f32[B, 3, 7, 9]
    out y: f32[B, 4, 6, 4]
    y = x -> conv(4, 3, pad = pads, stride = stride) -> conv(4, 3, pad = 1)
""",
    "same": """
model M(k = 3, l = 4):
    in x: f32[B, 3, 9, 10]
    out y: f32[B, 4, 3, 5]
    y = x -> conv(4, k, pad = "same", stride = (3, 2)) -> conv(4, l, pad = "same", dilation = 2)
""",
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_by_hyper_parameters(name: str, tmp_path: Path) -> None:
    graph = load(WINDOWS[name])
    weights, feed = weights_of(graph), draw(graph)
    (found,) = call(single.build(emit(graph, "net"), weights, tmp_path), [feed["x"]])
    near(found, Truth(graph, weights, feed, False).outputs["y"], name, 1e-5)


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


UNUSED = """
block Pair:
    in  x: f32[B, 4, L]
    out y: like x
    out skip: like x
    skip = x -> conv(4, 1)
    y = x + (skip -> conv(4, 1, groups = 2))
model M(depth = 2, last = false):
    in  x: f32[B, 4, L]
    out y: f32[B, 4, L]
    h = x
    total = x
    for i in range(depth):
        h, skip = Pair(h)
        total = total + skip
    y = total + h if last else total
"""


def test_a_weight_that_is_asked_for_and_reaches_no_result_is_no_stranger(tmp_path: Path) -> None:
    graph = load(UNUSED)
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net")
    (found,) = call(single.build(artefact, weights, tmp_path), [feed["x"]])
    near(found, Truth(graph, weights, feed, False).outputs["y"], "y", 1e-5)
    assert any("conv2" in path and path.startswith("blocks.1") for path in weights)


COMPUTED = """
block Half(k):
    in  x: f32[B, T]
    out y: f32[B, ceil(T / 2)]
    y = x[:, :ceil(T / k)] * sqrt(k)
model M(k = 2):
    in  x: f32[B, T]
    out y: f32[B, ceil(T / 2)]
    out z: f32[B, T // 2]
    out w: f32[B, (T - 5) // 2 + 2]
    require T >= 2
    y = x -> Half(k)
    z = x[:, :floor(T / 2)] * sqrt(k)
    w = x[:, :(T - 5) // 2 + 2]
"""


def test_sizes_are_rounded_as_the_source_rounds_them(tmp_path: Path) -> None:
    model = single.build(emit(load(COMPUTED), "net"), {}, tmp_path)
    for size in (4, 5, 8):
        x = np.arange(3 * size, dtype=np.float32).reshape(3, size)
        y, z, w = call(model, [x])
        np.testing.assert_allclose(y, x[:, : -(-size // 2)] * np.float32(2**0.5))
        np.testing.assert_allclose(z, x[:, : size // 2] * np.float32(2**0.5))
        np.testing.assert_array_equal(w, x[:, : (size - 5) // 2 + 2])


CAUSAL = """
block A(causal = false):
    in  x: f32[B, 2, T, 4]
    in  c: f32[B, 2, S, 4]
    in  keep: bool[B, S]
    out y: like x
    h = sdpa(x, x, x * 2.0, causal = causal)
    y = sdpa(h, c + 1.0, c * 2.0, mask = keep[:, none, none], causal = causal)
model M(flag = false):
    in  x: f32[B, 2, T, 4]
    in  c: f32[B, 2, S, 4]
    in  keep: bool[B, S]
    out y: f32[B, 2, T, 4]
    y = A(x, c, keep, causal = flag) + A(x, c, keep)
"""


def test_attention_is_causal_by_a_hyper_parameter(tmp_path: Path) -> None:
    module = single.load(emit(load(CAUSAL), "net"), tmp_path)
    for flag in (False, True):
        graph = load(CAUSAL, params={"flag": flag})
        feed = draw(graph)
        (found,) = call(module.build(flag=flag), [*feed.values()])
        near(found, Truth(graph, {}, feed, False).outputs["y"], f"flag = {flag}", 1e-5)


TWICE = """
block A(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, D]
    out y: like x
    q = x -> linear(D) -> rearrange("b t (h k) -> b h t k", h = heads)
    k = memory -> linear(D) -> rearrange("b s (h k) -> b h s k", h = heads)
    h = softmax(q @ transpose(k), axis = -1) * (1.0 / sqrt(D)) + cast(iota(S), "f32")
    y = h @ k -> rearrange("b h t k -> b t (h k)")
model M(heads = 2):
    in  x: f32[B, T, 8]
    out y: f32[B, T, 8]
    n = x -> relu
    y = x + ((n, n) -> A(heads))
"""


def test_one_tensor_given_under_two_names(tmp_path: Path) -> None:
    graph = load(TWICE)
    weights, feed = weights_of(graph), draw(graph)
    (found,) = call(single.build(emit(graph, "net"), weights, tmp_path), [feed["x"]])
    near(found, Truth(graph, weights, feed, False).outputs["y"], "y", 1e-5)


GIVEN = """
block C(n, half):
    in  x: f32[B, c, L]
    out y: f32[B, n, L]
    param kernel: f32[n, half, 3] = normal(0.1)
    param b: f32[n] = normal(0.1)
    y = conv(x, n, 3, pad = "same", groups = 2, weight = kernel, bias = b)
block E(n, more):
    in  x: f32[B, c, L]
    out y: f32[B, n, 2 * L + more]
    param kernel: f32[c, n, 2] = normal(0.1)
    y = conv_transpose(x, n, 2, stride = 2, output_pad = more, bias = false, weight = kernel)
model M:
    in  x: f32[B, 4, L]
    out y: f32[B, 6, 2 * L + 1]
    y = x -> C(8, 2) -> C(6, 4) -> E(6, 1)
"""


def test_convolutions_by_given_weights(tmp_path: Path) -> None:
    graph = load(GIVEN)
    weights, feed = weights_of(graph), draw(graph)
    (found,) = call(single.build(emit(graph, "net"), weights, tmp_path), [feed["x"]])
    near(found, Truth(graph, weights, feed, False).outputs["y"], "y", 1e-5)


def test_a_fact_bounds_the_input() -> None:
    text = "model M:\n    in x: f32[B, T <= 9]\n    out y: f32[B, T]\n    y = relu(x)\n"
    assert "ops.parameter([-1, ov.Dimension(1, 9)], ov.Type.f32" in emit(load(text), "net").source


@pytest.mark.parametrize(
    ("facts", "shape"),
    [
        ("3 * T <= 20", "ov.Dimension(1, 6), ov.Dimension(2, 7)"),
        ("T > 2", "ov.Dimension(3, -1), ov.Dimension(4, -1)"),
        ("2 <= T and T < 9 and T <= 7", "ov.Dimension(2, 7), ov.Dimension(3, 8)"),
        ("T % 4 == 0", "-1, ov.Dimension(2, -1)"),
        ("T * T <= 9", "-1, ov.Dimension(2, -1)"),
    ],
)
def test_facts_about_one_size_are_bounds(facts: str, shape: str) -> None:
    text = f"model M:\n    in x: f32[T, T + 1]\n    out y: f32[T, T + 1]\n    require {facts}\n"
    source = emit(load(text + "    y = relu(x)\n"), "net").source
    assert f"ops.parameter([{shape}], ov.Type.f32" in source


def test_sizes_of_inputs_follow_the_hyper_parameters_that_they_are_written_with(
    tmp_path: Path,
) -> None:
    text = "model M(half = 2):\n    in x: f32[B, 2 * half]\n    out y: f32[B, 2, half]\n"
    module = single.load(emit(load(text + "    y = reshape(x, [B, 2, half])\n"), "net"), tmp_path)
    (x,) = module.build(half=3).inputs
    assert x.partial_shape.to_string() == "[?,6]"


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
