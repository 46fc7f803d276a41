"""Planted faults, many: every kind in every model and target that has a place for it.

    python -m tests.proof.planted OUT.jsonl [--seeds FIRST LAST] [--models NAME ...]

One line for each fault, model, target and seed. `effect` says by how much float64 moves, in units
of the noise, when the reference has the fault in all its places. A pair counts if it does; or,
where the reference has no such place (a difference that only gradients have), if the file gives
other bits than the honest one (`moved`). `ratio` is the largest over the cases of a verification,
which ends where the fault is seen. What stands in the file already is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import mlc
from mlc.backends import TARGETS
from mlc.compiler.graph import Graph
from mlc.equivalence import Emitted, feeds
from mlc.equivalence.case import MODES, Case
from mlc.equivalence.compare import LIMIT, Row
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.faults import FAULTS, Fault
from mlc.equivalence.faults.sensitivity import EFFECT, measure, run, spots
from mlc.equivalence.reference import Truth
from mlc.equivalence.target import Target
from mlc.equivalence.verification import Jobs, _Run
from mlc.request import emitted
from tests.proof.examples import CONFIG, load
from tests.proof.honest import HEAVY, read
from tests.proof.own import OWN
from tests.proof.plants import SOURCE
from tests.proof.plants.loader import LOADED
from tests.proof.plants.onnx import ONNX, WEIGHTS
from tests.proof.plants.onnx import plant as plant_message
from tests.proof.plants.plant import Plant
from tests.proof.plants.plant import plant as plant_source

FIRST = 2000
"""The first seed: those of honest runs are below."""

NAMES = (*(name for name in CONFIG if name not in HEAVY), *OWN)


def model(name: str) -> Graph:
    """An example, or a model of the proof's own."""
    return mlc.load(OWN[name]) if name in OWN else load(name)


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

    def send(self, case: Case, target: Target) -> Jobs:
        return [(part, self._send(case, part)) for part in target.parts(case.mode)]

    def rows(self, case: Case, jobs: Jobs) -> list[Row]:
        return list(self._rows(case, jobs).values())

    def revived(self, target: str) -> bool:
        """Starts an engine anew that a file has brought down; whether one had."""
        died = self.pool[target].died
        self.pool.start([target])
        return died


NOTHING = Row("", "", "", "", "", "equal")


@dataclass
class Planted:
    """A fault in one target: what runs, whether a folder for gradients has it too, and what was
    found so far."""

    target: Target
    forward_only: bool
    effect: float = 0.0
    moved: bool = False
    cases: int = 0
    worst: Row = NOTHING

    @property
    def seen(self) -> bool:
        return self.worst.ratio > LIMIT or self.worst.verdict == "failed"

    @property
    def done(self) -> bool:
        """Whether further cases would tell nothing: two without any effect are enough."""
        return self.seen or (self.cases > 1 and not self.moved and self.effect == 0)


class Model:
    """One model at one seed: its cases, what honest files give, and what faults do."""

    def __init__(
        self, name: str, seed: int, pool: Pool, directory: Path, targets: Sequence[str]
    ) -> None:
        self.name, self.seed, self.directory = name, seed, directory
        self.graph = model(name)
        self.bench = Bench(self.graph, pool)
        self.cases = self.bench.settled(seed)
        self.folders = {
            target: emitted(self.graph, target, str(directory / "honest"), MODES)
            for target in targets
        }
        self.honest: dict[tuple[str, int], Mapping[Any, Any]] = {}
        for target, folder in self.folders.items():
            whole = Target(target, folder, directory)
            for i, case in enumerate(self.cases):
                self.honest[target, i] = _tensors(self.bench.send(case, whole))

    def lines(self, fault: str, targets: Sequence[str]) -> Iterator[dict[str, Any]]:
        """A line for each target: "no place" where it has none for the fault."""
        known = {}
        for name in targets:
            place = self.directory / fault.replace(" ", "_").replace("%", "") / name
            made = with_fault(name, fault, self.folders[name], place)
            if made is not None:
                forward_only = name in ("onnx", "openvino") and not _changed_companions(made, place)
                place.mkdir(parents=True, exist_ok=True)
                known[name] = Planted(Target(name, made, place), forward_only)
        self._run(fault, known)
        for name in targets:
            base = {"fault": fault, "model": self.name, "target": name, "seed": self.seed}
            each = known.get(name)
            yield base | ({"verdict": "no place"} if each is None else _line(each))

    def _run(self, fault: str, known: Mapping[str, Planted]) -> None:
        """Runs one case after another, on all targets at once, until the fault is seen in each."""
        numbers = list(range(len(self.cases)))
        if FAULTS[fault].family == "training mode":
            other = [i for i in numbers if self.cases[i].mode != "training"]
            first = [i for i in numbers if self.cases[i].mode == "training"]
            numbers = [i for pair in zip(first, other, strict=True) for i in pair]
        for i in numbers:
            case, waiting = self.cases[i], [p for p in known.values() if not p.done]
            for each in waiting:
                each.effect = max(each.effect, self._effect(fault, each, case))
            sent = [(each, self.bench.send(case, each.target)) for each in waiting]
            for each, jobs in sent:
                each.cases += 1
                rows = self.bench.rows(case, jobs)
                each.worst = max(
                    [each.worst, *rows], key=lambda row: (row.verdict == "failed", row.ratio)
                )
                if self.bench.revived(each.target.name):
                    each.worst = replace(NOTHING, verdict="failed", note="the engine died")
                elif each.worst.verdict != "failed":
                    before = self.honest[each.target.name, i]
                    now = _tensors(jobs)
                    each.moved |= any(
                        not np.array_equal(now[k], before[k], equal_nan=True) for k in now
                    )

    def _effect(self, fault: str, each: Planted, case: Case) -> float:
        """By how much float64 moves in what the faulty files give."""
        keys = {k for k in case.truth if not each.forward_only or k.kind == "output"}
        if each.forward_only and case.mode == "training":
            return 0.0
        found = _faulty(fault, each.target, case)
        return measure(case, found, {case.mode: keys})[0] if found is not None else 0.0


