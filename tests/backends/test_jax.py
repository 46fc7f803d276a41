"""JAX source: every op on sizes that it reads, whole models against the reference, the text."""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlc.backends.artefact import Artefact, import_package
from mlc.backends.jax import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.compiler.op import Op
from mlc.compiler.tensor import write
from mlc.frontends.mdl import load
from tests.backends import settings, single
from tests.backends.architectures import ARCHITECTURES
from tests.backends.models import MODELS
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CASES = [(op, number) for op, number in cases() if op.layout != "any"]
WIDE = {"i64", "f64"}
Key = tuple[str, int]


def narrow(made: single.Sample) -> bool:
    """Whether JAX has the dtypes without being told to use 64 bits."""
    values = [*made.values.values(), *made.graph.outputs.values()]
    return not any(value.type.dtype in WIDE for value in values)


def mode(model: Any, training: bool) -> Any:
    """The model, switched to one mode."""
    _ = model.train() if training else model.eval()
    return model


class Built:
    """A sample as an emitted module, split for `jit`, and the arrays that it is called with."""

    def __init__(self, op: Op, number: int, folder: Path) -> None:
        made = single.sample(op, number, symbolic=True)
        attrs = made.node.attrs
        training = attrs.get("training")
        if made.node.layer is not None and training is not None:
            attrs["training"] = None
        self.artefact = emit(made.graph, "single")
        model = mode(single.build(self.artefact, made.weights, folder), bool(training))
        self.graph, self.state = nnx.split(model)
        self.feed = [jnp.asarray(array) for array in single.feed(self.artefact, made)]


def call(graph: Any, state: Any, feed: Any) -> Any:
    result = nnx.merge(graph, state)(*feed)
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Any]:
    """What the emitted models give, all in one XLA program, or what they raised."""
    folder = tmp_path_factory.mktemp("jax")
    found: dict[Key, Any] = {}
    built: dict[Key, Built] = {}
    for op, number in CASES:
        key = (op.name, number)
        try:
            made = Built(op, number, folder)
            jax.eval_shape(call, made.graph, made.state, made.feed)
            built[key] = made
        except Exception as error:
            found[key] = error
    taken = {key: (made.state, made.feed) for key, made in built.items()}
    together = jax.jit(lambda given: {k: call(built[k].graph, *x) for k, x in given.items()})
    for key, arrays in together(taken).items():
        found[key] = single.canonical(built[key].artefact, arrays)
    return found


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_sizes_are_read_from_the_inputs(op: Op, number: int, results: dict[Key, Any]) -> None:
    made = single.sample(op, number, symbolic=True)
    got = results[op.name, number]
    if isinstance(got, Exception):
        raise got
    for array, want in zip(got, single.expected(made), strict=True):
        close(array, want, op, 1e-5, 1e-6)
        assert array.dtype == single.f32(want).dtype or not narrow(made)


# ------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_model(name: str, training: bool, tmp_path: Path) -> None:
    """Outputs, new buffers, and gradients by inputs and parameters."""
    check(MODELS[name], training, tmp_path)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_structure(name: str, tmp_path: Path) -> None:
    check(STRUCTURES[name], True, tmp_path)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_architecture(name: str, tmp_path: Path) -> None:
    check(ARCHITECTURES[name], True, tmp_path)


def by_weights(op: str, weight: str, image: str, config: str) -> str:
    """A convolution by a `param` that the model has itself."""
    return f"""
model M:
    in  x: f32[B, 4, {image}]
    out y: f32[B, 6]
    param kernel: f32[{weight}] = normal(0.3)
    param shift: f32[6] = normal(0.1)
    h = {op}(x, 6, {config}, weight = kernel, bias = shift)
    y = h -> relu -> flatten(start = 2) -> mean(axes = [2])
"""


