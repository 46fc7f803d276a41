"""Engines: each framework in a process of its own, asked by jobs over pipes.

`protocol` says what a job and its result hold, `pool` starts the processes, `worker` is the loop
that runs in them, `package` imports an artefact, and each other file is one framework.
"""

from __future__ import annotations

from collections.abc import Mapping

ENGINES: Mapping[str, tuple[str, ...]] = {
    "keras": ("keras", "tensorflow"),
    "pytorch": ("torch", "safetensors"),
    "jax": ("jax", "flax"),
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxruntime"),
}
"""Target -> the packages that its engine, the module of that name, imports."""

DIFFERENTIABLE = frozenset({"keras", "pytorch", "jax"})
"""The targets whose framework has gradients, and so a training mode."""
