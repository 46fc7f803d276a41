"""The examples at sizes that a laptop verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlc
from mlc.compiler.graph import Graph

EXAMPLES = Path(__file__).parents[2] / "examples"

CONFIG: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("mnist", {}),
    "lenet": ("lenet", {}),
    "tiny_resnet": ("tiny_resnet", {}),
    "gpt": ("gpt", {"vocab": 23, "D": 24, "layers": 2, "heads": 3}),
    "resnet18": ("resnet", {"depth": 18, "classes": 10}),
    "resnet50": ("resnet", {"depth": 50, "classes": 10}),
}
"""Name -> the example's file, and the hyper-parameters that make it small."""


def load(name: str) -> Graph:
    """The graph of an example."""
    file, config = CONFIG[name]
    return mlc.load(EXAMPLES / f"{file}.mdl", **config)
