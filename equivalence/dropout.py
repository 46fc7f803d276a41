"""Dropout at its own rate: no two frameworks draw the same mask, so it is judged by statistics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ..compiler.graph import Graph
from .compare import Row
from .engines.protocol import Drop
from .report import Unseen

SIGMAS = 5.0
"""How many standard deviations the share of zeros may be off its rate."""

SCALE = 1e-5
"""The relative error that what is kept may have against input / (1 - rate)."""

TELLING = 40
"""Elements of which two fresh masks are practically never equal."""


def rates(graph: Graph) -> list[float]:
    """The rates, other than zero, of the graph's dropout nodes that are given no mask."""
    return [
        float(node.attrs["rate"])
        for node in graph
        if node.op.effect == "random" and node.attrs.get("rate") and node.inputs[1] is None
    ]


def watch(
    target: str, size: str, wanted: Sequence[float], drops: Sequence[Drop], scale: float = SCALE
) -> tuple[list[Row], list[Unseen]]:
    """Rows for the layers that were watched in two calls, and what was not watched.

    A row is different if the layer has a rate that the graph has not, drops another share, scales
    the rest otherwise, or drops the same elements again. `scale` is how far off it may scale.
    """
    by_name: dict[str, list[Drop]] = {}
    for drop in drops:
        if drop.rate > 0:
            by_name.setdefault(drop.name, []).append(drop)
    calls = Counter(round(drop.rate, 6) for drop in drops if drop.rate > 0)
    missing = Counter(round(rate, 6) for rate in wanted for _ in range(2)) - calls
    rows = []
    for name, seen in by_name.items():
        faults = list(_faults(seen, wanted, scale))
        verdict = "different" if faults else "equal"
        note = "; ".join(faults)
        rows.append(Row(target, "training", size, "dropout", name, verdict, note=note))
    unseen = [
        Unseen(f"{count // 2} dropout of rate {rate:g}", "no layer of that rate was called", target)
        for rate, count in missing.items()
    ]
    return rows, unseen


def _faults(seen: Sequence[Drop], wanted: Sequence[float], scale: float) -> Iterable[str]:
    first = seen[0]
    if not any(math.isclose(first.rate, rate, abs_tol=1e-6) for rate in wanted):
        yield f"its rate is {first.rate:g}, and the model has none of that"
    count = sum(drop.count for drop in seen)
    share = sum(drop.zeros for drop in seen) / max(count, 1)
    spread = math.sqrt(first.rate * (1 - first.rate) / max(count, 1))
    if abs(share - first.rate) > SIGMAS * spread:
        yield f"it drops {share:.1%} at the rate {first.rate:.1%}"
    if max(drop.scale for drop in seen) > scale:
        yield "it does not scale what it keeps by 1 / (1 - rate)"
    if count >= TELLING * len(seen) and len({drop.digest for drop in seen}) < len(seen):
        yield "it drops the same elements again"
