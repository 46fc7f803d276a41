"""Planted faults, many: every kind in every model and target that has a place for it.

    python -m tests.proof.planted OUT.jsonl [--seeds FIRST LAST] [--models NAME ...]

One line for each fault, model, target and seed. `ratio` is the largest over the cases of a
verification, which ends where the fault is seen. Where it is not, `effect` says by how much float64
moves, in units of the noise, when the reference has the fault in all its places. A pair counts if
it does; or, where the reference has no such place (a difference that only gradients have), if the
file gives other bits than the honest one (`moved`). What stands in OUT.jsonl is not run again.

Every seed goes through all models before the next begins, and the targets through the faults of a
model side by side. JAX runs these files op by op: to compile each of them whole would take longer
than all the rest, and a fault is no smaller for it. Honest files are compiled, as users run them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

import mlc
from mlc.backends import TARGETS
from mlc.compiler.clone import clone
from mlc.compiler.graph import Graph
from mlc.compiler.passes.noise import as_inputs
from mlc.equivalence import Emitted, feeds
from mlc.equivalence.case import MODES, Case
from mlc.equivalence.compare import LIMIT, Row
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.engines.protocol import Result
from mlc.equivalence.faults import FAULTS
from mlc.equivalence.faults.sensitivity import EFFECT, measure, run, spots
from mlc.equivalence.reference import Truth
from mlc.equivalence.target import Target
from mlc.equivalence.verification import _Run
from mlc.request import emitted
from tests.proof.examples import CONFIG, small
from tests.proof.honest import read
from tests.proof.own import OWN
from tests.proof.plants import SOURCE
from tests.proof.plants.loader import LOADED
from tests.proof.plants.onnx import ONNX, WEIGHTS
from tests.proof.plants.onnx import plant as plant_message
from tests.proof.plants.plant import Plant
from tests.proof.plants.plant import plant as plant_source

FIRST = 2000
"""The first seed: those of honest runs are below."""

EAGER = {"JAX_DISABLE_JIT": "1"}
"""What makes the engine of JAX run op by op."""

NAMES = (*CONFIG, *OWN)


def model(name: str) -> Graph:
    """An example, with few channels, or a model of the proof's own."""
    return mlc.load(OWN[name]) if name in OWN else small(name)


# -------------------------------------------------------------------------------------- planting


def with_fault(target: str, fault: str, honest: Any, directory: Path) -> Emitted | None:
    """The folders of a target with a fault in each that has a place; None if none has."""
    emitted = honest if isinstance(honest, Emitted) else Emitted(honest)
    places = {"": Path(emitted.folder)} | {m: Path(f) for m, f in emitted.gradients.items()}
    made = {
        mode: _planted(target, fault, place, directory / f"{mode}-")
        for mode, place in places.items()
    }
    if not any(made.values()):
        return None
    folders = {mode: made[mode] or places[mode] for mode in places}
    return Emitted(folders.pop(""), folders, emitted.refused)


def with_source(graph: Graph, target: str, fault: Plant, directory: Path) -> Path:
    """The folder of a model for a target, with a fault in its source."""
    folder = mlc.compile(graph, target).save(directory)
    (path,) = (p for p in folder.glob("*.py") if p.name != "__init__.py")
    text = plant_source(path.read_text(), fault)
    assert text is not None, "the source has no place for the fault"
    path.write_text(text)
    return folder


def _planted(target: str, fault: str, place: Path, start: Path) -> Path | None:
    """A copy of a folder with the fault in it."""
    files = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    end = ".onnx" if target == "onnx" else ".py"
    (name,) = (n for n in files if n.endswith(end) and n != "__init__.py")
    edited: bytes | None = None
    if target == "onnx":
        edit = {**ONNX, **WEIGHTS}.get(fault)
        edited = plant_message(files[name], edit) if edit is not None else None
    elif (plant := SOURCE[target].get(fault)) is not None:
        text = plant_source(files[name].decode(), plant)
        edited = text.encode() if text is not None else None
    if edited is None:
        return None
    folder = start.with_name(f"{start.name}{place.name}")
    folder.mkdir(parents=True)
    for each, data in (files | {name: edited}).items():
        (folder / each).write_bytes(data)
    return folder


