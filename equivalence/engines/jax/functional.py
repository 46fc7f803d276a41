"""JAX files in the functional style: `apply` of parameters, and of a state if there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import package
from ..arguments import arguments, arrays
from ..dropout import observe
from ..lowering import products
from ..noise import recording, replaced
from ..protocol import Draw, Drop, Job, Products, Result
from .noise import DRAWING, given

_built: dict[tuple[str, str], Any] = {}


def written_so(loaded: ModuleType) -> bool:
    """Whether an artefact's package has functions where others have a model."""
    return inspect.isfunction(getattr(loaded, "init", None))


def run(job: Job, loaded: ModuleType) -> Result:
    """Runs one job; without a key, as `apply` is called, nothing is dropped."""
    params, state = _trees(job, loaded)
    call = _call(loaded.apply, job, state is not None)
    if job.watch:
        draws: list[Draw] = []
        with replaced(jax.random, DRAWING, recording(draws)):
            drops = _watch(loaded, call, params, state, job)
        return Result({}, drops=tuple(drops), draws=tuple(draws))
    if job.lower:
        return Result({}, products=_lowered(loaded, call, params, state, job))
    if job.trace:
        return Result({}, trace=_trace(loaded, call, params, state, job))
    floats = {name: jnp.asarray(x) for name, x in job.feeds.items() if x.dtype.kind == "f"}
    others = {name: jnp.asarray(x) for name, x in job.feeds.items() if name not in floats}
    noise = [jnp.asarray(x) for _, x in job.noise]

    def drawn(params: Any, floats: Any, state: Any, others: Any, noise: Any) -> Any:
        with given(job, noise):
            return call(params, floats, state, others)

    if not job.cotangents:
        outputs, after = jax.jit(drawn)(params, floats, state, others, noise)
        return Result(arrays(outputs), updates=_flat(after))
    step = _differentiated(drawn, job)
    (by_parameter, by_input), (outputs, after) = step(params, floats, state, others, noise)
    return Result(arrays(outputs), arrays(by_input), _flat(by_parameter), _flat(after))


def _differentiated(call: Callable[..., Any], job: Job) -> Any:
    """Gradients by the parameters and the float inputs, and what `call` returns."""

    def loss(params: Any, floats: Any, state: Any, others: Any, *noise: Any) -> Any:
        outputs, after = call(params, floats, state, others, *noise)
        total = sum(jnp.sum(outputs[name] * c) for name, c in job.cotangents.items())
        return total, (outputs, after)

    return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))


def _lowered(
    loaded: ModuleType, call: Callable[..., Any], params: Any, state: Any, job: Job
) -> dict[str, Products]:
    """What the file's own `export` of a call multiplies on a TPU, and what gradients of it do."""
    form: Any = jax.ShapeDtypeStruct
    feeds = {name: form(x.shape, x.dtype) for name, x in job.feeds.items()}
    trees = (params,) if state is None else (params, state)
    space = loaded.apply.__globals__
    options: dict[str, Any] = _mode(loaded.apply, job)
    if "noise_key" in inspect.signature(loaded.apply).parameters:
        options["noise_key"] = jax.random.key(0)
    forward = space["export"](*trees, *arguments(job.inputs, feeds), **options)
    programs = {"forward": forward}
    if job.cotangents:
        floats = {name: x for name, x in feeds.items() if x.dtype.kind == "f"}
        others = {name: x for name, x in feeds.items() if name not in floats}
        step = jax.export.export(_differentiated(call, job), platforms=["tpu"])
        programs["gradient"] = step(params, floats, state, others)
    return {name: products(program.mlir_module()) for name, program in programs.items()}


def _mode(apply: Callable[..., Any], job: Job) -> dict[str, bool]:
    """What tells it of the mode."""
    modal = "train" in inspect.signature(apply).parameters
    return {"train": job.training} if modal else {}


def _trees(job: Job, loaded: ModuleType) -> tuple[Any, Any]:
    """The parameters, and the state; None where there is none."""
    key = (package.digest(job.folder), job.weights)
    if key not in _built:
        _built.clear()
        _built[key] = loaded.build(weights=job.weights)
    found = _built[key]
    return found if isinstance(found, tuple) else (found, None)


