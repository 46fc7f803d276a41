"""Which faults a run would have seen: each is planted in the reference, and measured as in verify.

A fault is planted at one place at a time, and both forward and reverse mode are made anew from the
graph that has it. What moves no tensor in float64 is no fault of this model.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from ...compiler.clone import clone
from ...compiler.graph import Graph, Node
from ..case import Case
from ..compare import LIMIT, Row, judge
from ..reference import Joint, Key, Truth, derive
from ..report import Sight
from .fault import Fault, Sizes

Judged: TypeAlias = Mapping[str, Container[Key]]
"""Mode -> what some target was compared in."""

CERTAIN = 2 * LIMIT
"""The ratio from which a fault is certainly seen: an honest target's own error may lessen it."""

EFFECT = 1e-6
"""The ratio below which a fault has no effect: float64 rounds by no more."""

TRIED = 3
"""At how many places a fault is planted, one at a time: the first, the last, and between."""


def look(fault: Fault, cases: Sequence[Case], judged: Judged | None = None) -> Sight:
    """What the cases of a run would have seen of a fault, in the tensors that it judged (None: all
    that the reference gives)."""
    places = sorted({place for case in _first_of_each_mode(cases) for place in spots(fault, case)})
    if not places:
        return Sight(fault.name, fault.family, "no place")
    chosen = [places] if fault.everywhere else [[place] for place in _spread(places)]
    found = [(*_best(fault, each, cases, judged), each) for each in chosen]
    moved = [each for each in found if each[0] > EFFECT]
    if not moved:
        return Sight(fault.name, fault.family, "no effect", len(places), len(chosen))
    ratio, tensor, (place, *_) = min(moved)
    return Sight(
        fault.name, fault.family, "seen" if ratio >= CERTAIN else "not seen", len(places),
        len(chosen), ratio, tensor, _where(place, cases[0]),
    )  # fmt: skip


def _first_of_each_mode(cases: Sequence[Case]) -> Iterator[Case]:
    modes: set[str] = set()
    for case in cases:
        if case.mode not in modes:
            modes.add(case.mode)
            yield case


def _spread(places: Sequence[Any]) -> list[Any]:
    last = len(places) - 1
    return [places[i] for i in sorted({last * i // (TRIED - 1) for i in range(TRIED)})]


def _best(
    fault: Fault, places: Sequence[int], cases: Sequence[Case], judged: Judged | None
) -> tuple[float, str]:
    """The largest ratio that the fault has in a tensor of a case; stops where that is certain."""
    best = (0.0, "")
    for case in cases:
        best = max(best, measure(case, run(fault, places, case), judged))
        if best[0] >= CERTAIN:
            break
    return best


def spots(fault: Fault, case: Case) -> list[int]:
    """The places of a fault, as numbers of nodes or of weights."""
    if fault.change is not None:
        weights = case.joint.graph.weights.items()
        return [
            i for i, (path, weight) in enumerate(weights)
            if fault.change(weight, case.feed.weights[path]) is not None
        ]  # fmt: skip
    graph, _ = clone(case.joint.forward)
    return [i for i, node in enumerate(tuple(graph.nested())) if _edit(fault, node, case.sizes)]


def _edit(fault: Fault, node: Node, sizes: Sizes) -> bool:
    assert fault.edit is not None
    return bool(fault.edit(node, sizes))


def planted(fault: Fault, places: Sequence[int], forward: Graph, sizes: Sizes) -> Joint:
    """The reference of a graph with the fault in these of its nodes."""
    graph, _ = clone(forward)
    nodes = tuple(graph.nested())
    for place in places:
        _edit(fault, nodes[place], sizes)
    return derive(graph)


def run(fault: Fault, places: Sequence[int], case: Case) -> Truth:
    """Every tensor of a case as it is with the fault."""
    if fault.change is None:
        return planted(fault, places, case.joint.forward, case.sizes).run(case.feed)
    weights = dict(case.feed.weights)
    for i, (path, weight) in enumerate(case.joint.graph.weights.items()):
        if i in places:
            weights[path] = fault.change(weight, weights[path])
    return case.joint.run(replace(case.feed, weights=weights))


def measure(case: Case, found: Truth, judged: Judged | None = None) -> tuple[float, str]:
    """The largest ratio of what was found to the truth, and the tensor that has it."""
    best = (0.0, "")
    for key, wanted in case.truth.items():
        known = judged is None or key in judged.get(case.mode, ())
        if key in case.unseen or key not in found or not known:
            continue
        row = Row("reference", case.mode, case.title, key.kind, key.name, "failed")
        ratio = judge(row, found[key], wanted, case.scales[key]).ratio
        best = max(best, (math.inf if math.isnan(ratio) else ratio, str(key)))
    return best


def _where(place: int, case: Case) -> str:
    """A place in words, of the graph that all modes share."""
    nodes = tuple(case.joint.forward.nested())
    span = nodes[place].span if place < len(nodes) else None
    return str(span) if span else ""
