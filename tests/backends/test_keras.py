"""Keras source: every op against its `eval`, with known and with unknown sizes, and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mlc.backends.keras import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Input
from mlc.compiler.op import Op
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends import single
from tests.compiler.ops.sample import cases, drawn
from tests.compiler.ops.test_meaning import close

CASES = cases()
IDS = [f"{op.name}-{number}" for op, number in CASES]
REFUSED = {
    **{(op.name, number): "no inputs" for op, number in CASES if not op.inputs},
}
"""Samples that Keras has no exact words for, and what the error names."""

SMOOTH = [
    (op, n)
    for op, n in CASES
    if op.grad is not None and drawn(op, n) and op.name != "stop_gradient"
    if (op.name, n) not in REFUSED
]


class Applied:
    """A sample as a Keras model with its weights, and what it is fed."""

    def __init__(self, op: Op, number: int, folder: Path, symbolic: bool = False) -> None:
        self.made = single.sample(op, number, symbolic)
        self.artefact = emit(self.made.graph, "single")
        self.model = single.build(self.artefact, self.made.weights, folder)
        self.training = bool(self.made.node.attrs.get("training"))
        self.feed = [tf.constant(array) for array in single.feed(self.artefact, self.made)]

    def __call__(self) -> list[Any]:
        result = self.model(
            self.feed if len(self.feed) > 1 else self.feed[0], training=self.training
        )
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def arrays(self) -> list[np.ndarray]:
        return single.canonical(self.artefact, [np.asarray(y) for y in self()])


@pytest.mark.parametrize("symbolic", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize(("op", "number"), CASES, ids=IDS)
def test_op(op: Op, number: int, symbolic: bool, tmp_path: Path) -> None:
    if (op.name, number) in REFUSED:
        with pytest.raises(MlcError, match=REFUSED[op.name, number]) as refused:
            emit(single.sample(op, number, symbolic).graph, "single")
        assert refused.value.code == "unsupported"
        return
    applied = Applied(op, number, tmp_path, symbolic)
    for got, want in zip(applied.arrays(), single.expected(applied.made), strict=True):
        close(got, want, op, 1e-5, 1e-6)
        assert got.dtype == single.f32(want).dtype


@pytest.mark.parametrize(("op", "number"), SMOOTH, ids=[f"{op.name}-{n}" for op, n in SMOOTH])
def test_gradient(op: Op, number: int, tmp_path: Path) -> None:
    applied = Applied(op, number, tmp_path)
    graph, random = applied.made.graph, np.random.default_rng(0)
    ports = applied.artefact.interface
    taken = [v for v in graph.inputs if v.type.floating]
    if not any(y.type.floating for y in graph.outputs.values()):
        assert not any(v.type.floating for v in taken) or op.name == "cast"
        return
    shapes = [y.shape for y in single.expected(applied.made)]
    drawn_ = {name: random.normal(size=s) for name, s in zip(graph.outputs, shapes, strict=True)}
    cotangents = {n: drawn_[n] for n, y in graph.outputs.items() if y.type.floating}
    with tf.GradientTape() as tape:
        inputs = [x for x, v in zip(applied.feed, graph.inputs, strict=True) if v in taken]
        tape.watch(inputs)
        results = dict(zip((p.name for p in ports.outputs), applied(), strict=True))
        total = tf.add_n(
            [
                tf.reduce_sum(results[p.name] * tf.constant(_stored(cotangents[p.name], p.order)))
                for p in ports.outputs
                if p.name in cotangents
            ]
        )
    found = tape.gradient(total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    got = [_canonical(np.asarray(tf.convert_to_tensor(g)), p.order)
           for g, p in zip(found, (p for p in ports.inputs if p.name in {v.name for v in taken}),
                           strict=True)]  # fmt: skip
    values = {name: Input(f"g_{name}", graph.outputs[name].type) for name in cotangents}
    graph.inputs += list(values.values())
    slopes = gradients(graph, values, taken)
    graph.outputs, graph.updates = {v.name: slopes[v] for v in taken}, {}
    applied.made.arrays.update({f"g_{n}": c for n, c in cotangents.items()})
    wanted = run(graph, applied.made.inputs, applied.made.weights).outputs
    for array, value in zip(got, taken, strict=True):
        want = wanted[value.name]
        scale = max(float(np.abs(want).max(initial=0.0)), 1e-2)
        np.testing.assert_allclose(array / scale, want / scale, rtol=0, atol=3e-5)


def _stored(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(order or range(array.ndim)), np.float32)


def _canonical(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    return array if order is None else array.transpose(np.argsort(order))


def test_a_convolution_has_no_stride_beside_a_dilation(tmp_path: Path) -> None:
    (case,) = (c for c in CASES if c[0].name == "conv" and "dilation" in c[0].samples[c[1]]
               and "stride" in c[0].samples[c[1]])  # fmt: skip
    applied = Applied(*case, tmp_path)
    assert "dilation_rate=(2, 1)" in applied.artefact.source
    assert "[:, ::1, ::2]" in applied.artefact.source
    assert "strides" not in applied.artefact.source


SQUARE = [
    ("f32[B, N]", "x + sum(x, axes = [1], keep = true)", (4, 4)),
    ("f32[B, N]", "sum(x, axes = [1], keep = true) + x", (4, 4)),
    ("f32[B, N]", "x + max(x, axes = [0], keep = true)", (4, 4)),
    ("f32[B, T, N]", "x + max(x, axes = [2], keep = true)", (1, 4, 4)),
    ("f32[B, N, T, N]", "x + mean(x, axes = [1, 3], keep = true)", (1, 4, 4, 4)),
    ("f32[B, N, 1]", "mean(x + reshape(x, [B, 1, N]), axes = [2], keep = true)", (1, 5, 1)),
]
"""Sums in which Keras on TensorFlow would take the right side for a bias of another axis."""


@pytest.mark.parametrize(("kind", "y", "shape"), SQUARE)
def test_a_column_is_no_bias(kind: str, y: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    graph = load(f"model Net:\n    in x: {kind}\n    out y: {kind}\n    y = {y}\n", "net")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    want = run(graph, {"x": x}, {}).outputs["y"]
    got = single.build(emit(graph, "net"), {}, tmp_path)(tf.constant(x))
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=1e-5)


def test_keras_is_the_only_framework_in_a_file() -> None:
    made = single.sample(*next(case for case in CASES if case[0].name == "linear"))
    names = {line for line in emit(made.graph, "single").source.splitlines() if "import" in line}
    assert names == {
        "from pathlib import Path", "import keras", "from safetensors.numpy import load_file",
    }  # fmt: skip
    assert keras.backend.backend() == "tensorflow"
