"""Every example at its real size as a program for TPUs: a call, and the gradients of a loss.

Nothing is computed, so that no array of that size is ever made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import mlc
from mlc.backends.artefact import import_package
from mlc.backends.jax import emit
from mlc.compiler.dim import evaluate
from mlc.compiler.ops.constant import numpy_dtype
from mlc.equivalence.engines.lowering import products
from mlc.equivalence.sizes import complete

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.mdl"))
BFLOAT16 = {("bf16", "bf16")}


@pytest.mark.proof
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_it_is_lowered_in_bfloat16(path: Path, tmp_path: Path) -> None:
    graph = mlc.load(path)
    artefact = emit(graph, "net", tpu=True)
    package = import_package(artefact.save(tmp_path))
    net = nnx.eval_shape(lambda: package.build())
    sizes = complete(graph, {})
    inputs = [
        jax.ShapeDtypeStruct(
            tuple(evaluate(given.type.shape[axis], sizes) for axis in order),
            numpy_dtype(given.type.dtype),
        )
        for given, port in zip(graph.inputs, artefact.interface.inputs, strict=True)
        for order in [port.order or range(given.type.rank)]
    ]
    forward = sys.modules[f"{package.__name__}.net"].export(net, *inputs)
    assert {(a, b) for _, a, b in products(forward.mlir_module())} == BFLOAT16
    assert {(a, b) for _, a, b in products(_gradients(net, inputs))} == BFLOAT16


def _gradients(net: Any, inputs: Any) -> str:
    graph, parameters, rest = nnx.split(net, nnx.Param, ...)

    def loss(parameters: Any, rest: Any, inputs: Any) -> Any:
        made = nnx.merge(graph, parameters, rest, copy=True)(*inputs)
        several = made if isinstance(made, tuple) else (made,)
        return sum(jnp.sin(y).sum() for y in several if jnp.issubdtype(y.dtype, jnp.floating))

    step = jax.export.export(jax.jit(jax.grad(loss)), platforms=["tpu"])
    return str(step(parameters, rest, inputs).mlir_module())
