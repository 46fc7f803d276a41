"""Classes of very many statements: written at all, and in time that grows with their number."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

import mlc
from mlc.compiler.graph import Graph

TARGETS = ("pytorch", "keras", "jax", "openvino", "onnx")


def line(count: int) -> Graph:
    """Layers one after another, without a loop."""
    body = "\n".join(f"    h = h -> linear(D) -> tanh\n    h = h + x  # {i}" for i in range(count))
    head = "model Net(D = 4):\n    in  x: f32[B, D]\n    out y: like x\n    h = x"
    return mlc.load(f"{head}\n{body}\n    y = h\n")


def calls(graph: Graph, target: str) -> int:
    """How many Python functions a compilation calls: its time, on a busy machine too."""
    count = 0

    def note(frame: FrameType, event: str, value: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        mlc.compile(graph, target)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("target", TARGETS)
def test_time_grows_with_the_number_of_statements(target: str) -> None:
    mlc.compile(line(2), target)
    assert calls(line(80), target) < 2.3 * calls(line(40), target)


def test_a_chain_is_longer_than_python_recurses() -> None:
    body = "    h = sin(h)\n" * 1200
    text = f"model Net:\n    in  x: f32[B, 4]\n    out y: like x\n    h = x\n{body}    y = h\n"
    assert mlc.compile(mlc.load(text), "keras").source.count("keras.ops.sin") == 1200
