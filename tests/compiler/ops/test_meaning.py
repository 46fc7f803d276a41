"""Every op's eval, body, types and gradient, on its own samples, against torch in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mlc.compiler.dim import evaluate
from mlc.compiler.graph import Input, Value
from mlc.compiler.op import Op
from mlc.compiler.ops import OPS
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from tests.compiler.ops.oracle import ORACLE
from tests.compiler.ops.sample import Sample, cases, drawn, make

CASES = cases()
BODIES = [case for case in CASES if case[0].body is not None]
DIFFERENTIABLE = [case for case in CASES if case[0].grad is not None]


def _follows(op: Op, number: int) -> bool:
    """Whether the gradient is meant to be the slope: not of what takes none by its definition."""
    held = op.name == "embedding" and op.samples[number].get("padding") is not None
    return not held and op.name != "stop_gradient"


SMOOTH = [case for case in DIFFERENTIABLE if drawn(*case) and _follows(*case)]


def _each(pairs: Sequence[tuple[Op, int]]) -> Any:
    ids = [f"{op.name}-{number}" for op, number in pairs]
    return pytest.mark.parametrize(("op", "number"), pairs, ids=ids)


def close(got: np.ndarray, want: np.ndarray, op: Op, tolerance: float, tiny: float = 0.0) -> None:
    """Equal to `tolerance`, relative to each element; to the largest one where terms cancel."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    scale = np.abs(want)
    if op.rounding not in ("exact", "elementwise") and scale.size:
        finite = scale[np.isfinite(scale)]
        scale = np.maximum(scale, finite.max() if finite.size else 0.0)
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= tolerance * scale + tiny
    wrong = ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
    assert not wrong.any(), f"{got[wrong][:5]} is not {want[wrong][:5]}"


def oracle(sample: Sample, differentiate: bool = False) -> tuple[list[Any], list[Any]]:
    """The oracle's outputs, and the tensors that it took."""
    tensors = [None if array is None else torch.from_numpy(array.copy()) for array in sample.slots]
    for tensor in tensors:
        if differentiate and tensor is not None and tensor.is_floating_point():
            tensor.requires_grad_()
    result = ORACLE[sample.op.name](*tensors, **sample.node.attrs)
    return list(result) if isinstance(result, tuple) else [result], tensors


def outputs(sample: Sample, dtype: str = "f64") -> list[np.ndarray]:
    return list(run(sample.graph, sample.inputs, sample.weights, dtype=dtype).outputs.values())


def test_every_op_has_samples_and_an_oracle() -> None:
    assert [name for name, op in OPS.items() if not op.samples] == []
    assert sorted(ORACLE) == sorted(OPS)


@_each(CASES)
def test_eval_is_what_torch_computes(op: Op, number: int) -> None:
    sample = make(op, number)
    for got, want in zip(outputs(sample), oracle(sample)[0], strict=True):
        close(got, want.numpy(), op, 1e-12)


@_each(CASES)
def test_eval_keeps_to_the_type(op: Op, number: int) -> None:
    sample = make(op, number)
    arrays = [
        None if v is None else sample.arrays[v.name].astype(numpy_dtype(v.type.dtype))
        for v in sample.node.inputs
    ]
    with np.errstate(all="ignore"):
        results = op.eval(*arrays, **sample.node.attrs)
    results = results if isinstance(results, tuple) else (results,)
    for output, result in zip(sample.node.outputs, results, strict=True):
        assert np.shape(result) == output.type.shape
        assert np.asarray(result).dtype == numpy_dtype(output.type.dtype)


@_each(BODIES)
def test_body_is_eval(op: Op, number: int) -> None:
    sample = make(op, number)
    want = outputs(sample)
    types = [output.type for output in sample.graph.outputs.values()]
    assert expand(sample.graph, ()) > 0
    assert [output.type.shape for output in sample.graph.outputs.values()] == [
        t.shape for t in types
    ]
    assert [o.type.dtype for o in sample.graph.outputs.values()] == [t.dtype for t in types]
    for a, b, w in zip(outputs(sample), outputs(sample, "f32"), want, strict=True):
        close(a, w, op, 1e-12)
        close(b, w, op, 1e-5, tiny=1e-37)


def _reverse(sample: Sample) -> tuple[list[Value], dict[str, np.ndarray]]:
    """Turns the sample's graph into its gradient; gives the values that it is for, and a feed."""
    graph = sample.graph
    torch_outputs, _ = oracle(sample, differentiate=True)
    cotangents: dict[str, Value] = {}
    feed = dict(sample.inputs)
    for (name, output), wanted in zip(graph.outputs.items(), torch_outputs, strict=True):
        if wanted.requires_grad:
            cotangents[name] = Input(f"g_{name}", output.type)
            graph.inputs.append(cotangents[name])
            drawn = sample.random.normal(size=_sizes(output))
            feed[f"g_{name}"] = np.asarray(drawn, np.float32).astype(np.float64)
    wrt = [value for value in sample.node.values if value.type.floating]
    found = gradients(graph, cotangents, wrt)
    graph.outputs = {f"d_{value.name}": found[value] for value in wrt}
    return wrt, feed


