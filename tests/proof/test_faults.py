"""Faults planted in emitted files are seen: each kind in small models; `planted` runs the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlc.equivalence import Report, verify
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.faults import FAULTS
from tests.proof.examples import load
from tests.proof.planted import Model, verdict, with_source
from tests.proof.plants import SOURCE
from tests.proof.plants.loader import LOADED
from tests.proof.plants.onnx import ONNX, WEIGHTS
from tests.proof.plants.plant import Plant

pytestmark = pytest.mark.xdist_group("engines")

MODELS = ("windows", "turns", "shares", "gates", "gpt", "lenet", "bert", "mnist")
"""Small models; a fault is planted in the first that has a place for it."""

QUICK = ("pytorch", "onnx")
"""The targets in which every kind is planted here."""

SLOW = {
    "keras": ("eps of layer norm", "square weight transposed", "batch in another order"),
    "jax": ("the other GELU", "gradient of a shared weight cut", "one element 10 % off"),
    "openvino": ("causal mask dropped", "scale of attention 1 % off", "running mean not loaded"),
}
"""Some in each other target: their engines take seconds for each file."""


@pytest.fixture(scope="module")
def models(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    known: dict[tuple[str, str], Model] = {}

    def model(name: str, target: str) -> Model:
        targets = QUICK if target in QUICK else (target,)
        pool.start(targets)
        key = (name, targets[0])
        if key not in known:
            place = tmp_path_factory.mktemp("-".join(key))
            known[key] = Model(name, 2000, pool, place, targets)
        return known[key]

    return model


def lines(models: Callable[..., Model], fault: str, target: str) -> Iterator[dict[str, object]]:
    """A line for each model until one has a place for the fault."""
    for name in MODELS:
        (line,) = models(name, target).lines(fault, [target])
        if verdict(line) not in ("no place", "no effect"):
            yield line
            return


def places(target: str) -> list[str]:
    """The kinds that have an edit for a target."""
    known = {*ONNX, *WEIGHTS} if target == "onnx" else {*SOURCE[target]}
    return [name for name in FAULTS if name in known]


@pytest.mark.parametrize("target", QUICK)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(
    models: Callable[..., Model],
    fault: str,
    target: str,
    record_property: Callable[[str, object], None],
) -> None:
    found = list(lines(models, fault, target))
    if fault not in places(target):
        assert not found
        return
    assert [verdict(line) for line in found] == ["seen"], found
    record_property("faulty", (fault, target, found[0]["ratio"]))


@pytest.mark.parametrize(
    ("target", "fault"), [(target, fault) for target, each in SLOW.items() for fault in each]
)
def test_a_fault_is_seen_in_other_targets(
    models: Callable[..., Model], fault: str, target: str
) -> None:
    assert [verdict(line) for line in lines(models, fault, target)] == ["seen"]


def test_every_edit_is_of_a_kind_that_the_catalogue_has() -> None:
    assert {*ONNX, *WEIGHTS} <= {*FAULTS}
    assert all({*table} <= {*FAULTS} for table in SOURCE.values())
    assert {*LOADED} <= {*FAULTS}
    planted = {*ONNX, *WEIGHTS}.union(*SOURCE.values())
    assert planted == {*FAULTS}


@pytest.mark.proof
@pytest.mark.parametrize("target", ["pytorch", "keras", "jax", "openvino"])
def test_how_little_one_element_may_be_off(
    pool: Pool, tmp_path: Path, target: str, record_property: Callable[[str, object], None]
) -> None:
    """Halves the error of one element in 1e5 until it passes; weights are about 1/28."""
    pool.start([target])
    by = 1e-3
    while _differs(target, by, pool, tmp_path):
        by /= 2
    record_property("visible", (target, 2 * by))
    assert 2 * by <= (5e-4 if target == "openvino" else 5e-5)


def _differs(target: str, by: float, pool: Pool, directory: Path) -> bool:
    """Whether MNIST with one element of its first weight off by this is found to be different."""
    helper = f"""
def planted(tensors):
    for key, w in tensors.items():
        if "linear1" in key and len(w.shape) > 1:
            one = (w == w.reshape(-1)[50_000]) + w * 0
            tensors[key] = w + (w * 0 + {by}) * one
    return tensors
"""
    fault = Plant({"load_file(weights)": "planted(load_file(weights))"}, helper)
    graph = load("mnist")
    folder = with_source(graph, target, fault, directory)
    report: Report = verify(graph, {target: folder}, pool=pool, sizes=1, modes=["inference"])
    return any(row.verdict == "different" for row in report.rows)
