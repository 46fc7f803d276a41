"""Other values for the hyper-parameters of models, to try on emitted classes."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Any

from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.frontends.mdl import load
from tests.backends.models import MODELS

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL: dict[str, dict[str, Any]] = {
    "mnist": {}, "tiny_resnet": {}, "gpt": {"vocab": 11, "D": 8, "layers": 2, "heads": 2},
}  # fmt: skip
OFFERED = {**{name: (EXAMPLES / f"{name}.mdl").read_text() for name in SMALL}, **MODELS}
"""Texts by name: the examples, and the models of the tests."""


def settings(name: str) -> tuple[Graph, Callable[[Parameter], tuple[Any, Graph]]]:
    """The model, and what gives another value of a parameter, with the model as it is then."""
    text, base = OFFERED[name], SMALL.get(name, {})

    def other(parameter: Parameter) -> tuple[Any, Graph]:
        for value in _others(parameter.default):
            try:
                own = parameter.name.rstrip("_")
                return value, load(text, name, params={**base, own: value})
            except MlcError:
                continue
        raise AssertionError(f"no other value of {parameter.name} is valid")

    return load(text, name, params=base), other


def _others(value: Any) -> list[Any]:
    """Values to try in place of `value`, most telling first."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value, value + 1, value // 2]
    if isinstance(value, float):
        return [value / 2]
    if isinstance(value, (list, tuple)):
        return [[*value, value[-1]], [2 * v for v in value]] if value else []
    return []