OWN = {
    "conv": by_weights("conv", "6, 4, 3", "12", "3, pad = [(1, 2)], stride = 2, dilation = 2"),
    "conv_same": by_weights("conv", "6, 4, 3, 2", "12, 9", '(3, 2), stride = (2, 1), pad = "same"'),
    "conv_groups": by_weights("conv", "6, 2, 3, 2", "12, 9", "(3, 2), groups = 2"),
    "conv_volume": by_weights("conv", "6, 4, 3, 2, 1", "6, 7, 5", "(3, 2, 1)"),
    "up": by_weights(
        "conv_transpose", "4, 6, 3", "12", "3, pad = [(1, 0)], stride = 2, output_pad = 1"
    ),
    "up_groups": by_weights(
        "conv_transpose",
        "4, 3, 3, 2",
        "7, 9",
        "(3, 2), stride = (2, 1), groups = 2, dilation = (2, 1)",
    ),
    "tied": """
model Tied:
    in  x: f32[B, 4, 8, 8]
    out y: f32[B, 4, 8, 8]
    down = conv(6, 3, stride = 2, pad = 1)
    h = down(x)
    y = conv_transpose(
        h, 4, 3, stride = 2, pad = 1, output_pad = 1, bias = false, weight = down.weight)
""",
    "tuples": """
block Up(width, kernel, pad, stride = 2):
    in  x: f32[B, C, H, W]
    out y: f32[B, width]
    h = x -> conv_transpose(width, kernel, pad = pad, stride = stride)
    y = h -> relu -> mean(axes = [2, 3])
block Down(width, kernel, pad, stride = 2):
    in  x: f32[B, C, H, W]
    out y: f32[B, width]
    y = x -> conv(width, kernel, pad = pad, stride = stride) -> relu -> mean(axes = [2, 3])
model TupleT(kernel = [3, 1], pads = [[1, 0], [0, 1]], window = [2, 1], k = 3, d = 2):
    in  x: f32[B, 4, 12, 12]
    out y: f32[B, 6]
    param w: f32[4, 6, k, k] = normal(0.1)
    a = Down(x, 6, kernel, [1, 0]) + Down(x, 6, [2, 3], pads, [1, 2]) + Down(x, 6, k, 1)
    b = Up(x, 6, kernel, [1, 0]) + Up(x, 6, [2, 3], pads, [1, 2]) + Up(x, 6, k, 1)
    c = x -> max_pool(window, stride = 1)
    c = c -> conv_transpose(6, kernel, stride = window, pad = [1, 0]) -> avg_pool(window)
    e = x -> conv_transpose(6, k, stride = 2, dilation = d)
    f = conv_transpose(x, 6, k, dilation = d, bias = false, weight = w)
    y = a + b + mean(c, axes = [2, 3]) + mean(e, axes = [2, 3]) + mean(f, axes = [2, 3])
""",
    "table": """
model KernLoop(kernels = [[3, 1], [1, 3], [3, 3]], pads = [[1, 0], [0, 1], [1, 1]], shape = [2, 3]):
    in  x: f32[B, 4, 9, 9]
    out y: f32[B, 2, 3]
    h = x
    for kernel, pad in zip(kernels, pads):
        h = h -> conv(6, kernel, pad = pad) -> relu -> max_pool(kernel, stride = 1, pad = pad)
    y = h -> mean(axes = [2, 3]) -> reshape([B, shape[0], shape[1]])
""",
    "causal": """
block Att(causal = false):
    in  x: f32[B, T, 8]
    in  c: f32[B, S, 8]
    in? keep: bool[B, S] = true
    out y: like x
    y = attention(x, c, 2, causal = causal, keep = keep) + attention(x, x, 2, causal = causal)
block Att2(causal = false):
    in  x: f32[B, T, 8]
    in  c: f32[B, S, 8]
    out y: like x
    q = x -> linear(8)
    y = sdpa(q, c, c, causal = causal)  + attention(x, c, 2, causal = causal)
block Att3(causal = false, scale = 1.0):
    in  x: f32[B, T, 8]
    out y: like x
    y = attention(x, x, 2, causal = causal, scale = scale)
model Causal:
    in  x: f32[B, 4, 8]
    in  c: f32[B, 6, 8]
    in keep: bool[B, 6]
    out y: like x
    h = Att(x, c, true, keep = keep) + Att(x, c, false, keep = keep)
    y = h + Att2(x, c, false) + Att2(x, c, true) + Att3(x, true) + Att3(x, false, 2.0)
""",
    "chosen": """
model Chosen(how = "tanh", keepit = true, low = -1.0):
    in  x: f32[B, 4, 5]
    out y: f32[B, 4, 5]
    y = gelu(x, approximate = how) + max(x, axes = [1], keep = keepit) + clamp(x, min = low)
""",
    "buffers": """
model Buffers:
    in  x: f32[B, 4, L]
    out y: f32[B, 4, L]
    out m: f32[4]
    n = batch_norm()
    y = n(x)
    m = n.running_mean * 2
""",
}
"""What other models leave out: weights from elsewhere, and attributes by hyper-parameters."""


