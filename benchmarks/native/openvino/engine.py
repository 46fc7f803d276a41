"""Calls of compiled OpenVINO models, and how many operations their runtime models have; constants
are none."""

import inspect
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from safetensors.numpy import save_file

CORE = ov.Core()
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


def build(module: Any, config: dict[str, int], weights: dict[str, np.ndarray]) -> ov.Model:
    """The emitted files take a file of weights, and handwritten ones that or the tensors."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.safetensors")
        save_file(weights, file)
        kind = next(iter(inspect.signature(module.build).parameters.values())).annotation
        return module.build(weights if "Mapping" in str(kind) else file, **config)


def give(model: ov.Model, other: ov.Model) -> None:
    """Both have been built with the same weights."""


@cache
def _compiled(model: ov.Model) -> ov.CompiledModel:
    return CORE.compile_model(model, "CPU", SETTINGS)


def calls(model: ov.Model, given: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The forward pass; OpenVINO has no gradients."""
    request = _compiled(model).create_infer_request()
    return {"forward": lambda: request.infer([given])}


def output(model: ov.Model, given: np.ndarray) -> np.ndarray:
    return _compiled(model)(given)[0]


def operations(model: ov.Model, given: np.ndarray) -> dict[str, int]:
    request = _compiled(model).create_infer_request()
    request.infer([given])
    nodes = _compiled(model).get_runtime_model().get_ops()
    return {"forward": sum(n.get_rt_info()["layerType"].astype(str) != "Const" for n in nodes)}
