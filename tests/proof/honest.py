"""Honest runs, many: how large the ratio becomes where nothing is wrong.

    python -m tests.proof.honest OUT.jsonl [--seeds FIRST LAST] [--models NAME ...]

One line a run: a model on a target, in a mode, at a choice of sizes, for one seed. The seeds start
at 1000, so that none of them was among those that the limit was calibrated with. Models of float
inputs are run around the usual mean and around a large one. What stands in the file already is not
run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlc.backends import TARGETS
from mlc.compiler.graph import Graph
from mlc.equivalence import Report, verify
from mlc.equivalence.case import MODES
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.feeds import MEAN
from mlc.request import emitted
from tests.proof.examples import CONFIG, small

FIRST = 1000
"""The first seed; those below 1000 were used while the limit was chosen."""

LARGE = 30.0
"""A mean of which the square is 900 times the variance, as a bad formula of a variance needs."""

MEANS = (MEAN, LARGE)

Line = dict[str, Any]


def runs(
    name: str, graph: Graph, folders: Any, pool: Pool, seed: int, mean: float
) -> Iterator[Line]:
    """A line for each target, mode and choice of sizes."""
    report = verify(graph, folders, pool=pool, seeds=[seed], mean=mean)
    for target in TARGETS:
        for mode in MODES:
            for size in dict.fromkeys(row.size for row in report.rows):
                yield _line(name, report, target, mode, size) | {"seed": seed, "mean": mean}


def _line(name: str, report: Report, target: str, mode: str, size: str) -> Line:
    """The worst of the rows of one run."""
    rows = [row for row in report.rows if (row.target, row.mode, row.size) == (target, mode, size)]
    compared = [row for row in rows if row.kind not in ("dropout", "noise")]
    worst = max(compared, key=lambda row: row.ratio)
    count = {v: sum(row.verdict == v for row in rows) for v in {row.verdict for row in rows}}
    return {
        "model": name, "target": target, "mode": mode, "size": size, "ratio": worst.ratio,
        "tensor": str(worst.key), "verdicts": count,
    }  # fmt: skip


def read(path: Path) -> list[Line]:
    """The lines of a file, none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(out: Path, seeds: range, models: list[str]) -> None:
    done = {(line["model"], line["seed"], line["mean"]) for line in read(out)}
    with Pool(TARGETS) as pool, TemporaryDirectory() as directory, out.open("a") as file:
        for name in models:
            graph = small(name)
            # Without inputs of floats a mean changes nothing, and a run would stand here twice.
            means = MEANS if any(given.type.floating for given in graph.inputs) else MEANS[:1]
            missing = [(s, m) for s in seeds for m in means if (name, s, m) not in done]
            if not missing:
                continue
            folders = {
                target: emitted(graph, target, f"{directory}/{name}", MODES) for target in TARGETS
            }
            for seed, mean in missing:
                found = list(runs(name, graph, folders, pool, seed, mean))
                file.write("".join(json.dumps(line) + "\n" for line in found))
                file.flush()
                worst = max(found, key=lambda line: float(line["ratio"]))
                print(f"{name}, seed {seed}, mean {mean}: {len(found)} runs, at most", end=" ")
                print(f"{worst['ratio']:.3g} in {worst['tensor']} of {worst['target']}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs=2, default=(FIRST, FIRST + 4))
    parser.add_argument("--models", nargs="+", default=[*CONFIG])
    options = parser.parse_args()
    main(options.out, range(*options.seeds), options.models)
