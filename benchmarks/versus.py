"""Emitted code against models that are written by hand: `python benchmarks/versus.py [TARGET ...]`.

For each target, in a process of its own with one thread: ResNet-50, ViT and GPT, the forward pass
and gradients in training mode; how many operations the framework's own graph has, and the ratio of
the times of the process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from ratio import Ratio, compare, overall  # noqa: E402

TARGETS = ("pytorch", "keras", "jax", "openvino")
SECONDS = 10.0
"""How long a pair of calls is timed."""


@dataclass(frozen=True)
class Model:
    """An example of the language, at a size, and the shape that it is called with.

    `open` is what of the sizes the shapes of the weights do not say: all that OpenVINO is told.
    """

    name: str
    config: dict[str, int]
    open: tuple[str, ...]
    shape: tuple[int, ...]
    ids: int = 0
    native: Path = HERE / "native"


MODELS = (
    Model("resnet", {"classes": 100}, (), (2, 3, 96, 96)),
    Model(
        "vit",
        {"size": 64, "patch": 8, "D": 192, "layers": 6, "heads": 3, "classes": 100},
        ("size", "patch", "D", "layers", "heads"),
        (4, 3, 64, 64),
    ),
    Model(
        "gpt",
        {"vocab": 1000, "D": 192, "layers": 6, "heads": 6},
        ("layers", "heads"),
        (2, 128),
        ids=1000,
        native=ROOT / "tests" / "handwritten",
    ),
)


def measure(target: str) -> list[dict[str, Any]]:
    """All models on one target, in this process: a row for each mode."""
    engine = _module(HERE / "native" / target / "engine.py")
    return [row for model in MODELS for row in _rows(target, model, engine)]


def _rows(target: str, model: Model, engine: ModuleType) -> list[dict[str, Any]]:
    import mlc
    from mlc.compiler.init import initialise

    graph = mlc.load(ROOT / "examples" / f"{model.name}.mdl", **model.config)
    weights = initialise(graph)
    artefact = mlc.compile(graph, target, name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        emitted = _module(artefact.save(folder) / f"{model.name}.py")
    native = _module(model.native / target / f"{model.name}.py")
    told = model.open if target == "openvino" else model.config
    config = {key: model.config[key] for key in told}
    ours, theirs = (engine.build(module, config, weights) for module in (emitted, native))
    engine.give(ours, theirs)
    given = _input(model, last=artefact.interface.inputs[0].order is not None)
    _agree(engine.output(ours, given), engine.output(theirs, given), f"{model.name} {target}")
    counts = [engine.operations(each, given) for each in (ours, theirs)]
    calls = [engine.calls(each, given) for each in (ours, theirs)]
    rows = []
    for mode in calls[0]:
        found = compare(calls[0][mode], calls[1][mode], seconds=SECONDS)
        numbers = {"operations": counts[0][mode], "native": counts[1][mode]}
        rows.append({"model": model.name, "mode": mode, **numbers, **vars(found)})
        print(target, rows[-1], file=sys.stderr, flush=True)
    return rows


def _input(model: Model, *, last: bool) -> Any:
    import numpy as np

    random = np.random.default_rng(0)
    if model.ids:
        return random.integers(0, model.ids, model.shape).astype(np.int32)
    x = random.standard_normal(model.shape).astype(np.float32)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x


def _agree(ours: Any, theirs: Any, name: str) -> None:
    """Raises where the two do not compute the same: their times could not be compared."""
    import numpy as np

    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error < 1e-4:
        raise ValueError(f"{name}: the emitted and the handwritten model differ by {error:.2g}")


def _module(path: Path) -> ModuleType:
    name = "_".join(path.with_suffix("").parts[-3:])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def report(targets: tuple[str, ...] = TARGETS) -> str:
    """A table of Markdown."""
    lines = [
        "| target | model | mode | operations (by hand) | time, emitted / by hand | rounds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    ratios = []
    for target in targets:
        for row in _apart(target):
            ratio = Ratio(row["mean"], row["low"], row["high"], row["rounds"])
            ratios.append(ratio)
            lines.append(
                f"| {target} | {row['model']} | {row['mode']} "
                f"| {row['operations']} ({row['native']}) "
                f"| {ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) | {ratio.rounds} |"
            )
    worst = max(ratio.mean for ratio in ratios)
    lines += [
        "",
        f"Geometric mean {overall(ratios):.3f} (at most 1.02), "
        f"the largest {worst:.3f} (at most 1.1).",
    ]
    return "\n".join(lines)


def _apart(target: str) -> list[dict[str, Any]]:
    """Measures a target in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--measure", target]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    rows: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        print(report(tuple(sys.argv[1:]) or TARGETS))
