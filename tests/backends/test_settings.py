"""An emitted class is right for other hyper-parameters too, or does not offer them.

Each hyper-parameter of the emitted model is set to another value; the class must then compute what
the source means by that value, with that model's weights under that model's names.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlc.backends.artefact import import_package
from mlc.backends.pytorch import emit
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import evaluate
from mlc.compiler.graph import Graph
from mlc.compiler.init import initialise
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from mlc.compiler.tensor import write
from mlc.equivalence.feeds import steps
from mlc.frontends.mdl import load
from tests.backends.architectures import ARCHITECTURES
from tests.backends.models import MODELS
from tests.backends.structures import STRUCTURES

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL: dict[str, dict[str, Any]] = {
    "mnist": {}, "lenet": {}, "tiny_resnet": {}, "resnet": {"depth": 18},
    "gpt": {"vocab": 11, "D": 8, "layers": 2, "heads": 2},
    "wavenet": {"layers": 3, "cycle": 2, "width": 3, "classes": 7},
    "moe": {"vocab": 11, "length": 9, "D": 8, "layers": 2, "heads": 2, "experts": 3, "hidden": 6},
    "llama": {"vocab": 11, "D": 8, "layers": 2, "heads": 4, "groups": 2, "K": 8, "hidden": 6},
    "t5": {"vocab": 11, "D": 6, "layers": 2, "heads": 2, "K": 4, "hidden": 7},
    "swin": {
        "size": 16, "depths": [1, 2], "heads": [1, 2], "patch": 1, "width": 4, "window": 2,
        "classes": 5,
    },
    "mobilenet": {
        "stages": [(3, 6, 4, True, False, 2), (5, 7, 4, False, True, 1)],
        "stem": 6, "head": 7, "hidden": 8, "classes": 5,
    },
}  # fmt: skip
SIZES = {"B": 2, "T": 5, "H": 32, "W": 48, "S": 4, "L": 9, "N": 3, "D": 4}
MORE = {**MODELS, **STRUCTURES, **ARCHITECTURES}
UNCERTAIN = {("maths", "p")}
"""What an argmax tells apart by rounding alone."""


def _others(value: Any, name: str, graph: Graph) -> list[Any]:
    """Values to try in place of `value`, most telling first: those that take other arms of ifs."""
    shown = [variant.root.values[name] for variant in graph.variants()]
    return [*(each for each in shown if each != value), *_usual(value)[:2]]


def _usual(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [2 * value, value + 1, value // 2]
    if isinstance(value, float):
        return [value / 2]
    if isinstance(value, (list, tuple)):
        return [[*value, value[-1]], [2 * v for v in value]] if value else []
    return []


def _graph(text: str, params: dict[str, Any]) -> Graph | None:
    try:
        return load(text, params=params)
    except MlcError:
        return None


def _agrees(package: Any, graph: Graph, config: dict[str, Any], folder: Path) -> None:
    """`build(**config)` computes what `graph` does, with its weights."""
    weights = initialise(graph, seed=3)
    path = folder / "weights.safetensors"
    write(path, emit(graph, "other").weight_map.convert(weights))
    model = package.build(path, **config).eval()
    random = np.random.default_rng(5)
    inputs = {}
    for given in graph.inputs:
        shape = [evaluate(size, SIZES) for size in given.type.shape]
        low, high = (1, 4) if steps(given) else (0, 7)
        inputs[given.name] = {
            "i32": random.integers(low, high, shape).astype("i4"),
            "bool": random.random(shape) < 0.8,
        }.get(given.type.dtype, random.normal(size=shape).astype("f4"))
    inference, _ = clone(graph)
    resolve(inference, False)
    expected = run(inference, inputs, weights).outputs
    with torch.no_grad():
        made = model(*(torch.tensor(x) for x in inputs.values()))
    outputs = made if isinstance(made, tuple) else (made,)
    for (name, want), got in zip(expected.items(), outputs, strict=True):
        scale = np.abs(want).max()
        assert np.abs(want - got.numpy()).max() < 1e-5 * scale, f"{name} at {config}"


@pytest.mark.parametrize("example", sorted(SMALL))
def test_every_setting_that_is_offered_is_right(example: str, tmp_path: Path) -> None:
    text = (EXAMPLES / f"{example}.mdl").read_text()
    base = SMALL[example]
    graph = load(text, params=base)
    package = import_package(emit(graph, example).save(tmp_path))
    model = getattr(package, emit(graph, example).interface.model)
    offered = [p for p in inspect.signature(model).parameters.values() if p.name != "self"]
    assert offered, "the model has no hyper-parameter left"
    for parameter in offered:
        values = _others(parameter.default, parameter.name, graph)
        made = ((v, _graph(text, {**base, parameter.name: v})) for v in values)
        value, other = next(((v, g) for v, g in made if g is not None), (None, None))
        assert other is not None, f"no other value of {parameter.name} is valid"
        _agrees(package, other, {parameter.name: value}, tmp_path)


@pytest.mark.parametrize("name", sorted(MORE))
def test_what_models_offer_is_right_at_two_more_values(name: str, tmp_path: Path) -> None:
    graph = load(MORE[name])
    package = import_package(emit(graph, name).save(tmp_path))
    model = getattr(package, emit(graph, name).interface.model)
    own = graph.root.definition.params if graph.root.definition else {}
    for parameter in inspect.signature(model).parameters.values():
        source = parameter.name if parameter.name in own else parameter.name.rstrip("_")
        if source not in own or (name, source) in UNCERTAIN:
            continue
        for value in _others(parameter.default, source, graph):
            other = _graph(MORE[name], {source: value})
            if other is not None:
                _agrees(package, other, {parameter.name: value}, tmp_path)