def _faulty(fault: str, target: Target, case: Case) -> Truth | None:
    """Every tensor in float64 with the fault in all its places, None if it has none.

    What a loader gets wrong is in the layouts of the target, and is brought back from them.
    """
    known = FAULTS[fault]
    if fault in LOADED:
        changed: dict[str, Any] = {}
        if target.name == "onnx":
            weights = case.joint.graph.weights
            paths = [
                p for p in weights if known.change and _new(known, weights[p], case, p) is not None
            ]
            if known.family == "single element" and paths:
                paths = [max(paths, key=lambda p: case.feed.weights[p].size)]
            if known.change is not None:
                changed = {p: known.change(weights[p], case.feed.weights[p]) for p in paths}
        if target.name != "onnx":
            kept = target.map.convert(case.feed.weights)
            scope: dict[str, Any] = {}
            exec(SOURCE[target.name][fault].helper, scope)
            changed = dict(target.map.invert(scope["planted"](dict(kept))))
        if known.change is None and target.name == "onnx":
            return run(known, spots(known, case), case)
        same = all(np.array_equal(changed[p], case.feed.weights[p]) for p in changed)
        feed = replace(case.feed, weights={**case.feed.weights, **changed})
        return None if same else case.joint.run(feed)
    places = spots(known, case)
    return run(known, places, case) if places else None


def _new(known: Fault, weight: Any, case: Case, path: str) -> Any:
    assert known.change is not None
    return known.change(weight, case.feed.weights[path])


def _tensors(jobs: Jobs) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for part, job in jobs:
        found |= {(part.label, key): x for key, x in part.tensors(job.result()).items()}
    return found


def _changed_companions(made: Emitted, place: Path) -> bool:
    return any(place in Path(folder).parents for folder in made.gradients.values())


def _line(each: Planted) -> dict[str, Any]:
    row = each.worst
    return {
        "effect": _finite(each.effect), "moved": each.moved, "ratio": _finite(row.ratio),
        "tensor": str(row.key), "mode": row.mode, "cases": each.cases, "verdict": row.verdict,
        "note": row.note[:200] if row.verdict == "failed" else "",
    }  # fmt: skip


def _finite(ratio: float) -> float:
    return ratio if math.isfinite(ratio) else 1e30


def main(
    out: Path, seeds: range, models: Sequence[str], faults: Sequence[str], targets: Sequence[str]
) -> None:
    done = {(x["model"], x["seed"], x["fault"], x["target"]) for x in read(out)}
    with Pool(targets) as pool, out.open("a") as file:
        for name in models:
            for seed in seeds:
                missing = {
                    fault: left
                    for fault in faults
                    if (left := [t for t in targets if (name, seed, fault, t) not in done])
                }
                if not missing:
                    continue
                with TemporaryDirectory() as directory:
                    each = Model(name, seed, pool, Path(directory), targets)
                    for fault, left in missing.items():
                        lines = list(each.lines(fault, left))
                        file.write("".join(json.dumps(line) + "\n" for line in lines))
                        file.flush()
                        for line in lines:
                            show(line)


def verdict(line: Mapping[str, Any]) -> str:
    """ "seen", "not seen", "no effect", "raised" or "no place"."""
    if line["verdict"] in ("no place", "failed"):
        return "raised" if line["verdict"] == "failed" else "no place"
    if line["ratio"] > LIMIT:
        return "seen"
    return "not seen" if counts(line) else "no effect"


def counts(line: Mapping[str, Any]) -> bool:
    """Whether a fault has an effect in this model and target."""
    if line["effect"] == 0:
        return bool(line["moved"])
    return bool(line["effect"] > EFFECT)


def show(line: Mapping[str, Any]) -> None:
    """One line on the terminal."""
    word = verdict(line)
    if word != "no place":
        print(f"{line['model']:12} {line['fault']:38} {line['target']:9} {word:9}", end=" ")
        print(
            f"{line['ratio']:9.3g} {line['effect']:9.3g} {line['tensor']} {line['note']}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs=2, default=(FIRST, FIRST + 2))
    parser.add_argument("--models", nargs="+", default=NAMES)
    parser.add_argument("--faults", nargs="+", default=[*FAULTS])
    parser.add_argument("--targets", nargs="+", default=[*TARGETS])
    options = parser.parse_args()
    main(options.out, range(*options.seeds), options.models, options.faults, options.targets)
