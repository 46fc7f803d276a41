"""Files that engineers wrote by hand, in four frameworks, against the graph of the same model.

The oracle of parser, elaboration, `eval` and reverse mode: none of them has part in these files.
"""

import json
from pathlib import Path

import pytest

import mlc
from mlc.equivalence import Report, verify
from mlc.equivalence.engines.pool import Pool
from tests.handwritten.folders import CONFIG, folder

EXAMPLES = Path(__file__).parents[2] / "examples"
TARGETS = ("pytorch", "keras", "jax", "openvino")


def run(name: str, targets: tuple[str, ...], directory: Path, pool: Pool, **options: int) -> Report:
    graph = mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name])
    folders = {target: folder(name, target, graph.weights, directory) for target in targets}
    return verify(graph, folders, pool=pool, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reports(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    pool.start(TARGETS)
    place = tmp_path_factory.mktemp("handwritten")
    return {name: run(name, TARGETS, place, pool) for name in CONFIG}


@pytest.mark.parametrize("name", list(CONFIG))
def test_the_handwritten_files_are_equal(reports: dict[str, Report], name: str) -> None:
    report = reports[name]
    report.assert_equivalent()
    assert report.worst < 6
    assert report.gradient_error < 1e-8
    assert not [row for row in report.rows if row.verdict == "unseen"]


def test_every_parameter_of_every_framework_is_compared(reports: dict[str, Report]) -> None:
    for name, report in reports.items():
        graph = mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name])
        trained = {path for path, weight in graph.weights.items() if weight.trainable}
        for target in ("pytorch", "keras", "jax"):
            for mode in ("inference", "training"):
                rows = [row for row in report.rows if (row.target, row.mode) == (target, mode)]
                by_kind = {
                    kind: {row.name for row in rows if row.kind == kind}
                    for kind in ("parameter gradient", "update", "output")
                }
                assert by_kind["parameter gradient"] == trained
                assert by_kind["output"] == {"logits"}
                buffers = graph.weights.keys() - trained if mode == "training" else set()
                assert by_kind["update"] == buffers


def test_a_key_bias_whose_gradient_is_zero_passes_as_noise(reports: dict[str, Report]) -> None:
    rows = [row for row in reports["gpt"].rows if row.name == "layers.0.attention.key.bias"]
    assert {row.verdict for row in rows} == {"equal"}
    assert {row.target for row in rows} == {"pytorch", "keras", "jax"}


def test_declared_deviations_are_listed(reports: dict[str, Report]) -> None:
    found = {deviation.target for deviation in reports["tiny_resnet"].deviations}
    assert found == {"keras", "jax"}


def test_a_deviation_must_be_declared_and_known(pool: Pool, tmp_path: Path) -> None:
    graph = mlc.load(EXAMPLES / "tiny_resnet.mdl")
    place = folder("tiny_resnet", "jax", graph.weights, tmp_path)
    manifest = place / "weights.json"
    declared = json.loads(manifest.read_text())
    (deviation,) = declared["interface"]["deviations"]

    def verdicts(deviations: list[object]) -> Report:
        declared["interface"]["deviations"] = deviations
        manifest.write_text(json.dumps(declared))
        return verify(graph, {"jax": place}, pool=pool, modes=["training"], sizes=1)

    report = verdicts([{**deviation, "name": "another"}])
    assert {row.kind for row in report.rows if row.verdict == "unseen"} == {"update"}
    assert any("deviation another" in unseen.reason for unseen in report.unseen)
    report = verdicts([])
    assert {row.name.rpartition(".")[2] for row in report.faults} == {"running_var"}
    assert min(row.ratio for row in report.faults) > 50
