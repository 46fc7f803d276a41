"""Faults planted in emitted files: each is seen, in f32, on all targets that have its place."""

from pathlib import Path

import pytest

import mlc
from mlc.compiler.graph import Graph
from mlc.equivalence import Report, verify
from mlc.equivalence.compare import LIMIT
from mlc.equivalence.engines.pool import Pool
from tests.proof.examples import load
from tests.proof.faults import FAULTS, OWN, Plant
from tests.proof.plant import plant

pytestmark = pytest.mark.xdist_group("engines")


def planted(graph: Graph, plants: dict[str, Plant], directory: Path) -> dict[str, str | Path]:
    """The artefact of each target, with the fault in its source."""
    folders: dict[str, str | Path] = {}
    for target, edit in plants.items():
        folders[target] = folder = mlc.compile(graph, target).save(directory)
        (path,) = (p for p in folder.glob("*.py") if p.name != "__init__.py")
        path.write_text(plant(path.read_text(), edit.pattern, edit.replacement, edit.helper))
    return folders


def worst(report: Report, target: str) -> float:
    """The ratio of the worst tensor of a target, which must be `different`."""
    row = next(row for row in report.faults if row.target == target)
    assert row.verdict == "different", report.text()
    return row.ratio


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(
    pool: Pool, tmp_path: Path, name: str, record_property: pytest.RecordProperty
) -> None:
    fault = FAULTS[name]
    graph = mlc.load(OWN[fault.model]) if fault.model in OWN else load(fault.model)
    pool.start(fault.plants)
    for mode, targets in fault.modes.items():
        folders = planted(graph, {target: fault.plants[target] for target in targets}, tmp_path)
        report = verify(graph, folders, pool=pool, sizes=1, modes=[mode])
        assert report.exit_code == 1
        for target in targets:
            ratio = worst(report, target)
            assert ratio > LIMIT
            record_property("faulty", (name, target, ratio))
