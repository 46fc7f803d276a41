"""The JAX engine: Flax NNX modules, or functions, compiled by XLA."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .. import package
from ..arguments import arguments, arrays
from ..dropout import observe
from ..lowering import products
from ..noise import recording, replaced
from ..pool import THREADS
from ..protocol import Draw, Drop, Job, Products, Result, Settings
from . import functional
from .noise import DRAWING, given

_models: dict[tuple[str, str], Any] = {}


def settings() -> Settings:
    """What it runs on; all of it is pinned by the process's environment."""
    versions = {"jax": jax.__version__, "flax": flax.__version__}
    return Settings(versions, jax.default_backend(), "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`."""
    loaded = package.load(job.folder)
    if functional.written_so(loaded):
        return functional.run(job, loaded)
    model = _model(job)
    _ = model.train() if job.training else model.eval()
    if job.watch:
        draws: list[Draw] = []
        with replaced(jax.random, DRAWING, recording(draws)):
            drops = _watch(model, job)
        return Result({}, drops=tuple(drops), draws=tuple(draws))
    if job.trace:
        with _no_dropout(model), given(job, [x for _, x in job.noise]):
            return Result({}, trace=_trace(model, job))
    if job.lower:
        with _no_dropout(model):
            return Result({}, products=_lowered(model, job))
    with _no_dropout(model):
        graph, parameters, *(rest,) = nnx.split(model, nnx.Param, ...)
        floats = {name: jnp.asarray(x) for name, x in job.feeds.items() if x.dtype.kind == "f"}
        others = {name: jnp.asarray(x) for name, x in job.feeds.items() if name not in floats}
        call, noise = partial(_call, graph, job), [jnp.asarray(x) for _, x in job.noise]
        if not job.cotangents:
            outputs, state = jax.jit(call)(parameters, floats, rest, others, noise)
            return Result(arrays(outputs), updates=_flat(state))
        step = jax.jit(_differentiated(call))
        gradients, (outputs, state) = step(parameters, floats, rest, others, noise, job.cotangents)
    by_parameter, by_input = gradients
    return Result(arrays(outputs), arrays(by_input), _flat(by_parameter), _flat(state))


def _lowered(model: Any, job: Job) -> dict[str, Products]:
    """What the file's own `export` of a call multiplies on a TPU, and what gradients of it do."""
    form: Any = jax.ShapeDtypeStruct
    feeds = {name: form(x.shape, x.dtype) for name, x in job.feeds.items()}
    export = sys.modules[package.load(job.folder).build.__module__].export
    forward = export(model, *arguments(job.inputs, feeds))
    graph, parameters, *(rest,) = nnx.split(model, nnx.Param, ...)
    floats = {name: x for name, x in feeds.items() if x.dtype.kind == "f"}
    others = {name: x for name, x in feeds.items() if name not in floats}
    step = jax.jit(_differentiated(partial(_call, graph, job)))
    noise = [form(x.shape, x.dtype) for _, x in job.noise]
    programs = {"forward": forward}
    if job.cotangents:
        taken = (parameters, floats, rest, others, noise, job.cotangents)
        programs["gradient"] = jax.export.export(step, platforms=["tpu"])(*taken)
    return {name: products(program.mlir_module()) for name, program in programs.items()}


def _model(job: Job) -> Any:
    key = (package.digest(job.folder), job.weights)
    if key not in _models:
        _models.clear()
        _models[key] = package.load(job.folder).build(weights=job.weights)
    return _models[key]


def _call(
    graph: Any, job: Job, parameters: Any, floats: Any, rest: Any, others: Any, noise: Any
) -> Any:
    """The outputs by name, and the state that is no parameter after the call."""
    model = nnx.merge(graph, parameters, rest, copy=True)
    with given(job, noise):
        result = model(*arguments(job.inputs, {**floats, **others}))
    if not isinstance(result, dict):
        several = result if isinstance(result, (tuple, list)) else (result,)
        result = dict(zip(job.outputs, several, strict=True))
    return result, nnx.state(model, nnx.BatchStat)


def _differentiated(call: Any) -> Any:
    """`call` with a last argument, cotangents; returns gradients, and what `call` returns."""

    def loss(
        parameters: Any, floats: Any, rest: Any, others: Any, noise: Any, cotangents: Any
    ) -> Any:
        outputs, state = call(parameters, floats, rest, others, noise)
        total = sum(jnp.sum(outputs[name] * c) for name, c in cotangents.items())
        return total, (outputs, state)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)


def _flat(state: Any) -> dict[str, Any]:
    """A state's arrays by dotted path."""
    return {
        ".".join(map(str, path)): np.array(x[...] if isinstance(x, nnx.Variable) else x)
        for path, x in nnx.to_flat_state(state)
    }


_DROPPING = (nnx.Dropout, nnx.MultiHeadAttention)
_RATES = ("rate", "dropout_rate")


@contextmanager
def _no_dropout(model: Any) -> Iterator[None]:
    """Within this context every rate of dropout is zero."""
    kept = [
        (module, name, rate)
        for _, module in nnx.iter_modules(model)
        if isinstance(module, _DROPPING)
        for name in _RATES
        if isinstance(rate := getattr(module, name, None), float)
    ]
    for module, name, _ in kept:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in kept:
            setattr(module, name, rate)


def _watch(model: Any, job: Job) -> list[Drop]:
    """What the dropout modules do in two calls, not compiled.

    A turn of a scan has modules of its own, so their names are told to them.
    """
    drops: list[Drop] = []
    layer: Any = nnx.Dropout
    watched: dict[Any, Any] = {p: m for p, m in nnx.iter_modules(model) if isinstance(m, layer)}
    for path, module in watched.items():
        module.watched = ".".join(map(str, path))
    plain = layer.__call__

    def call(module: Any, inputs: Any, **options: Any) -> Any:
        y = plain(module, inputs, **options)
        shared = module.broadcast_dims
        drops.append(observe(module.watched, module.rate, np.array(inputs), np.array(y), shared))
        return y

    layer.__call__ = call
    keys = jax.tree.leaves(nnx.state(model, nnx.RngKey))
    scans = any(key.shape for key in keys)
    try:
        with jax.disable_jit() if scans else nullcontext():
            for _ in range(2):
                model(*arguments(job.inputs, {k: jnp.asarray(x) for k, x in job.feeds.items()}))
    finally:
        layer.__call__ = plain
        for module in watched.values():
            del module.watched
    return drops


def _trace(model: Any, job: Job) -> dict[str, list[Any]]:
    """What each call of the job's modules gives, not compiled; the model's state stays."""
    model = nnx.clone(model)
    modules = dict(nnx.iter_modules(model))
    names = {id(module): ".".join(map(str, path)) for path, module in modules.items()}
    found: dict[str, list[Any]] = {}
    kinds: set[Any] = {type(module) for module in modules.values() if callable(module)}
    plain = {kind: kind.__call__ for kind in kinds}

    def watched(kind: Any) -> Any:
        def call(module: Any, *args: Any, **options: Any) -> Any:
            y = plain[kind](module, *args, **options)
            name = names.get(id(module), "")
            if name in job.trace:
                found.setdefault(name, []).append(np.array(y[0] if isinstance(y, tuple) else y))
            return y

        return call

    try:
        for kind in kinds:
            kind.__call__ = watched(kind)
        model(*arguments(job.inputs, {k: jnp.asarray(x) for k, x in job.feeds.items()}))
    finally:
        for kind, call in plain.items():
            kind.__call__ = call
    return found
