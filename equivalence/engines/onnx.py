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

_sessions: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}


def settings() -> Settings:
    """What sessions are made with."""
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return Settings(versions, "CPU", "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`. There are no gradients."""
    session, weights = _session(job)
    wanted = [given.name for given in session.get_inputs()]
    feeds = {name: job.feeds[name] for name in wanted if name in job.feeds}
    feeds |= {name: weights[name] for name in wanted if name in weights}
    results = session.run(list(job.outputs), feeds)
    return Result({name: np.array(y) for name, y in zip(job.outputs, results, strict=True)})


def _session(job: Job) -> tuple[Any, dict[str, Any]]:
    """The session of the folder's model, its initialisers taken from the job's weights."""
    key = (package.digest(job.folder), job.weights)
    if key not in _sessions:
        _sessions.clear()
        (path,) = Path(job.folder).glob("*.onnx")
        model = onnx.load(path, load_external_data=False)
        weights = dict(load_file(job.weights))
        _fill(model.graph, weights)
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
