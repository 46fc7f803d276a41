"""Faults planted in emitted files: each is seen, in f32, on all targets that have its place."""

from collections.abc import Callable
from pathlib import Path

import pytest

import mlc
from mlc.compiler.graph import Graph
from mlc.equivalence import Report, verify
from mlc.equivalence.compare import LIMIT
from mlc.equivalence.engines.pool import Pool
from tests.proof.examples import load
from tests.proof.faults import FAULTS, OWN, Plant, element
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
    pool: Pool, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
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


@pytest.mark.proof
@pytest.mark.parametrize("target", ["pytorch", "keras", "jax", "openvino"])
def test_how_little_one_element_may_be_off(
    pool: Pool, tmp_path: Path, target: str, record_property: Callable[[str, object], None]
) -> None:
    """Halves the error of one element in 1e5 until it passes; weights are about 1/28."""
    graph = load("mnist")
    pool.start([target])
    by = 1e-3
    while seen(graph, target, by, pool, tmp_path):
        by /= 2
    record_property("visible", (target, 2 * by))
    assert 2 * by <= (5e-4 if target == "openvino" else 5e-5)


def seen(graph: Graph, target: str, by: float, pool: Pool, directory: Path) -> bool:
    """Whether MNIST with one element off by this is found to be different."""
    folders = planted(graph, {target: element(by)[target]}, directory)
    report = verify(graph, folders, pool=pool, sizes=1, modes=["inference"])
    return any(row.verdict == "different" for row in report.rows)
