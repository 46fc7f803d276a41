"""Whole models in Keras: outputs, gradients and buffers in both modes, saving."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mlc.backends.artefact import Artefact
from mlc.backends.keras import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.architectures import ARCHITECTURES
from tests.backends.keras_only import MORE
from tests.backends.models import MODELS
from tests.backends.settings import EXAMPLES, OFFERED, SMALL
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of

HANDWRITTEN = Path(__file__).parents[1] / "handwritten" / "keras"

ALL = {**OFFERED, **STRUCTURES, **ARCHITECTURES, **MORE}


SINGLE = {"volume": 3e-5}
"""Models that TensorFlow has no float64 kernels for, and how near they come in float32."""


@pytest.fixture(autouse=True)
def double(request: pytest.FixtureRequest) -> Iterator[None]:
    """The emitted file names no dtype for floats: it runs in float64 as it is."""
    narrow = any(name in request.node.name for name in SINGLE)
    _floats("float32" if narrow else "float64")
    yield
    _floats("float32")
    keras.backend.clear_session()


def _floats(kind: str) -> None:
    """What floats are, also of layers: their policy is kept from the first model on."""
    keras.config.set_floatx(kind)
    keras.config.set_dtype_policy(kind)


class Ran:
    """An emitted model, its weights in place, dropout at rate 0, and what it is fed."""

    def __init__(
        self, graph: Graph, artefact: Artefact, weights: dict[str, Any], folder: Path
    ) -> None:
        self.graph, self.artefact, self.weights = graph, artefact, weights
        self.tolerance = 2e-6 if keras.config.floatx() == "float64" else SINGLE["volume"]
        self.model = single.build(artefact, weights, folder)
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0

    def inputs(self, feed: dict[str, Any]) -> list[Any]:
        """By the model's arguments, in its order of axes; None for what is left out."""
        return [
            tf.constant(_own(_stored(feed[p.name], p.order))) if p.name in feed else None
            for p in self.artefact.interface.inputs
        ]

    def __call__(self, inputs: list[Any], training: bool = False) -> dict[str, Any]:
        result = self.model(inputs if len(inputs) > 1 else inputs[0], training=training)
        results = result if isinstance(result, (list, tuple)) else [result]
        ports = self.artefact.interface.outputs
        return {port.name: y for port, y in zip(ports, results, strict=True)}

    def compare(self, feed: dict[str, Any], training: bool) -> None:
        """Holds outputs, gradients and new buffers to the reference."""
        truth = Truth(self.graph, self.weights, feed, training)
        ports = {p.name: p for p in self.artefact.interface.outputs}
        inputs = self.inputs(feed)
        names = [p.name for p in self.artefact.interface.inputs]
        floats = {n: x for n, x in zip(names, inputs, strict=True)
                  if x is not None and x.dtype.is_floating}  # fmt: skip
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(list(floats.values()))
            results = self(inputs, training)
            total = tf.add_n([tf.reduce_sum(results[n] * _own(_stored(c, ports[n].order)))
                              for n, c in truth.cotangents.items()])  # fmt: skip
        taken = [*floats.values(), *(v.value for v in variables)]
        slopes = [np.asarray(tf.convert_to_tensor(g)) for g in tape.gradient(
            total, taken, unconnected_gradients=tf.UnconnectedGradients.ZERO)]  # fmt: skip
        orders = {p.name: p.order for p in self.artefact.interface.inputs}
        got = {("output", n): _back(np.asarray(y), ports[n].order) for n, y in results.items()}
        got |= {("gradient", n): _back(g, orders[n]) for n, g in zip(floats, slopes, strict=False)}
        held = {v.path: g for v, g in zip(variables, slopes[len(floats) :], strict=True)}
        found = self.artefact.weight_map.gradients(held)
        got |= {("gradient", path): g for path, g in found.items()}
        buffers = {v.path: np.asarray(v) for v in self.model.non_trainable_weights}
        after = self.artefact.weight_map.invert(buffers)
        got |= {("update", path): x for path, x in after.items()}
        for key, want in truth.compared(self.artefact).items():
            if key[0] == "gradient" and key not in got:
                assert not want.any(), f"{key[1]} has a gradient, and Keras no such weight"
                continue
            near(got[key], want, " ".join(key), tolerance=self.tolerance)


