"""How Keras files start without weights, and that they take no weights that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mlc.backends.keras import emit
from mlc.compiler.graph import Graph, Weight
from mlc.compiler.init import fans
from mlc.compiler.tensor import write
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.settings import EXAMPLES
from tests.backends.truth import weights_of

MODELS: dict[str, str] = {
    "images": """
block Up(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> conv_transpose(width, 2, stride = 2) -> group_norm(4) -> prelu

model Images(widths = [16, 24]):
    in  x: f32[B, 8, H, W]
    out y: f32[B, 16, 2 * H, 2 * W]
    h = x
    for width in widths:
        h = h -> conv(width, 3, pad = 1) -> batch_norm -> relu
    h = h -> conv(24, 5, pad = 2, groups = 24) -> conv(24, 5, pad = 2, groups = 24)
    h = h -> conv(48, 3, pad = 1, groups = 24) -> instance_norm
    h = h -> conv(24, 3, pad = 1, groups = 3) -> conv(24, 3, pad = 1, groups = 3)
    y = h -> Up(16) -> conv_transpose(16, 3, pad = 1, groups = 4)
""",
    "read_outside": """
model ReadOutside(D = 20):
    in  x: f32[B, 12]
    in  ids: i32[B]
    out y: f32[B, 12]
    out z: f32[B, D]
    enc = linear(D)
    dec = linear(D, bias = false)
    token = embedding(50, D)
    y = (tanh(enc(x)) + dec(x)) @ (enc.weight + dec.weight)
    z = token(ids) + sum(token.weight, axes = [0])
""",
    "other_ranks": """
model OtherRanks:
    in  line: f32[B, 12, L]
    in  volume: f32[B, 4, D, H, W]
    out y: f32[B, 20]
    a = line -> conv(20, 3) -> conv(20, 3, groups = 20) -> conv_transpose(20, 3) -> mean(L)
    b = volume -> conv(20, 2) -> conv_transpose(20, 2) -> mean(D, H, W)
    y = (a + b) -> linear(20) -> linear(20, bias = false) -> linear(20, bias = false)
""",
    "texts": """
block Layer(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, E]
    in? keep: bool[B, S] = true
    out y: like x
    h = x + (x -> layer_norm -> attention(heads, causal = true))
    h = h + (h -> rms_norm -> attention(heads, context = memory))
    h = h + (h -> attention(heads, context = memory, keep = keep, bias = false))
    y = h + (h -> linear(4 * D) -> gelu -> linear(D))

model Texts(vocab = 50, D = 24, layers = 2):
    in  ids: i32[B, T <= 32]
    in  memory: f32[B, S, 40]
    out logits: f32[B, T, vocab]
    out y: f32[B, T, D]
    token = embedding(vocab, D)
    param position: f32[32, D] = normal(0.02)
    h = token(ids) + (ids -> embedding(vocab, D)) + position[:T]
    repeat layers:
        h = (h, memory) -> Layer(4)
    y = h -> attention(3)
    logits = h @ transpose(token.weight)
""",
    "params": """
model Params(n = 20):
    in  x: f32[B, 12]
    out y: f32[B, n]
    param a: f32[n, 12] = kaiming_uniform(1.0)
    param b: f32[n, 12] = kaiming_uniform(0.5)
    param c: f32[n, 12] = xavier_uniform
    param d: f32[n, 12] = fan_uniform(12)
    param e: f32[n, 12] = uniform(-0.5, 2.0)
    param f: f32[n, 12, 3] = xavier_uniform
    param g: f32[n, 12, 3] = kaiming_uniform(2.0)
    param h: f32[n] = 0.25
    param i: f32[n] = ones
    state j: f32[n] = zeros
    k = a + b + c + d + e + sum(f, axes = [2]) + sum(g, axes = [2])
    y = x @ transpose(k) + h * i + j
""",
}  # fmt: skip
"""Every kind of layer with weights, several of one shape among them."""

SMALL: dict[str, dict[str, Any]] = {
    "gpt": {"vocab": 50, "D": 24, "layers": 2, "heads": 2}, "resnet": {"depth": 18, "classes": 10},
    "vit": {"D": 24, "layers": 2, "heads": 2},
    "bert": {"vocab": 50, "D": 24, "layers": 2, "heads": 2}, "dlrm": {"rows": 50},
    "unet": {"widths": [8, 16]}, "densenet": {"counts": [2, 1]},
    "convnext": {"depths": [1, 1], "widths": [16, 24]},
    "diffusion": {"width": 16, "groups": 4},
    "wavenet": {"classes": 50, "width": 16, "layers": 3},
    "mobilenet": {"stages": [(3, 24, 16, True, False, 2)], "head": 32, "hidden": 32, "classes": 10},
    "llama": {"vocab": 50, "D": 24, "layers": 2, "heads": 4, "groups": 2, "K": 8, "hidden": 32},
    "moe": {"vocab": 50, "length": 32, "D": 24, "layers": 1, "heads": 2, "hidden": 32},
    "t5": {"vocab": 50, "D": 24, "layers": 1, "heads": 2, "K": 16, "hidden": 32},
    "swin": {"size": 16, "depths": [2], "heads": [2], "patch": 2, "width": 16, "window": 4},
    "tagger": {"vocab": 50, "width": 24, "hidden": 16},
    "sentiment": {"vocab": 50, "width": 24, "hidden": 16},
    "efficientnet": {"stages": [(16, 2, 3, 1, 1), (24, 2, 5, 2, 2)], "head": 32, "classes": 10},
}  # fmt: skip
NAMES = [*MODELS, *sorted(path.stem for path in EXAMPLES.glob("*.mdl"))]


def graph(name: str) -> Graph:
    text = MODELS[name] if name in MODELS else (EXAMPLES / f"{name}.mdl").read_text()
    return load(text, name, params=SMALL.get(name, {}))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    keras.utils.set_random_seed(5)
    yield
    keras.backend.clear_session()


def ends(weight: Weight) -> tuple[float, float] | None:
    """The ends of the uniform distribution of a weight, if that is how it starts."""
    fan_in, fan_out = fans(weight.type.shape)
    first = weight.init.args[0] if weight.init.args else 1.0
    bounds = {
        "kaiming_uniform": first * math.sqrt(3 / fan_in), "fan_uniform": first**-0.5,
        "xavier_uniform": math.sqrt(6 / (fan_in + fan_out)),
    }  # fmt: skip
    if weight.init.kind == "uniform":
        return weight.init.args
    bound = bounds.get(weight.init.kind)
    return None if bound is None else (-bound, bound)


def holds(weight: Weight, found: np.ndarray) -> None:
    """Whether these may be draws of the weight's start: its range, mean and spread."""
    size = found.size
    if (bounds := ends(weight)) is not None:
        low, high = bounds
        mean, std, tail = (low + high) / 2, (high - low) / math.sqrt(12), 0.45
        assert low <= found.min(), weight.path
        assert found.max() <= high * (1 + 1e-6), weight.path
        assert (high - low) * (1 - 12 / size) <= np.ptp(found), weight.path
    elif weight.init.kind == "normal":
        mean, std, tail = 0.0, weight.init.args[0], 0.71
    else:
        value = {"zeros": 0.0, "ones": 1.0}.get(weight.init.kind, (*weight.init.args, 0.0)[0])
        np.testing.assert_array_equal(found, np.float32(value), err_msg=weight.path)
        return
    assert abs(found.mean() - mean) < 5 * std / math.sqrt(size), weight.path
    assert abs(found.std() / std - 1) < 5 * tail / math.sqrt(size), weight.path


@pytest.mark.parametrize("name", NAMES)
def test_a_model_starts_as_the_language_says(name: str, tmp_path: Path) -> None:
    made = graph(name)
    artefact = emit(made, name)
    module = single.load(artefact, tmp_path)
    draws = []
    for _ in range(3):
        model = module.build()
        variables = {v.path: np.asarray(v) for v in model.weights}
        assert variables.keys() == artefact.weight_map.entries.keys()
        draws.append(artefact.weight_map.invert(variables))
    declared = {t for d in artefact.interface.deviations for t in d.tensors}
    for path, weight in made.weights.items():
        if path in declared and "bias_hh" in path:  # that of Keras is the other one
            continue
        holds(weight, np.stack([draw[path] for draw in draws]))
    several = [(f"{i}:{p}", a) for i, d in enumerate(draws) for p, a in d.items() if np.ptp(a) > 0]
    for (one, a), (other, b) in combinations(several, 2):
        assert a.shape != b.shape or not np.array_equal(a, b), f"{one} and {other} are equal"


def test_a_seed_makes_a_start_again(tmp_path: Path) -> None:
    module = single.load(emit(graph("texts"), "net"), tmp_path)
    first, second = [], []
    for found in (first, second):
        keras.utils.set_random_seed(1)
        found += [np.asarray(v) for v in module.build().weights]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_saved_model_needs_nothing_of_the_file(tmp_path: Path) -> None:
    """What starts its weights are initializers of Keras' own."""
    model = single.load(emit(graph("mnist"), "net"), tmp_path).build()
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", custom_objects={})
    kinds = {type(layer.kernel_initializer) for layer in again.layers if layer.weights}
    assert kinds == {keras.initializers.VarianceScaling}


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    text = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 2]\n    y = x -> linear(2)\n"
    made = load(text)
    artefact = emit(made, "net")
    tensors = dict(artefact.weight_map.convert(weights_of(made)))
    if fault == "missing":
        del tensors["linear/bias"]
    elif fault == "extra":
        tensors["other"] = np.zeros(2, np.float32)
    else:
        tensors["linear/bias"] = np.zeros(1, np.float32)
    path = tmp_path / "weights.safetensors"
    write(path, tensors)
    want = {
        "missing": r"weights.safetensors does not fit the model: \['linear/bias'\]",
        "extra": r"weights.safetensors does not fit the model: \['other'\]",
        "shape": r"(?s)\(2,\).*\(1,\).*linear/bias",
    }[fault]
    with pytest.raises(ValueError, match=want):
        single.load(artefact, tmp_path).build(path)
