"""Every example on every target: the emitted files compute what the model means, and learn as it.

Outputs, gradients by each input and each parameter and updated buffers, in both modes, at two
choices of every symbolic size; with one seed and few channels here, with five seeds and ResNets of
their real width under the marker `proof`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlc.backends import TARGETS
from mlc.compiler.graph import Graph
from mlc.equivalence import Report, verify
from mlc.equivalence.case import MODES
from mlc.equivalence.engines import DIFFERENTIABLE
from mlc.equivalence.engines.pool import Pool
from mlc.request import emitted
from tests.proof.examples import CONFIG, load, small

pytestmark = pytest.mark.xdist_group("engines")


def run(graph: Graph, pool: Pool, directory: Path, seeds: Sequence[int]) -> Report:
    """What verify finds in the artefacts of all targets."""
    pool.start(TARGETS)
    folders = {target: emitted(graph, target, str(directory), MODES) for target in TARGETS}
    return verify(graph, folders, pool=pool, seeds=seeds)


def expected(graph: Graph, target: str, mode: str) -> set[tuple[str, str]]:
    """The tensors that a target is compared in: kind and name."""
    found = {("output", name) for name in graph.outputs}
    trained = [path for path, weight in graph.weights.items() if weight.trainable]
    floats = [given.name for given in graph.inputs if given.type.floating]
    found |= {("parameter gradient", path) for path in trained}
    found |= {("input gradient", name) for name in floats}
    if mode == "training":
        found |= {("update", weight.path) for weight in graph.updates}
        if target in DIFFERENTIABLE:
            found |= {("dropout", "") for node in graph if "rate" in node.attrs}
            found |= {("noise", node.attrs["key"]) for node in graph if "key" in node.attrs}
    return found


def check(graph: Graph, report: Report, seeds: int) -> None:
    """All is equal, and nothing that should be compared was left out or could not be seen."""
    report.assert_equivalent()
    assert [row for row in report.rows if row.verdict != "equal"] == []
    assert {engine.target for engine in report.engines} == {*TARGETS}
    assert report.gradient_error < 1e-5
    modes = [(target, mode) for target in TARGETS for mode in MODES]
    for target, mode in modes:
        rows = [row for row in report.rows if (row.target, row.mode) == (target, mode)]
        names = {(row.kind, row.name if row.kind != "dropout" else "") for row in rows}
        assert names == expected(graph, target, mode)
        sizes = [
            dict(size.split(" = ") for size in row.size.split(", "))
            for row in rows
            if row.kind == "output"
        ]
        for symbol in graph.symbols:
            assert len({each[symbol] for each in sizes}) == 2
        assert len(sizes) == 2 * seeds * len(graph.outputs)


@pytest.mark.parametrize("name", CONFIG)
def test_an_example_is_equal_on_all_targets(
    pool: Pool, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    graph = small(name)
    report = run(graph, pool, tmp_path, [0])
    check(graph, report, 1)
    record_property("honest", (name, ratios(report)))


@pytest.mark.proof
@pytest.mark.parametrize("name", CONFIG)
def test_an_example_is_equal_for_five_seeds(
    pool: Pool, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    graph = load(name)
    report = run(graph, pool, tmp_path, range(5))
    check(graph, report, 5)
    record_property("honest", (name, ratios(report)))


def ratios(report: Report) -> dict[str, float]:
    """Target -> the largest ratio."""
    return {t: max(row.ratio for row in report.rows if row.target == t) for t in TARGETS}