# --------------------------------------------------------------------------------------- running


class Bench(_Run):
    """A verification that is taken by its parts: many files are run on the same cases."""

    def __init__(self, graph: Graph, pool: Pool) -> None:
        super().__init__(graph, [], pool, None, None, feeds.MEAN, False)

    def settled(self, seed: int) -> list[Case]:
        return [self._case(plan) for plan in self._plans([seed], MODES, 2)]

    def send(self, case: Case, target: Target, forward: bool = False) -> Future[Result]:
        job = target.job(case.feed, case.mode == "training", self._label(case))
        job = replace(job, cotangents={}) if forward else job
        return self.pool[target.name].submit(job)

    def rows(self, case: Case, target: Target, job: Future[Result], forward: bool) -> list[Row]:
        rows = self._rows(case, [(target, job)]).values()
        return [row for row in rows if not forward or not row.kind.endswith("gradient")]

    def revived(self, target: str) -> bool:
        """Starts an engine anew that a file has brought down; whether one had."""
        died = self.pool[target].died
        self.pool.start([target])
        return died


Effect: TypeAlias = "tuple[float | None, float | None]"
"""By how much float64 moves, of all tensors and of the outputs alone; None without a place."""

NOTHING = Row("", "", "", "", "", "equal")


@dataclass
class Planted:
    """A fault in one target: what runs, whether a folder for gradients has it too, and what was
    found so far."""

    target: Target
    forward_only: bool
    effect: float | None = None
    moved: bool = False
    cases: int = 0
    worst: Row = NOTHING
    given: dict[tuple[str, int], Truth] = field(default_factory=dict)

    @property
    def seen(self) -> bool:
        return self.worst.ratio > LIMIT or self.worst.verdict == "failed"

    @property
    def done(self) -> bool:
        """Whether further cases would tell nothing: two without any effect are enough."""
        return self.seen or (self.cases > 1 and not self.moved and not self.effect)


