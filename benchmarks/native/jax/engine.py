"""Calls of Flax models, compiled, and how many equations their jaxprs have."""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

KEPT = (nnx.Param, nnx.BatchStat)


def build(module: Any, config: dict[str, int], weights: dict[str, np.ndarray]) -> nnx.Module:
    del weights
    return module.build(**config)


def give(model: nnx.Module, other: nnx.Module) -> None:
    """Copies the weights of one model to another, which has the same in the same order."""
    ours = [leaf for _, leaf in nnx.to_flat_state(nnx.state(model, KEPT))]
    theirs = nnx.to_flat_state(nnx.state(other, KEPT))
    assert [v.shape for v in ours] == [v.shape for _, v in theirs]
    found = {path: v.replace(mine[...]) for (path, v), mine in zip(theirs, ours, strict=True)}
    nnx.update(other, nnx.from_flat_state(found))


def _functions(model: nnx.Module, given: np.ndarray) -> dict[str, tuple[Callable[..., Any], tuple]]:
    x = jax.numpy.asarray(given)

    def split(training: bool) -> tuple[Any, Any, Any]:
        _ = model.train() if training else model.eval()
        return nnx.split(model, nnx.Param, ...)

    inference, weights, rest = split(False)
    training, *_ = split(True)

    def forward(weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(inference, weights, rest, copy=True)(x)

    def loss(weights: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        copy = nnx.merge(training, weights, rest, copy=True)
        return (copy(x) ** 2).mean(), nnx.state(copy, nnx.BatchStat)

    given = (weights, rest, x)
    return {"forward": (forward, given), "gradient": (jax.grad(loss, has_aux=True), given)}


def calls(model: nnx.Module, given: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The forward pass in inference mode, and gradients of the weights in training mode."""

    def compiled(function: Callable[..., Any], given: tuple) -> Callable[[], Any]:
        run = jax.jit(function).lower(*given).compile()
        return lambda: jax.block_until_ready(run(*given))

    return {name: compiled(*each) for name, each in _functions(model, given).items()}


def output(model: nnx.Module, given: np.ndarray) -> np.ndarray:
    forward, arguments = _functions(model, given)["forward"]
    return np.asarray(jax.jit(forward)(*arguments))


def operations(model: nnx.Module, given: np.ndarray) -> dict[str, int]:
    return {
        name: _equations(jax.make_jaxpr(function)(*arguments).jaxpr)
        for name, (function, arguments) in _functions(model, given).items()
    }


def _equations(jaxpr: Any) -> int:
    """Equations, those of functions that are called in place of the calls."""
    count = 0
    for equation in jaxpr.eqns:
        inner = [*jax.core.jaxprs_in_params(equation.params)]
        count += sum(map(_equations, inner)) if inner else 1
    return count