@_each(DIFFERENTIABLE)
def test_gradient_is_what_torch_computes(op: Op, number: int) -> None:
    against_torch(make(op, number))


def against_torch(sample: Sample) -> None:
    """Holds the gradients of a sample to what torch computes in float64."""
    wrt, feed = _reverse(sample)
    torch_outputs, tensors = oracle(sample, differentiate=True)
    taken = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    pairs = [(y, feed.get(f"g_y{i}")) for i, y in enumerate(torch_outputs) if y.requires_grad]
    want = [None] * len(taken)
    if pairs:
        ys, gs = zip(*pairs, strict=True)
        cotangents = [torch.from_numpy(np.asarray(g)) for g in gs]
        want = torch.autograd.grad(ys, taken, cotangents, allow_unused=True)
    double = run(sample.graph, feed, sample.weights).outputs
    single = run(sample.graph, feed, sample.weights, dtype="f32").outputs
    for value, tensor, gradient in zip(wrt, taken, want, strict=True):
        wanted = np.zeros(tensor.shape) if gradient is None else gradient.numpy()
        vanishes = value.name in VANISHING
        close(double[f"d_{value.name}"], wanted, SCALED, 1e-10, tiny=1e-13 if vanishes else 0.0)
        close(single[f"d_{value.name}"], wanted, SCALED, 1e-4, tiny=1e-5 if vanishes else 1e-37)


VANISHING = ("key.bias",)
"""Weights whose gradient is 0 but for rounding: a key's bias moves all scores of a row alike."""

SCALED = Op("scaled", (), infer=lambda: (), eval=lambda: (), rounding="body")
"""Stands for an op whose results are compared relative to their largest element."""


@_each(SMOOTH)
def test_gradient_is_the_slope(op: Op, number: int) -> None:
    against_differences(make(op, number), make(op, number))


def against_differences(sample: Sample, before: Sample) -> None:
    """Holds the gradients of `before` to a central difference of `sample`, which is its twin."""
    forward = sample.graph
    _, feed = _reverse(before)
    gradient = run(before.graph, feed, before.weights).outputs
    steps = {
        name: sample.random.normal(size=array.shape)
        for name, array in sample.arrays.items()
        if f"d_{name}" in gradient
    }

    def objective(h: float) -> float:
        moved = {n: a + h * steps[n] if n in steps else a for n, a in sample.arrays.items()}
        inputs = {value.name: moved[value.name] for value in forward.inputs}
        found = run(forward, inputs, {path: moved[path] for path in forward.weights}).outputs
        return sum(float(np.sum(y * feed[f"g_{n}"])) for n, y in found.items() if f"g_{n}" in feed)

    terms = [gradient[f"d_{name}"] * step for name, step in steps.items()]
    size = sum(float(np.sum(np.abs(term))) for term in terms) + abs(objective(0.0))
    wanted, errors = sum(float(np.sum(term)) for term in terms), []
    for h in (1e-5, 1e-6):  # a longer step may cross a kink
        errors.append(abs((objective(h) - objective(-h)) / (2 * h) - wanted))
        if errors[-1] <= 1e-7 * (1.0 + size):
            return
    raise AssertionError(f"{errors} from {wanted}, of terms {size}")


@_each(CASES)
def test_sizes_may_be_unknown(op: Op, number: int) -> None:
    known, sample = make(op, number), make(op, number, symbolic=True)
    assert [_sizes(output) for output in sample.node.outputs] == [
        output.type.shape for output in known.node.outputs
    ]
    want = outputs(known)
    expand(sample.graph, ())
    for got, wanted in zip(outputs(sample), want, strict=True):
        close(got, wanted, op, 1e-12)


def _sizes(value: Value) -> tuple[int, ...]:
    symbols_of = {f"S{size}": size for size in range(100)}
    return tuple(evaluate(size, symbols_of) for size in value.type.shape)


@_each(DIFFERENTIABLE)
def test_gradient_does_not_need_the_sizes(op: Op, number: int) -> None:
    known, sample = make(op, number), make(op, number, symbolic=True)
    wrt, feed = _reverse(known)
    _reverse(sample)
    want = run(known.graph, feed, known.weights).outputs
    got = run(sample.graph, feed, sample.weights).outputs
    for value in wrt:
        close(got[f"d_{value.name}"], want[f"d_{value.name}"], SCALED, 1e-12)