class Model:
    """One model at one seed: its cases, what honest files give, and what faults do.

    A thread for each target may ask for lines: what is done in this process is done by one of them
    at a time, and the engines run side by side.
    """

    def __init__(
        self, name: str, seed: int, pool: Pool, directory: Path, targets: Sequence[str]
    ) -> None:
        self.name, self.seed, self.directory = name, seed, directory
        self.graph = model(name)
        drawn, _ = clone(self.graph)
        as_inputs(drawn)
        self.bench = Bench(drawn, pool)
        self.cases = self.bench.settled(seed)
        self.lock = Lock()
        self.folders = {
            target: emitted(self.graph, target, str(directory / "honest"), MODES)
            for target in targets
        }
        self.honest: dict[tuple[str, int], Truth] = {}
        self.effects: dict[tuple[str, int], Effect] = {}

    def lines(self, fault: str, targets: Sequence[str]) -> Iterator[dict[str, Any]]:
        """A line for each target: "no place" where it has none for the fault."""
        for name in targets:
            base = {"fault": fault, "model": self.name, "target": name, "seed": self.seed}
            with self.lock:
                each = self._planted(fault, name)
            if each is not None:
                self._run(fault, each)
            yield base | ({"verdict": "no place"} if each is None else _line(each))

    def _planted(self, fault: str, name: str) -> Planted | None:
        place = self.directory / fault.replace(" ", "_").replace("%", "") / name
        made = with_fault(name, fault, self.folders[name], place)
        if made is None:
            return None
        forward_only = name in ("onnx", "openvino") and not _changed_companions(made, place)
        place.mkdir(parents=True, exist_ok=True)
        target = Target(name, made, place)
        if name != "onnx" and fault in LOADED and not _changed(fault, target, self.cases[0]):
            return None
        return Planted(target, forward_only)

    def _run(self, fault: str, each: Planted) -> None:
        """Runs one case after another, and of it one folder after another, until it is seen.

        Outputs are looked at before gradients, unless the fault is of gradients alone.
        """
        for i in self._order(fault):
            if each.done:
                return
            case = self.cases[i]
            for part in each.target.parts(case.mode):
                both = part.differentiable and FAULTS[fault].family != "gradient"
                for forward in (True, False) if both else (False,):
                    if not each.seen:
                        self._judge(each, i, part, forward)
            if not each.seen:
                self._look(fault, each, i)
            each.cases += 1

    def _order(self, fault: str) -> list[int]:
        """The cases as they are run: of faults of training, those of training first."""
        numbers = list(range(len(self.cases)))
        if FAULTS[fault].family != "training mode":
            return numbers
        other = [i for i in numbers if self.cases[i].mode != "training"]
        first = [i for i in numbers if self.cases[i].mode == "training"]
        return [i for pair in zip(first, other, strict=True) for i in pair]

    def _judge(self, each: Planted, i: int, part: Target, forward: bool) -> None:
        """Runs a folder on a case, and compares what it gives."""
        case = self.cases[i]
        for _ in range(2):
            with self.lock:
                job = self.bench.send(case, part, forward)
            wait([job])
            with self.lock:
                rows = self.bench.rows(case, part, job, forward)
            died = self.bench.revived(part.name)
            # An engine may die of the file before: what one of its own has died of is its fault.
            if not died:
                break
        each.worst = max([each.worst, *rows], key=lambda r: (r.verdict == "failed", r.ratio))
        if died:
            each.worst = replace(NOTHING, verdict="failed", note="the engine died")
        elif not each.seen and not forward:
            each.given[part.label, i] = part.tensors(job.result())

    def _look(self, fault: str, each: Planted, i: int) -> None:
        """Whether a fault that a case has not shown has an effect on it at all."""
        with self.lock:
            found = self._effect(fault, each, i)
        if found is not None:
            each.effect = max(each.effect or 0.0, found)
        for part in each.target.parts(self.cases[i].mode) if each.effect is None else ():
            now, before = each.given[part.label, i], self._honest(i, part)
            each.moved |= any(not np.array_equal(now[k], before[k], equal_nan=True) for k in now)

    def _honest(self, i: int, part: Target) -> Truth:
        """What the folder without the fault gives."""
        if (part.label, i) not in self.honest:
            with self.lock:
                whole = Target(part.name, self.folders[part.name], self.directory)
                parts = {each.label: each for each in whole.parts(self.cases[i].mode)}
                job = self.bench.send(self.cases[i], parts[part.label])
            self.honest[part.label, i] = parts[part.label].tensors(job.result())
        return self.honest[part.label, i]

    def _effect(self, fault: str, each: Planted, i: int) -> float | None:
        """By how much float64 moves in what the faulty files give; None without a place for it."""
        case = self.cases[i]
        if each.forward_only and case.mode == "training":
            return None
        if fault in LOADED:
            return _largest(case, _faulty_load(fault, each.target, case))[each.forward_only]
        if (fault, i) not in self.effects:
            places = spots(FAULTS[fault], case)
            found = run(FAULTS[fault], places, case) if places else None
            self.effects[fault, i] = _largest(case, found)
        return self.effects[fault, i][each.forward_only]


def _largest(case: Case, found: Truth | None) -> Effect:
    """The largest ratio of what was found, of all tensors and of the outputs alone."""
    if found is None:
        return None, None
    outputs = {key for key in case.truth if key.kind == "output"}
    return measure(case, found)[0], measure(case, found, {case.mode: outputs})[0]


