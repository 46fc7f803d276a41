"""OpenVINO source: every op against its `eval`, whole models against the reference, the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from mlc.backends.openvino import emit
from mlc.compiler.op import Op
from tests.backends import single
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CORE = ov.Core()
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
CASES = [case for case in cases() if not case[0].samples[case[1]].get("training")]


def call(model: ov.Model, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """What the model computes in f32, output by output."""
    compiled = CORE.compile_model(model, "CPU", EXACT)
    results = compiled(feeds, share_inputs=False)
    return [np.array(results[output]) for output in compiled.outputs]


def each(pairs: list[tuple[Op, int]]) -> Any:
    ids = [f"{op.name}-{number}" for op, number in pairs]
    return pytest.mark.parametrize(("op", "number"), pairs, ids=ids)


@pytest.mark.parametrize("symbolic", [False, True], ids=["known", "symbolic"])
@each(CASES)
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