def _stored(array: Any, order: tuple[int, ...] | None) -> np.ndarray:
    return np.ascontiguousarray(np.transpose(array, order or range(np.ndim(array))))


def _own(array: Any) -> np.ndarray:
    """Floats in the dtype that Keras has now."""
    array = np.asarray(array)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _back(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    return array if order is None else np.transpose(array, np.argsort(order))


def check(graph: Graph, folder: Path, leave_out: tuple[str, ...] = (), **options: bool) -> Artefact:
    """Holds the emitted model to the reference, in both modes."""
    artefact = emit(graph, "net", **options)
    weights = weights_of(graph)
    feed = {name: x for name, x in draw(graph).items() if name not in leave_out}
    for training in (False, True):
        Ran(graph, artefact, weights, folder).compare(feed, training)
    return artefact


@pytest.mark.parametrize("name", ALL)
def test_models(name: str, tmp_path: Path) -> None:
    check(load(ALL[name], "net", params=SMALL.get(name, {})), tmp_path)


@pytest.mark.parametrize("left_out", [("keep",), ("scale",), ("keep", "scale")])
def test_inputs_may_be_left_out(left_out: tuple[str, ...], tmp_path: Path) -> None:
    check(load(MORE["masked"], "net"), tmp_path, left_out)


def test_masks_may_be_left_out(tmp_path: Path) -> None:
    artefact = check(load(MODELS["encoder"], "net"), tmp_path, ("keep",))
    assert "Default" not in artefact.source


@pytest.mark.parametrize("name", ["unet", "branches", "volume", "picture", "scaled", "generator"])
def test_the_order_of_inputs_and_outputs_may_be_kept(name: str, tmp_path: Path) -> None:
    artefact = check(load(ALL[name], "net"), tmp_path, keep_layout=True)
    assert all(p.order is None for p in (*artefact.interface.inputs, *artefact.interface.outputs))


# ------------------------------------------------------------------------------------ the text


def statements(text: str) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))


def layers(text: str) -> set[str]:
    return {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "keras.layers"
    }


@pytest.mark.parametrize("name", ["tiny_resnet", "gpt"])
def test_the_source_is_as_short_as_one_by_hand(name: str) -> None:
    text = emit(load((EXAMPLES / f"{name}.mdl").read_text(), name), name).source
    by_hand = (HANDWRITTEN / f"{name}.py").read_text()
    assert statements(text) <= 1.15 * statements(by_hand)
    assert layers(text) | {"Add"} == layers(by_hand) | {"Add"}


@pytest.mark.parametrize("name", ALL)
def test_a_file_is_tidy(name: str) -> None:
    text = emit(load(ALL[name], "net", params=SMALL.get(name, {})), "net").source
    rules = "--select=E,F,W,I,B,UP,PLE"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=100", rules, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_features_are_turned_in_the_weights_and_not_in_the_code() -> None:
    graph = load((EXAMPLES / "lenet.mdl").read_text(), "lenet")
    artefact = emit(graph, "lenet")
    assert "transpose" not in artefact.source
    kinds = [step.kind for step in artefact.weight_map.entries["linear1/kernel"].steps]
    assert kinds == ["reshape", "permute", "reshape", "permute"]


def test_layers_that_say_the_same_are_written_once() -> None:
    text = emit(load(ARCHITECTURES["seq2seq"], "net"), "net").source
    assert text.count("+ position[:") == 1
    assert "MLayer()(position, token(source)" in text
    assert "MLayer()(position, token(target)" in text


def test_a_block_without_names_takes_none() -> None:
    text = emit(load(MODELS["rotary"], "net"), "net").source
    assert "def rotary(x: keras.KerasTensor) ->" in text
    assert "keras.Model(x" not in text


def test_a_block_that_is_applied_twice_is_made_once() -> None:
    text = emit(load(MODELS["siamese"], "net"), "net").source
    assert text.count('tower(x, width, name="tower")') == 1
    assert "tower_(a)" in text and "tower_(b)" in text


