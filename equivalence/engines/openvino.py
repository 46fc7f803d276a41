"""The OpenVINO engine: inference on the CPU, in f32 and not in the bf16 that it would choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from safetensors.numpy import load_file

from . import package
from .pool import THREADS
from .protocol import Job, Result, Settings

NEXT = ".next"
"""What the name of a state's output has behind the state's path."""

KEPT = 2
"""How many models are kept: the plain one, and that with its gradients."""

_core = ov.Core()
_models: dict[tuple[str, str], Any] = {}


def settings() -> Settings:
    """What models are compiled with."""
    return Settings({"openvino": ov.__version__}, "CPU", "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`. There are no gradients."""
    model = _traced(job) if job.trace else _model(job)
    count = len(job.inputs)
    names = [_name(port, job.inputs, i) for i, port in enumerate(model.inputs[:count])]
    states = [_state(port) for port in model.inputs[count:]]
    weights = load_file(job.weights) if states else {}
    feeds = [*(job.feeds[name] for name in names), *(weights[name] for name in states)]
    results = model(feeds, share_inputs=False)
    if job.trace:
        traced = model.outputs[len(job.outputs) + len(states) :]
        layers = (port.node.input_value(0).node.friendly_name for port in traced)
        return Result(
            {}, trace={n: [np.array(results[p])] for n, p in zip(layers, traced, strict=True)}
        )
    after = [port for port in model.outputs if _is_state(port, job.outputs)]
    others = [port for port in model.outputs if port not in after]
    found = {_name(port, job.outputs, i): np.array(results[port]) for i, port in enumerate(others)}
    updates = {_state(port).removesuffix(NEXT): np.array(results[port]) for port in after}
    return Result({name: found[name] for name in job.outputs}, updates=updates)


def _model(job: Job) -> Any:
    """The compiled model of the job, kept for the next."""
    key = (package.digest(job.folder), job.weights)
    if key not in _models:
        while len(_models) >= KEPT:
            del _models[next(iter(_models))]
        _models[key] = _compile(package.load(job.folder).build(weights=job.weights))
    return _models[key]


def _compile(model: Any) -> Any:
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
    compiled = _core.compile_model(model, "CPU", options)
    executed = compiled.get_property("INFERENCE_PRECISION_HINT")
    if executed != ov.Type.f32:
        raise RuntimeError(f"it would run in {executed}, not in f32")
    return compiled


def _traced(job: Job) -> Any:
    """The model with the results of the job's layers as further outputs."""
    model = package.load(job.folder).build(weights=job.weights)
    layers = [
        node.output(0)
        for node in model.get_ordered_ops()
        if node.friendly_name in job.trace and node.get_type_name() != "Constant"
    ]
    model.add_outputs(layers)
    return _compile(model)


def _is_state(port: Any, names: tuple[str, ...]) -> bool:
    """Whether an output is what a state is after the call, and none of `names`."""
    own: set[str] = port.names
    return not own & set(names) and any(name.endswith(NEXT) for name in own)


def _state(port: Any) -> str:
    """The name of a state's input or output."""
    name: str = port.any_name
    return name


def _name(port: Any, names: tuple[str, ...], index: int) -> str:
    """Which of `names` a port has; by its place where it has none of them."""
    own = {*port.names, port.node.friendly_name} & set(names)
    return own.pop() if own else names[index]
