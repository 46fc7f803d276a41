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
from tests.backends.models import MODELS
from tests.backends.settings import EXAMPLES, OFFERED, SMALL
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of

HANDWRITTEN = Path(__file__).parents[1] / "handwritten" / "keras"

MORE: dict[str, str] = {
    "generator": """
block Up(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> conv_transpose(width, 4, stride = 2, pad = 1) -> batch_norm -> silu

model Generator(z = 6):
    in  noise: f32[B, z]
    out image: f32[B, 3, 16, 16]
    h = noise -> linear(8 * 4 * 4) -> tanh -> reshape(B, 8, 4, 4)
    for width in [8, 4]:
        h = h -> Up(width)
    image = h -> conv(3, 3, pad = 1) -> tanh
""",
    "patches": """
block Layer(heads):
    in  x: f32[B, T, D]
    out y: like x
    h = x + (x -> layer_norm -> attention(heads))
    y = h + (h -> layer_norm -> linear(4 * D) -> gelu -> linear(D))

model Patches(patch = 4, D = 12, layers = 2, heads = 3, classes = 5):
    in  image: f32[B, 3, H = 16, W = 16]
    out logits: f32[B, classes]
    param cls: f32[1, 1, D] = normal(0.02)
    param position: f32[1, 17, D] = normal(0.02)
    h = image -> conv(D, patch, stride = patch) -> flatten(start = 2) -> transpose(axes = [0, 2, 1])
    h = concat(expand(cls, [B, 1, D]), h, axis = 1) + position
    repeat layers:
        h = h -> Layer(heads)
    logits = (h -> layer_norm)[:, 0] -> linear(classes)
""",
    "scaled": """
block Scaled:
    in  x: f32[B, C, H, W]
    out y: like x
    param gamma: f32[C, 1, 1] = ones
    h = x -> conv(C, 7, pad = 3, groups = C) -> transpose(axes = [0, 2, 3, 1]) -> layer_norm
          -> linear(4 * C) -> gelu -> linear(C) -> transpose(axes = [0, 3, 1, 2])
    y = x + h * gamma

model Net(classes = 4):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(8, 4, stride = 4)
    repeat 2:
        h = h -> Scaled
    logits = h -> mean(H, W) -> linear(classes)
""",
    "depthwise": """
model Depthwise(classes = 4):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(8, 3, stride = 2, pad = 1)
    for stride in [1, 2]:
        h = h -> conv(8, 3, stride = stride, pad = 1, groups = 8) -> silu -> conv(8, 1)
              -> batch_norm
    logits = h -> conv(16, 3, groups = 8, pad = 1) -> mean(H, W) -> linear(classes)
""",
    "windows": """
block Window(size):
    in  x: f32[B, H, W, C]
    out y: like x
    require H % size == 0 and W % size == 0, "the sides are multiples of {size}"
    param table: f32[9, 1, 1] = normal(0.02)
    h = x -> reshape(B, H / size, size, W / size, size, C) -> transpose(axes = [0, 1, 3, 2, 4, 5])
          -> reshape(B * (H / size) * (W / size), size * size, C)
    q, k, v = h -> linear(3 * C) -> split(3, axis = -1)
    h = softmax(q @ transpose(k) * 0.3 + sum(table)) @ v
    y = h -> reshape(B, H / size, W / size, size, size, C) -> transpose(axes = [0, 1, 3, 2, 4, 5])
          -> reshape(B, H, W, C)

model Windows:
    in  x: f32[B, H, W, C = 6]
    out y: f32[B, H, W, C]
    h = x -> Window(2)
    y = h -> Window(2)
""",
    "repeated": """
block Layer:
    in  x: f32[B, T, D]
    out y: like x
    y = x + (x -> layer_norm -> linear(D) -> gelu)

model Repeated(layers = 3):
    in  x: f32[B, T, D = 5]
    out y: f32[B, T, D]
    shared = Layer()
    norm = layer_norm()
    h = x
    repeat layers:
        h = h -> shared -> norm
    y = h
""",
    "average": """
model Average:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    state centre: f32[4] = zeros
    state calls: i32[1] = zeros
    h = x -> linear(4)
    centre := 0.9 * centre + 0.1 * mean(h, axes = [0])
    calls := calls + 1
    y = (h - centre) -> linear(4)
""",
    "places": """
model Places(D = 6):
    in  ids: i32[B, T <= 16]
    out y: f32[B, T, D]
    token = embedding(11, D)
    place = embedding(16, D)
    y = (token(ids) + place(iota(T))) -> linear(D)
""",
    "masked": """
model Masked:
    in  x: f32[B, T, 4]
    in? keep: bool[B, T] = true
    in? scale: f32[B] = 2.0
    out y: f32[B, T, 4]
    h = x -> linear(4)
    y = where(unsqueeze(keep, axes = [2]), h, 0.0) * unsqueeze(scale, axes = [1, 2])
""",
    "picture": """
model Picture(classes = 3):
    in  image: f32[B, 3, H, W]
    in  scale: f32[B, 3, 1, 1]
    out mask: f32[B, classes, H, W]
    out rows: f32[B, H, W]
    param bias: f32[classes, 1, 1] = normal(0.1)
    h = image * scale -> conv(classes, 3, pad = 1)
    mask = h + bias -> softmax(axis = 1)
    rows = mask -> max(axes = [1])
""",
    "read_outside": """
block Step(width):
    in  x: f32[B, C, L]
    out y: f32[B, C, L]
    enc = conv(width, 1)
    h = x -> enc -> relu
    k = transpose(enc.weight, axes = [1, 0, 2])
    y = conv(h, weight = k, features = C, kernel = 1, bias = false)

model ReadOutside(D = 3, width = 6):
    in  x: f32[B, 4, L]
    in  ids: i32[B, T]
    out y: f32[B, 4, L]
    out z: f32[B, T, 11]
    out w: f32[11, D]
    out n: f32[]
    token = embedding(11, D)
    h = x
    repeat 2:
        h = h -> Step(width)
    y = h
    a = linear(D)
    b = reshape(sum(x, axes = [2]), [B, 1, 4]) -> linear(D)
    z = (b -> a -> a) @ transpose(token.weight) + token(ids)[:, :, :1]
    w = token.weight @ a.weight
    n = sum(a.bias * a.bias)
""",
    "same_names": """
block Log(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    param max: f32[width] = normal(1)
    y = (x -> linear(width) as softmax -> dropout(0.1)) * max

model Same(layers = 3):
    in  mean: f32[B, 4]
    in  image: f32[B, 4]
    out y: f32[B, 4]
    out z: f32[]
    param exp: f32[4] = ones
    h = image -> linear(5) as image -> linear(4) as mean_
    log = Log(4)
    h = log_softmax(log(h) + log(h)) * exp(exp)
    repeat layers as tanh:
        h = h -> linear(4) -> tanh
    y = h - mean
    z = mean(h) + max(mean(y, axes = [1]))
""",
    "split": """
block Split(heads):
    in  x: f32[B, T, D]
    out y: like x
    param scale: f32[ceil(D / 2)] = normal(1)
    h = reshape(x, [B, T, heads, -1]) / sqrt(D / heads)
    h = reshape(h, [B, T, -1]) -> linear(ceil(D / 2))
    h = h * scale * ceil(D / 3) + sqrt(D)
    y = h -> linear(D)

model Sides(D = 8, heads = 4, layers = 2):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    h = x
    repeat layers:
        h = h -> linear(16) -> linear(D) -> Split(max(heads / 2, 1))
    y = h / (sqrt(heads) + ceil(D / 3))
""",
    "grouped_up": """
block Up(width, groups):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> conv_transpose(width, 4, stride = 2, pad = 1, groups = groups) -> relu

model GroupedUp(groups = 2):
    in  x: f32[B, 4, H, W]
    out y: f32[B, 6, 4 * H - 4, 12 * W - 2]
    h = x
    for width in [8, 12]:
        h = h -> Up(width, groups)
    y = h -> conv_transpose(6, (3, 2), dilation = (2, 1), stride = (1, 3), pad = ((5, 3), (2, 1)),
                            output_pad = (0, 2))
""",
}  # fmt: skip
"""Further models: what Keras writes in its own way."""

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


def test_a_weight_that_a_loop_reads_outside_its_layers_is_refused() -> None:
    text = """
model Net:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    h = x
    for width in [4, 5]:
        enc = linear(width)
        h = relu(enc(h)) @ enc.weight
    y = h
"""
    with pytest.raises(MlcError, match=r"enc.weight is read outside its layer") as refused:
        emit(load(text, "net"), "net")
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