def _faulty_load(fault: str, target: Target, case: Case) -> Truth | None:
    """Every tensor in float64 with the weights as a faulty loader gives them, None if that changes
    none of them. What a loader gets wrong is in the layouts of the target, and is brought back."""
    known = FAULTS[fault]
    if target.name != "onnx":
        changed = _changed(fault, target, case)
    elif known.change is None:
        places = spots(known, case)
        return run(known, places, case) if places else None
    else:
        new = {
            path: known.change(weight, case.feed.weights[path])
            for path, weight in case.joint.graph.weights.items()
        }
        changed = {path: array for path, array in new.items() if array is not None}
        if known.family == "single element" and changed:
            largest = max(changed, key=lambda p: case.feed.weights[p].size)
            changed = {largest: changed[largest]}
    feed = replace(case.feed, weights={**case.feed.weights, **changed})
    return case.joint.run(feed) if changed else None


def _changed(fault: str, target: Target, case: Case) -> dict[str, Any]:
    """The canonical weights that a loader in source gives otherwise than the file has them."""
    scope: dict[str, Any] = {}
    exec(SOURCE[target.name][fault].helper, scope)
    kept = target.map.convert(case.feed.weights)
    given = scope["planted"](dict(kept))
    if all(np.array_equal(given[key], kept[key]) for key in kept):
        return {}
    # A sum of two biases comes back as one of them: then both are taken as they come.
    found = target.map.invert(given)
    return {p: x for p, x in found.items() if not np.array_equal(x, case.feed.weights[p])}


def _changed_companions(made: Emitted, place: Path) -> bool:
    return any(place in Path(folder).parents for folder in made.gradients.values())


def _line(each: Planted) -> dict[str, Any]:
    row = each.worst
    return {
        "effect": each.effect and _finite(each.effect), "moved": each.moved,
        "ratio": _finite(row.ratio),
        "tensor": str(row.key), "mode": row.mode, "cases": each.cases, "verdict": row.verdict,
        "note": row.note[:200] if row.verdict == "failed" else "",
    }  # fmt: skip


def _finite(ratio: float) -> float:
    return ratio if math.isfinite(ratio) else 1e30


def main(
    out: Path, seeds: range, models: Sequence[str], faults: Sequence[str], targets: Sequence[str]
) -> None:
    done = {(x["model"], x["seed"], x["fault"], x["target"]) for x in read(out)}
    os.environ.update(EAGER)
    with Pool(targets) as pool, ThreadPoolExecutor(len(targets)) as threads, out.open("a") as file:
        for seed, name in product(seeds, models):
            missing = {t: [f for f in faults if (name, seed, f, t) not in done] for t in targets}
            if not any(missing.values()):
                continue
            with TemporaryDirectory() as directory:
                each = Model(name, seed, pool, Path(directory), targets)

                def plant(target: str, faults: Sequence[str], each: Model = each) -> None:
                    for fault in faults:
                        for line in each.lines(fault, [target]):
                            file.write(json.dumps(line) + "\n")
                            file.flush()
                            show(line)

                for _ in threads.map(plant, missing, missing.values()):
                    pass


def verdict(line: Mapping[str, Any]) -> str:
    """ "seen", "not seen", "no effect", "raised" or "no place"."""
    if line["verdict"] in ("no place", "failed"):
        return "raised" if line["verdict"] == "failed" else "no place"
    if line["ratio"] > LIMIT:
        return "seen"
    return "not seen" if counts(line) else "no effect"


def counts(line: Mapping[str, Any]) -> bool:
    """Whether a fault has an effect in this model and target."""
    if line["effect"] is None:
        return bool(line["moved"])
    return bool(line["effect"] > EFFECT)


def show(line: Mapping[str, Any]) -> None:
    """One line on the terminal."""
    word = verdict(line)
    if word != "no place":
        start = f"{line['model']:12} {line['fault']:38} {line['target']:9} {word:9}"
        print(f"{start} {line['ratio']:9.3g} {line['tensor']} {line['note']}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs=2, default=(FIRST, FIRST + 2))
    parser.add_argument("--models", nargs="+", default=NAMES)
    parser.add_argument("--faults", nargs="+", default=[*FAULTS])
    parser.add_argument("--targets", nargs="+", default=[*TARGETS])
    options = parser.parse_args()
    main(options.out, range(*options.seeds), options.models, options.faults, options.targets)
