"""The handwritten files as artefact folders: their maps from PyTorch's names to their own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlc.backends.artefact import Artefact, Deviation, Interface, Port
from mlc.compiler.weight import Entry, Step, WeightMap

HERE = Path(__file__).parent
CONFIG: dict[str, dict[str, int]] = {
    "tiny_resnet": {},
    "gpt": {"vocab": 23, "D": 24, "layers": 2, "heads": 3},
}
"""What `build` is given: GPT is too large to be tested at the size of its defaults."""

MODELS = {"tiny_resnet": "TinyResNet", "gpt": "GPT"}
PORTS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "tiny_resnet": (("image", "f32", ("B", "3", "H", "W")), ("logits", "f32", ("B", "10"))),
    "gpt": (("ids", "i32", ("B", "T")), ("logits", "f32", ("B", "T", "23"))),
}
CHANNELS_LAST = (0, 2, 3, 1)


def folder(
    name: str,
    target: str,
    weights: Iterable[str],
    directory: Path,
    edit: tuple[str, str] = ("", ""),
) -> Path:
    """Writes `name` for `target` below `directory`; `weights` are the canonical paths.

    `edit` is a text of the source that stands there once, and what it is replaced by.
    """
    given, result = PORTS[name]
    moved = CHANNELS_LAST if name == "tiny_resnet" and target in ("keras", "jax") else None
    paths = list(weights)
    variances = tuple(path for path in paths if path.endswith("running_var"))
    deviations = (Deviation("running_var", "biased: times (n - 1) / n", variances),)
    interface = Interface(
        "build",
        (Port(given[0], *given, order=moved),),
        (Port(result[0], *result),),
        deviations if variances and target in ("keras", "jax") else (),
    )
    config = ", ".join(
        f"{key}={value}" for key, value in CONFIG[name].items() if _takes(key, target)
    )
    init = (
        "from functools import partial\n\n"
        f"from . import {name} as source\n\n"
        f"build = partial(source.build, {config})\n"
    )
    source = (HERE / target / f"{name}.py").read_text()
    assert not edit[0] or source.count(edit[0]) == 1, f"{edit[0]!r} does not stand there once"
    source = source.replace(*edit) if edit[0] else source
    files: dict[str, str | bytes] = {f"{name}.py": source, "__init__.py": init}
    entry = {"keras": _keras, "jax": _jax}.get(target, lambda path: Entry(path, (path,)))
    entries = WeightMap([entry(path) for path in paths])
    return Artefact(target, name, files, entries, interface).save(directory)


def _takes(key: str, target: str) -> bool:
    return target != "openvino" or key in ("layers", "heads")


def _permute(*axes: int) -> Step:
    return Step("permute", axes)


def _steps(path: str) -> tuple[Step, ...]:
    """From PyTorch's layout to that of Keras and Flax."""
    D, heads = CONFIG["gpt"]["D"], CONFIG["gpt"]["heads"]
    split = (heads, D // heads)
    match re.sub(r"\d+", "", path).split(".")[-3:]:
        case [*_, "attention", "query" | "key" | "value", "weight"]:
            return (_permute(1, 0), Step("reshape", ((D, D), (D, *split))))
        case [*_, "attention", "query" | "key" | "value", "bias"]:
            return (Step("reshape", ((D,), split)),)
        case [*_, "attention", "output", "weight"]:
            return (_permute(1, 0), Step("reshape", ((D, D), (*split, D))))
        case [*_, "linear", "weight"]:
            return (_permute(1, 0),)
        case [*_, "conv", "weight"]:
            return (_permute(2, 3, 1, 0),)
    return (_permute(2, 3, 1, 0),) if re.search(r"skip\.0\.weight$", path) else ()


def _is_norm(path: str) -> bool:
    return "norm" in path.split(".")[-2] or path.split(".")[-3:-1] == ["skip", "1"]


def _keras(path: str) -> Entry:
    if path == "position":
        return Entry("position/position", (path,))
    *layer, part = (
        path.replace("skip.0", "skip_conv").replace("skip.1", "skip_batch_norm").split(".")
    )
    names = {
        "weight": "gamma" if _is_norm(path) else "kernel",
        "bias": "beta" if _is_norm(path) else "bias",
    }
    names |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
    if path == "token.weight":
        names["weight"] = "embeddings"
    if "attention" in layer:
        name = {"output": "attention_output"}.get(layer[-1], layer[-1])
        return Entry(f"{'_'.join(layer[:-1])}/{name}/{names[part]}", (path,), _steps(path))
    return Entry(f"{'_'.join(layer)}/{names[part]}", (path,), _steps(path))


def _jax(path: str) -> Entry:
    if path == "position":
        return Entry(path, (path,))
    *layer, part = path.replace("skip.", "skip.layers.").split(".")
    names = {"weight": "scale" if _is_norm(path) else "kernel", "bias": "bias"}
    names |= {"running_mean": "mean", "running_var": "var"}
    if path == "token.weight":
        names["weight"] = "embedding"
    if "attention" in layer and layer[-1] == "output":
        layer[-1] = "out"
    return Entry(".".join([*layer, names[part]]), (path,), _steps(path))
