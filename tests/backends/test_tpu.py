"""JAX source for TPUs: what it multiplies in bfloat16 and sums in float32, `apply` and `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlc.backends.artefact import import_package
from mlc.backends.jax import emit
from mlc.equivalence.engines.lowering import products
from mlc.frontends.mdl import load
from tests.backends.control import CONTROL

X, IMAGE = "f32[B, 6, 8]", "f32[B, 4, 6, 6]"
CASES = {
    "linear": (X, "f32[B, 6, 5]", "x -> linear(5)", 1),
    "matmul": (X, "f32[B, 6, 6]", "x @ transpose(x)", 1),
    "einsum": (X, "f32[B, 8, 8]", 'einsum(x, x, spec = "bij,bik->bjk")', 1),
    "attention": (X, "like x", "x -> attention(2)", 6),
    "scaled": (X, "like x", "x -> attention(2, scale = 0.5, causal = true)", 6),
    "sdpa": (X, "like x", "sdpa(x, x, x, causal = true)", 2),
    "conv": (IMAGE, "f32[B, 8, 6, 6]", "x -> conv(8, 3, pad = 1, groups = 2)", 1),
    "conv_transpose": (IMAGE, "f32[B, 8, 12, 12]", "x -> conv_transpose(8, 2, stride = 2)", 1),
    "resize": (IMAGE, "f32[B, 4, 12, 12]", 'x -> resize(scale = 2, mode = "linear")', 2),
    "gru": (X, "f32[B, 6, 5]", "x -> gru(5)", 2),
    "bilinear": (X, "f32[B, 6, 3]", "bilinear(x, x, 3)", 1),
}
"""Input, output, body, and how many products a call has at least."""

SIZES = {X: (3, 6, 8), IMAGE: (3, 6, 6, 4)}


def model(text: str, folder: Path) -> tuple[Any, Any]:
    """The emitted file as a module, and the model that it builds."""
    package = import_package(emit(load(text), "net", tpu=True).save(folder))
    return sys.modules[f"{package.__name__}.net"], package.build()


def source(given: str, out: str, body: str) -> str:
    results = "y, last" if "gru" in body else "y"
    return f"model M():\n    in  x: {given}\n    out y: {out}\n    {results} = {body}\n"


def lowered(net: Any, x: Any) -> str:
    """The gradients of a loss by all parameters and the input, as a program for TPUs."""
    graph, parameters, rest = nnx.split(net, nnx.Param, ...)

    def loss(parameters: Any, x: Any) -> Any:
        return jnp.sin(nnx.merge(graph, parameters, rest, copy=True)(x)).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    exported = jax.export.export(step, platforms=["tpu"])(parameters, x)
    return str(exported.mlir_module())


@pytest.mark.parametrize("name", CASES)
def test_products_are_in_bfloat16_forward_and_backward(name: str, tmp_path: Path) -> None:
    given, out, body, count = CASES[name]
    file, net = model(source(given, out, body), tmp_path)
    x = jax.ShapeDtypeStruct(SIZES[given], jnp.float32)
    forward = products(file.export(net, x).mlir_module())
    backward = products(lowered(net, x))
    assert sum(forward.values()) >= count
    assert sum(backward.values()) >= 2 * count
    assert {(a, b) for _, a, b in [*forward, *backward]} == {("bf16", "bf16")}


def test_what_a_scan_carries_stays_in_float32(tmp_path: Path) -> None:
    file, net = model(CONTROL["folded"], tmp_path)
    x = jax.ShapeDtypeStruct((3, 5, 4), jnp.float32)
    found = products(file.export(net, x).mlir_module()) | products(lowered(net, x))
    assert {(a, b) for _, a, b in found} == {("bf16", "bf16")}


def test_sums_are_in_float32(tmp_path: Path) -> None:
    body = "softmax(x, axis = 2) -> mean(axes = [1]) -> layer_norm"
    file, net = model(source(X, "f32[B, 8]", body), tmp_path)
    text = file.export(net, jax.ShapeDtypeStruct(SIZES[X], jnp.float32)).mlir_module()
    assert "stablehlo.reduce" in text
    assert "bf16" not in text


NORM = "x -> conv(8, 3, pad = 1) -> batch_norm -> relu"


def test_a_call_in_one_program_updates_the_model_in_place(tmp_path: Path) -> None:
    file, net = model(source(IMAGE, "f32[B, 8, 6, 6]", NORM), tmp_path)
    x = jnp.asarray(np.random.default_rng(0).normal(size=SIZES[IMAGE]), jnp.float32)
    twin = model(source(IMAGE, "f32[B, 8, 6, 6]", NORM), tmp_path)[1]
    before = net.batch_norm.mean[...]
    kernel = net.conv.kernel[...]
    got, wanted = file.apply(net, x), nnx.jit(lambda net, x: net(x))(twin, x)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(net.batch_norm.mean[...], twin.batch_norm.mean[...])
    assert net.batch_norm.mean[...].dtype == net.conv.kernel[...].dtype == jnp.float32
    assert before.is_deleted()
    assert kernel.is_deleted()


def test_what_is_exported_can_be_stored_and_says_that_it_is_for_tpus(tmp_path: Path) -> None:
    file, net = model(source(IMAGE, "f32[B, 8, 6, 6]", NORM), tmp_path)
    exported = file.export(net, jax.ShapeDtypeStruct(SIZES[IMAGE], jnp.float32))
    again = jax.export.deserialize(exported.serialize())
    assert again.platforms == ("tpu",)
    leaves = jax.tree.leaves(nnx.state(net))
    assert len(again.in_avals) == len(leaves) + 1
    assert again.in_avals[-1].shape == SIZES[IMAGE]
    assert exported.mlir_module().count("tf.aliasing_output") == len(leaves)  # all are donated


def test_names_of_a_model_do_not_meet_those_of_the_functions(tmp_path: Path) -> None:
    text = (
        "block apply():\n    in model: f32[B, 8]\n    out y: like model\n"
        "    y = model -> linear(8)\n\n"
        "model Export():\n    in model: f32[B, 8]\n    out y: f32[B, 8]\n    y = model -> apply\n"
    )
    file, net = model(text, tmp_path)
    assert file.apply(net, jnp.ones((2, 8))).shape == (2, 8)
