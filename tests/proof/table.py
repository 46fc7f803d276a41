"""What the runs of `honest` and `planted` say together, as the tables of docs/proof.md.

    python -m tests.proof.table HONEST.jsonl PLANTED.jsonl [...]

Of lines for the same fault, model, target and seed, the last counts. Ends with 1 where an honest
run raised an alarm, or where fewer than SHARE of the faults were seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlc.backends import TARGETS
from mlc.equivalence.compare import LIMIT
from mlc.equivalence.faults import FAULTS
from tests.proof.honest import read
from tests.proof.planted import verdict

SHARE = 0.99
"""How many of the pairs with an effect must be seen."""

RUNS = 1000
"""How many honest runs there must be."""

Line = dict[str, Any]


def honest(lines: Sequence[Line]) -> Iterator[str]:
    """The largest ratio of each target, at the usual mean and at the large one."""
    means = sorted({line["mean"] for line in lines})
    yield "| target | runs | " + " | ".join(f"largest, mean {mean:g}" for mean in means) + " | in |"
    yield "|---|---:|" + "---:|" * len(means) + "---|"
    for target in TARGETS:
        own = [line for line in lines if line["target"] == target]
        worst = [max((x["ratio"] for x in own if x["mean"] == mean), default=0.0) for mean in means]
        place = max(own, key=lambda line: float(line["ratio"]))
        ratios = " | ".join(f"{ratio:.2f}" for ratio in worst)
        yield f"| {target} | {len(own)} | {ratios} | {place['model']}, {place['tensor']} |"


def alarms(lines: Iterable[Line]) -> list[Line]:
    """The honest runs that were not found equal."""
    bad = {"different", "suspicious", "failed"}
    return [line for line in lines if line["ratio"] > LIMIT or bad & line["verdicts"].keys()]


def planted(lines: Sequence[Line]) -> Iterator[str]:
    """For each kind: the pairs that were seen, of those with an effect, and the smallest ratio."""
    yield "| fault | family | " + " | ".join(TARGETS) + " | smallest ratio | in |"
    yield "|---|---|" + "---:|" * len(TARGETS) + "---:|---|"
    for name, fault in FAULTS.items():
        own = [line for line in lines if line["fault"] == name]
        cells = [_cell([line for line in own if line["target"] == target]) for target in TARGETS]
        moved = [line for line in own if verdict(line) in ("seen", "not seen")]
        least = min(moved, key=lambda line: float(line["ratio"]), default=None)
        end = "| | |" if least is None else f"| {least['ratio']:.2g} | {least['model']} |"
        yield f"| {name} | {fault.family} | {' | '.join(cells)} {end}"


def _cell(lines: Sequence[Line]) -> str:
    """`seen/counted`, and how many ended by an error; nothing where none was planted."""
    count = Counter(map(verdict, lines))
    counted = count["seen"] + count["not seen"]
    raised = f" +{count['raised']}" if count["raised"] else ""
    return f"{count['seen']}/{counted}{raised}" if counted or raised else ""


def main(paths: Sequence[Path]) -> int:
    runs = read(paths[0])
    keys = ("model", "target", "fault", "seed")
    latest = {tuple(x[key] for key in keys): x for path in paths[1:] for x in read(path)}
    faults = list(latest.values())
    print(*honest(runs), "", *planted(faults), "", sep="\n")
    count = Counter(map(verdict, faults))
    counted = count["seen"] + count["not seen"]
    false = alarms(runs)
    share = count["seen"] / max(counted, 1)
    print(f"honest runs: {len(runs)}, of which {len(false)} raised an alarm")
    print(f"planted: {counted} with an effect, {count['seen']} seen ({100 * share:.2f} %)")
    print(f"without an effect: {count['no effect']}; ended by an error: {count['raised']}")
    for line in faults:
        if verdict(line) in ("not seen", "raised"):
            words = (line["fault"], line["model"], line["target"], line["note"])
            print(f"{verdict(line)}: {', '.join(filter(None, words))} ({line['ratio']:.3g})")
    return int(bool(false) or len(runs) < RUNS or share < SHARE)


if __name__ == "__main__":
    sys.exit(main([Path(text) for text in sys.argv[1:]]))
