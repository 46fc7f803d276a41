"""ONNX files: every op in ONNX Runtime against the reference, names, sizes, states, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mlc.backends.onnx import emit
from mlc.compiler.graph import Graph
from mlc.compiler.op import Op
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from tests.compiler.ops.sample import cases, make

CASES = cases()


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


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 2e-6) -> None:
    """Equal to f32's rounding, relative to the largest element."""
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    finite = np.abs(want[np.isfinite(want)])
    scale = finite.max() if finite.size else 1.0
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= tolerance * scale
    same = near | (got == want) | (np.isnan(got) & np.isnan(want))
    assert same.all(), f"{got[~same][:5]} is not {want[~same][:5]} (of {scale})"


@pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{i}" for op, i in CASES])
def test_onnx_runtime_computes_what_the_op_means(op: Op, number: int) -> None:
    sample = make(op, number)
    resolve(sample.graph, training=False)
    want = run(sample.graph, sample.inputs, sample.weights).outputs
    got = execute(sample.graph, sample.inputs, sample.weights)
    for name, array in want.items():
        close(got[name], array)
