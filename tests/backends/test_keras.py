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
from mlc.compiler.op import Op
from mlc.compiler.run import run
from mlc.frontends.mdl import load
from tests.backends import single
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CASES = cases()
IDS = [f"{op.name}-{number}" for op, number in CASES]
REFUSED = {
    **{(op.name, number): "no inputs" for op, number in CASES if not op.inputs},
}
"""Samples that Keras has no exact words for, and what the error names."""


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


@pytest.mark.parametrize(("op", "number"), CASES, ids=IDS)
def test_sizes_are_read_from_the_inputs(op: Op, number: int, tmp_path: Path) -> None:
    if (op.name, number) in REFUSED:
        with pytest.raises(MlcError, match=REFUSED[op.name, number]) as refused:
            emit(single.sample(op, number, True).graph, "single")
        assert refused.value.code == "unsupported"
        return
    applied = Applied(op, number, tmp_path, symbolic=True)
    for got, want in zip(applied.arrays(), single.expected(applied.made), strict=True):
        close(got, want, op, 1e-5, 1e-6)
        assert got.dtype == single.f32(want).dtype


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