def _call(apply: Callable[..., Any], job: Job, stateful: bool) -> Callable[..., Any]:
    """The outputs by name, and the state after the call, of parameters and feeds."""
    known = inspect.signature(apply).parameters
    options = _mode(apply, job)

    def call(params: Any, floats: Any, state: Any, others: Any, key: Any = None) -> Any:
        trees = (params, state) if stateful else (params,)
        keys = {"key": key} if "key" in known else {}
        if "noise_key" in known:
            keys["noise_key"] = jax.random.key(0) if key is None else key
        result = apply(*trees, *arguments(job.inputs, {**floats, **others}), **options, **keys)
        several = result if isinstance(result, tuple) else (result,)
        several, after = (several[:-1], several[-1]) if stateful else (several, {})
        return dict(zip(job.outputs, several, strict=True)), after

    return call


def _paths(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every dictionary, list and array of a tree, by its dotted path."""
    yield ".".join(path), tree
    inside = dict(enumerate(tree)) if isinstance(tree, list) else tree
    for key, inner in inside.items() if isinstance(inside, dict) else ():
        yield from _paths(inner, (*path, str(key)))


def _flat(tree: Any) -> dict[str, Any]:
    """A tree's arrays by dotted path."""
    return {path: np.array(x) for path, x in _paths(tree) if isinstance(x, jax.Array)}


@contextmanager
def _replaced(
    loaded: ModuleType, first: tuple[str, ...], wrap: Callable[..., Any]
) -> Iterator[None]:
    """Within this context, functions of the file with such first arguments are wrapped."""
    space = loaded.apply.__globals__
    plain = {
        name: function
        for name, function in space.items()
        if inspect.isfunction(function) and tuple(_arguments(function))[: len(first)] == first
    }
    space.update({name: wrap(function) for name, function in plain.items()})
    try:
        yield
    finally:
        space.update(plain)


def _arguments(function: Any) -> Iterator[str]:
    """The names of the arguments that may be given by their place."""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            yield name


def _watch(loaded: ModuleType, call: Any, params: Any, state: Any, job: Job) -> list[Drop]:
    """What each dropout does in two calls, not compiled; they are numbered in their order."""
    drops: list[Drop] = []

    def watched(function: Any) -> Any:
        def drop(x: Any, key: Any, rate: float, shared: tuple[int, ...] = ()) -> Any:
            given = (shared,) if "shared" in inspect.signature(function).parameters else ()
            y = function(x, key, rate, *given)
            name = f"dropout {len(drops) % count + 1}"
            drops.append(observe(name, rate, np.array(x), np.array(y), shared))
            return y

        return drop

    feeds = {name: jnp.asarray(x) for name, x in job.feeds.items()}
    scans = "scan" in loaded.apply.__globals__
    plainly = jax.disable_jit() if scans else nullcontext()
    with plainly, _replaced(loaded, ("x", "key", "rate"), watched):
        count = 1 << 30
        call(params, feeds, state, {}, key=jax.random.key(1))
        count = max(len(drops), 1)
        call(params, feeds, state, {}, key=jax.random.key(2))
    return drops


def _trace(
    loaded: ModuleType, call: Any, params: Any, state: Any, job: Job
) -> dict[str, list[Any]]:
    """What each call of the job's layers gives, not compiled."""
    names = {id(tree): path for path, tree in _paths(params)}
    found: dict[str, list[Any]] = {}

    def watched(function: Any) -> Any:
        def layer(params: Any, *args: Any, **options: Any) -> Any:
            y = function(params, *args, **options)
            name = names.get(id(params), "")
            if name in job.trace:
                found.setdefault(name, []).append(np.array(y[0] if isinstance(y, tuple) else y))
            return y

        return layer

    feeds = {name: jnp.asarray(x) for name, x in job.feeds.items()}
    with _replaced(loaded, ("params",), watched), given(job, [x for _, x in job.noise]):
        call(params, feeds, state, {})
    return found