DEAD = """
block Twice:
    in  x: f32[B, T, C]
    out y: f32[B, T, C]
    out z: f32[B, T, C]
    param scale: f32[C] = ones
    param place: f32[8, C] = normal(1)
    y = x -> linear(C)
    z = ((x -> linear(C)) * scale + place[:T]) -> layer_norm

model Dead:
    in  x: f32[B, T <= 8, 4]
    out y: f32[B, T, 4]
    state calls: f32[1] = zeros
    param never: f32[3] = ones
    calls := calls + 1
    unused = x -> linear(3) -> relu
    a, b = x -> Twice
    c, d = a -> Twice
    y = c + b
"""


def test_weights_that_no_output_depends_on_are_left_out(tmp_path: Path) -> None:
    """Keras leaves out layers that no output needs; a state is changed all the same."""
    artefact = check(load(DEAD, "net"), tmp_path)
    paths = {path for entry in artefact.weight_map.entries.values() for path in entry.sources}
    own = {f"twice{n}.{part}" for n in (1, 2) for part in ("linear1.weight", "linear1.bias")}
    more = {"linear2.weight", "linear2.bias", "layer_norm.weight", "layer_norm.bias"}
    assert paths == {"calls", *own, *(f"twice1.{part}" for part in (*more, "scale", "place"))}


def test_buffers_that_are_read_after_a_call_are_refused() -> None:
    text = """
model Buffers:
    in  x: f32[B, 4, L]
    out y: f32[B, 4, L]
    out m: f32[4]
    n = batch_norm()
    y = n(x)
    m = n.running_mean * 2
"""
    with pytest.raises(MlcError, match="what n makes of its buffers") as refused:
        emit(load(text), "net")
    assert refused.value.code == "unsupported"


def test_names_that_would_be_one_are_refused() -> None:
    text = """
block Inner:
    in  x: f32[B, 3]
    out y: f32[B, 3]
    c = linear(3)
    y = c(x)

model Net:
    in  x: f32[B, 3]
    out y: f32[B, 3]
    a = Inner()
    a_c = linear(3)
    y = a_c(a(x))
"""
    with pytest.raises(MlcError, match="a_c/kernel") as refused:
        emit(load(text, "net"), "net")
    assert refused.value.code == "unsupported"


# ------------------------------------------------------------------------------ saving, training


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    ["encoder", "cross", "patches", "windows", "siamese", "tied", "read_outside", "grouped_up"],
)
def test_a_saved_model_is_the_same(name: str, tmp_path: Path) -> None:
    graph = load(ALL[name], "net")
    ran = Ran(graph, emit(graph, "net"), weights_of(graph), tmp_path)
    inputs = ran.inputs(draw(graph))
    before = ran(inputs)
    ran.model.save(tmp_path / "net.keras")
    ran.model = keras.models.load_model(tmp_path / "net.keras")
    for name_, y in ran(inputs).items():
        np.testing.assert_array_equal(y, before[name_])


def test_a_tied_weight_moves_as_one(tmp_path: Path) -> None:
    """One step of SGD by the sum of the logits: the same as moving the reference's weights."""
    graph = load(MODELS["tied"], "net")
    weights, feed = weights_of(graph), draw(graph)
    ran = Ran(graph, emit(graph, "net"), weights, tmp_path)
    truth = Truth(graph, weights, feed, training=True)
    inputs = ran.inputs(feed)
    with tf.GradientTape() as tape:
        results = ran(inputs, training=True)
        total = tf.add_n([tf.reduce_sum(results[n] * c) for n, c in truth.cotangents.items()])
    optimizer = keras.optimizers.SGD(0.1)
    variables = ran.model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(total, [v.value for v in variables]), variables,
                                  strict=True))  # fmt: skip
    moved = {path: w - 0.1 * truth.gradients[path] for path, w in weights.items()}
    want = Truth(graph, moved, feed, training=False).outputs
    for name, y in ran(inputs).items():
        near(np.asarray(y), want[name], name, tolerance=2e-6)
