"""The Keras engine, on its tensorflow backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import package
from .dropout import observe
from .noise import Given, recording, replaced
from .pool import THREADS
from .protocol import Draw, Drop, Job, Result, Settings

_models: dict[tuple[str, str], tuple[Any, list[Any]]] = {}


def settings() -> Settings:
    """Pins threads and precision: IEEE f32 throughout, no TF32."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return Settings(versions, "cpu", "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`."""
    model = _model(job)
    feeds = {name: tf.constant(array) for name, array in job.feeds.items()}
    if job.watch:
        draws: list[Draw] = []
        with replaced(keras.random, DRAWING, recording(draws)):
            drops = _watch(model, job, feeds)
        return Result({}, drops=tuple(drops), draws=tuple(draws))
    if job.trace:
        with _no_dropout(model), _given(job):
            return Result({}, trace=_trace(model, job, feeds))
    wanted = {name: x for name, x in feeds.items() if job.cotangents and x.dtype.is_floating}
    variables = model.trainable_variables if job.cotangents else []
    with _no_dropout(model), _given(job), tf.GradientTape() as tape:
        tape.watch(list(wanted.values()))
        outputs = _call(model, job, feeds)
        loss = sum(tf.reduce_sum(outputs[name] * c) for name, c in job.cotangents.items())
    updates = {v.path: _array(v) for v in model.non_trainable_weights}
    found = (
        tape.gradient(
            loss,
            [*wanted.values(), *(v.value for v in variables)],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        if job.cotangents
        else []
    )
    arrays = [_array(tf.convert_to_tensor(g)) for g in found]
    return Result(
        {name: _array(y) for name, y in outputs.items()},
        dict(zip(wanted, arrays[: len(wanted)], strict=True)),
        dict(zip((v.path for v in variables), arrays[len(wanted) :], strict=True)),
        updates,
    )


def _model(job: Job) -> Any:
    """The model with the job's weights and buffers, whatever earlier runs made of them."""
    key = (package.digest(job.folder), job.weights)
    if key not in _models:
        _models.clear()
        keras.backend.clear_session()
        model = package.load(job.folder).build(weights=job.weights)
        if job.noise:
            _put_in_order(model)
        _models[key] = model, [_array(v) for v in model.weights]
    model, state = _models[key]
    for variable, array in zip(model.weights, state, strict=True):
        variable.assign(array)
    return model


def _put_in_order(model: Any) -> None:
    """Has functional models run their operations in the order of the source, which is that of the
    names of their results, and not by how far they are from the end: so noise is drawn."""
    for function in model._flatten_layers():
        if isinstance(function, keras.Model) and hasattr(function, "_nodes_by_depth"):
            nodes = [node for each in function._nodes_by_depth.values() for node in each]
            nodes.sort(key=_number, reverse=True)
            function._nodes_by_depth = {depth: [node] for depth, node in enumerate(nodes)}


def _number(node: Any) -> int:
    """The number in the name of a node's result: 12 of `keras_tensor_12`."""
    _, _, number = node.outputs[0].name.rpartition("_")
    return int(number) if number.isdigit() and not node.is_input else -1


DRAWING = {"normal": "normal", "uniform": "uniform"}
"""The functions of keras.random."""


@contextmanager
def _given(job: Job) -> Iterator[None]:
    """Within this context one call draws the job's noise."""
    given = Given(job.noise)

    def wrap(distribution: str, _: Any) -> Any:
        def draw(shape: Any, *_: Any, **__: Any) -> Any:
            return tf.constant(given(distribution, tuple(map(int, shape))))

        return draw

    with replaced(keras.random, DRAWING, wrap):
        yield
    given.finish()


def _call(model: Any, job: Job, feeds: dict[str, Any]) -> dict[str, Any]:
    args: Any = [feeds.get(name) for name in job.inputs]
    result = model(args[0] if len(args) == 1 else args, training=job.training)
    if isinstance(result, dict):
        return {name: result[name] for name in job.outputs}
    several = result if isinstance(result, (tuple, list)) else (result,)
    return dict(zip(job.outputs, several, strict=True))


def _array(x: Any) -> Any:
    return np.array(x)


_DROPPING = (
    *(keras.layers.Dropout, keras.layers.AlphaDropout, keras.layers.GaussianDropout),
    *(keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU),
    *(keras.layers.SimpleRNNCell, keras.layers.LSTMCell, keras.layers.GRUCell),
)
_RATES = ("rate", "dropout", "recurrent_dropout")


@contextmanager
def _no_dropout(model: Any) -> Iterator[None]:
    """Within this context every rate of dropout is zero."""
    kept = [
        (layer, name, rate)
        for layer in model._flatten_layers()
        if isinstance(layer, _DROPPING)
        for name in _RATES
        if isinstance(rate := getattr(layer, name, None), float)
        and not isinstance(getattr(type(layer), name, None), property)  # that is its cell's
    ]
    for layer, name, _ in kept:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, rate in kept:
            setattr(layer, name, rate)


def _watch(model: Any, job: Job, feeds: dict[str, Any]) -> list[Drop]:
    """What the dropout layers do in two calls."""
    drops: list[Drop] = []
    plain = {
        kind: kind.call for kind in (keras.layers.Dropout, *keras.layers.SpatialDropout2D.__bases__)
    }

    def watched(kind: Any) -> Any:
        def call(layer: Any, inputs: Any, training: bool = False) -> Any:
            y = plain[kind](layer, inputs, training)
            arrays = _array(inputs), _array(y)
            drops.append(observe(layer.path or layer.name, layer.rate, *arrays, _shared(layer, y)))
            return y

        return call

    for kind in plain:
        kind.call = watched(kind)
    try:
        for _ in range(2):
            _call(model, job, feeds)
    finally:
        for kind, call in plain.items():
            kind.call = call
    return drops


def _shared(layer: Any, y: Any) -> list[int]:
    """The axes along which all elements have one fate."""
    shape = getattr(layer, "noise_shape", None)
    if isinstance(layer, keras.layers.SpatialDropout2D.__bases__):
        shape = layer._get_noise_shape(y)
    return [axis for axis, size in enumerate(shape or ()) if size == 1]


def _trace(model: Any, job: Job, feeds: dict[str, Any]) -> dict[str, list[Any]]:
    """What each call of the job's layers gives."""
    found: dict[str, list[Any]] = {}
    plain = keras.layers.Layer.__call__

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        y = plain(layer, *args, **options)
        name = layer.path or layer.name
        if name in job.trace:
            found.setdefault(name, []).append(_array(y[0] if isinstance(y, tuple) else y))
        return y

    keras.layers.Layer.__call__ = call
    try:
        _call(model, job, feeds)
    finally:
        keras.layers.Layer.__call__ = plain
    return found
