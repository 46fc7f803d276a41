"""The ONNX engine: ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from safetensors.numpy import load_file

from . import package
from .pool import THREADS
from .protocol import Job, Result, Settings

NEXT = ".next"
"""What the name of a state's output has behind the state's path."""

KEPT = 2
"""How many sessions are kept: a model's own, and that of the model with its gradients."""

_sessions: dict[tuple[str, str, tuple[str, ...]], tuple[Any, dict[str, Any]]] = {}


def settings() -> Settings:
    """What sessions are made with."""
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return Settings(versions, "CPU", "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`. Gradients are outputs, of files that have them."""
    session, weights = _session(job)
    if job.trace:
        names = [y.name for y in session.get_outputs() if y.name in job.trace]
        results = session.run(names, _feeds(session, job, weights))
        return Result({}, trace={n: [np.array(y)] for n, y in zip(names, results, strict=True)})
    states = [y.name for y in session.get_outputs() if y.name.removesuffix(NEXT) in weights]
    results = session.run([*job.outputs, *states], _feeds(session, job, weights))
    found = dict(zip((*job.outputs, *states), map(np.array, results), strict=True))
    updates = {name.removesuffix(NEXT): found.pop(name) for name in states}
    return Result(found, updates=updates)


def _feeds(session: Any, job: Job, weights: dict[str, Any]) -> dict[str, Any]:
    places = (*session.get_inputs(), *session.get_overridable_initializers())
    wanted = [given.name for given in places]
    feeds = {name: job.feeds[name] for name in wanted if name in job.feeds}
    return feeds | {name: weights[name] for name in wanted if name in weights}


def _session(job: Job) -> tuple[Any, dict[str, Any]]:
    """The session of the folder's model, its initialisers taken from the job's weights."""
    key = (package.digest(job.folder), job.weights, job.trace)
    if key not in _sessions:
        while len(_sessions) >= KEPT:
            del _sessions[next(iter(_sessions))]
        (path,) = Path(job.folder).glob("*.onnx")
        model = onnx.load(path, load_external_data=False)
        weights = dict(load_file(job.weights))
        _fill(model.graph, weights)
        _expose(model.graph, job.trace)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        _sessions[key] = session, weights
    return _sessions[key]


def _fill(graph: Any, weights: dict[str, Any]) -> None:
    """Puts the weights into the initialisers of the same names; KeyError names one that lacks."""
    places = {tensor.name: tensor for tensor in graph.initializer}
    given = {value.name for value in graph.input}
    missing = sorted(weights.keys() - places.keys() - given)
    if missing:
        raise KeyError(f"the file has no initialiser {missing[0]}")
    for name in weights.keys() & places.keys():
        old, new = places[name], numpy_helper.from_array(np.array(weights[name]), name)
        if list(old.dims) != list(new.dims) or old.data_type != new.data_type:
            raise ValueError(f"the initialiser {name} is {old.dims}, the weight {new.dims}")
        old.CopyFrom(new)


def _expose(graph: Any, names: tuple[str, ...]) -> None:
    """Makes results of these names outputs of the graph."""
    known = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.output:
            if name in names and name not in known:
                graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