@pytest.mark.parametrize("name", sorted(OWN))
def test_weights_and_attributes_from_elsewhere(name: str, tmp_path: Path) -> None:
    check(OWN[name], True, tmp_path)


def check(text: str, training: bool, folder: Path) -> None:
    """Compares the emitted model with the reference, at one choice of sizes."""
    graph = load(text, "net")
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net")
    truth = Truth(graph, weights, feed, training)
    model = mode(single.build(artefact, weights, folder), training)
    for _, part in nnx.iter_modules(model):
        if isinstance(part, nnx.Dropout):
            part.rate = 0.0
    found = differentiated(artefact, model, feed, truth.cotangents)
    for key, want in truth.compared(artefact).items():
        tolerance = 2e-4 if key[0] == "gradient" else 1e-5
        near(found[key], want, str(key), tolerance, 0.1)


def differentiated(
    artefact: Artefact, model: Any, feed: dict[str, np.ndarray], cotangents: dict[str, np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """Everything that is compared, as the source names and orders it."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    ports = artefact.interface.inputs
    given = {
        port.argument: jnp.asarray(single.stored(feed[port.name], port.order)) for port in ports
    }
    floats = {name: x for name, x in given.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    weighted = {
        port.name: jnp.asarray(single.stored(cotangents[port.name], port.order))
        for port in artefact.interface.outputs
        if port.name in cotangents
    }

    def loss(parameters: Any, floats: Any) -> Any:
        merged = nnx.merge(graph, parameters, rest, copy=True)
        result = merged(**{**given, **floats})
        several = result if isinstance(result, tuple) else (result,)
        outputs = {p.name: y for p, y in zip(artefact.interface.outputs, several, strict=True)}
        total = sum(jnp.sum(outputs[name] * g) for name, g in weighted.items())
        return total, (outputs, nnx.state(merged, nnx.BatchStat))

    step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (by_parameter, by_input), (outputs, state) = step(parameters, floats)
    found: dict[tuple[str, str], np.ndarray] = {}
    for port in artefact.interface.outputs:
        found["output", port.name] = single.moved_back(np.array(outputs[port.name]), port.order)
    for port in ports:
        if port.argument in by_input:
            array = np.array(by_input[port.argument])
            found["gradient", port.name] = single.moved_back(array, port.order)
    for path, array in artefact.weight_map.gradients(flat(by_parameter)).items():
        found["gradient", path] = array
    for path, array in artefact.weight_map.invert(flat(state)).items():
        found["update", path] = array
    return found


def flat(state: Any) -> dict[str, np.ndarray]:
    """A state's arrays by dotted path."""
    return {
        ".".join(map(str, path)): np.array(x[...] if isinstance(x, nnx.Variable) else x)
        for path, x in nnx.to_flat_state(state)
    }


@pytest.mark.parametrize("name", sorted(settings.OFFERED))
def test_every_setting_that_is_offered_is_right(name: str, tmp_path: Path) -> None:
    graph, others = settings.settings(name)
    package = import_package(emit(graph, "net").save(tmp_path))
    model = getattr(package, emit(graph, "net").interface.model)
    for parameter in inspect.signature(model.__init__).parameters.values():
        if parameter.name in ("self", "rngs"):
            continue
        value, other = others(parameter)
        artefact = emit(other, "other")
        weights, feed = weights_of(other), draw(other)
        path = single.written(artefact, weights, tmp_path)
        made = mode(package.build(path, **{parameter.name: value}), False)
        truth = Truth(other, weights, feed, False)
        given = [single.stored(feed[p.name], p.order) for p in artefact.interface.inputs]
        result = nnx.jit(made)(*given)
        got = single.canonical(artefact, result if isinstance(result, tuple) else (result,))
        for array, (output, want) in zip(got, truth.outputs.items(), strict=True):
            near(array, want, f"{output} at {parameter.name} = {value}", 2e-5)


# --------------------------------------------------------------------------- the file itself


@pytest.mark.parametrize("name", ["unet", "branches", "volume"])
def test_the_order_of_axes_can_be_kept(name: str, tmp_path: Path) -> None:
    graph = load(MODELS[name], name)
    weights, feed = weights_of(graph), draw(graph)
    artefact = emit(graph, "net", keep_layout=True)
    assert all(p.order is None for p in (*artefact.interface.inputs, *artefact.interface.outputs))
    model = mode(single.build(artefact, weights, tmp_path), False)
    result = nnx.jit(model)(*(feed[port.name] for port in artefact.interface.inputs))
    got = result if isinstance(result, tuple) else (result,)
    truth = Truth(graph, weights, feed, False)
    for array, (output, want) in zip(got, truth.outputs.items(), strict=True):
        near(np.asarray(array), want, f"{output} of {name}", 1e-5)


def test_a_flattened_image_needs_no_transpose() -> None:
    text = (
        "model M:\n    in x: f32[B, 3, 8, 8]\n    out y: f32[B, 5]\n"
        "    y = x -> conv(4, 3) -> flatten -> linear(5)\n"
    )
    assert "transpose" not in source(text)
    steps = emit(load(text), "net").weight_map.entries["linear.kernel"].steps
    assert [step.kind for step in steps] == ["reshape", "permute", "reshape", "permute"]


def source(text: str) -> str:
    return emit(load(text, "net"), "net").source


def test_a_model_starts_as_the_language_says() -> None:
    text = "model M:\n    in x: f32[B, 64]\n    out y: f32[B, 256]\n    y = x -> linear(256)\n"
    model = single.load(emit(load(text), "net"), Path("/tmp")).build(seed=3)
    for x in (model.linear.kernel[...], model.linear.bias[...]):
        assert 0.1 < float(jnp.abs(x).max()) <= 1 / 8
        assert float(x.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.1)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    text = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 2]\n    y = x -> linear(2)\n"
    graph: Graph = load(text)
    artefact = emit(graph, "net")
    tensors = dict(artefact.weight_map.convert(weights_of(graph)))
    if fault == "missing":
        del tensors["linear.bias"]
    elif fault == "extra":
        tensors["other"] = np.zeros(2, np.float32)
    else:
        tensors["linear.bias"] = np.zeros(1, np.float32)
    path = tmp_path / "weights.safetensors"
    write(path, tensors)
    with pytest.raises(ValueError, match=r"does not fit the model: .*\('(linear.bias|other)'"):
        single.load(artefact, tmp_path).build(path)


def test_a_tuple_is_passed_on_by_its_name() -> None:
    made = source(STRUCTURES["lists"])
    assert "nnx.Conv(\n            4, 4, kernel, padding=(1, 0)," in made


def test_groups_by_name_are_refused_where_they_are_one() -> None:
    text = (
        "model M(groups = 1):\n    in x: f32[B, 4, 5]\n    out y: f32[B, 6, 7]\n"
        "    y = x -> conv_transpose(6, 3, groups = groups)\n"
    )
    with pytest.raises(MlcError, match="groups that depend on hyper-parameters"):
        source(text)


def test_names_that_are_taken_get_an_underscore() -> None:
    text = (
        "model M(jnp = 3):\n    in self: f32[B, 3]\n    out y: f32[B, 3]\n"
        "    train = linear(jnp)\n    y = self -> train -> relu\n"
    )
    made = source(text)
    assert "self.train_ = nnx.Linear(" in made
    assert "def __init__(self, jnp_: int = 3" in made
    assert "def __call__(self, self_: jax.Array)" in made
    artefact = emit(load(text), "net")
    assert "train_.kernel" in artefact.weight_map.entries


def test_a_module_is_no_longer_than_by_hand() -> None:
    root = Path(__file__).parents[2]
    for name in ("tiny_resnet", "gpt"):
        written = (root / "tests" / "handwritten" / "jax" / f"{name}.py").read_text()
        made = source((root / "examples" / f"{name}.mdl").read_text())
        counts = [
            sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))
            for text in (made, written)
        ]
        assert counts[0] <= 1.15 * counts[1], f"{name}: {counts}"


def test_pads_are_written_where_there_are_any() -> None:
    made = source(ARCHITECTURES["googlenet"])
    assert 'constant_values=float("-inf")' in made
    assert "nnx.max_pool(h, (3, 3), strides=(2, 2))" in made
