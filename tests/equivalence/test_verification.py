"""Verify, on one network and its handwritten file, honest and not."""

from pathlib import Path

import pytest

import mlc
from mlc.equivalence import Report, verify
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.report import render
from tests.equivalence.networks import SOURCE, network, save


def run(pool: Pool, directory: Path, source: str = SOURCE, **options: object) -> Report:
    return verify(network(), {"pytorch": save(directory, source)}, pool=pool, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def honest(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return run(pool, tmp_path_factory.mktemp("honest"))


def test_an_honest_file_is_equal(honest: Report) -> None:
    honest.assert_equivalent()
    assert (honest.equal, honest.exit_code) == (True, 0)
    assert honest.worst < 4
    assert honest.gradient_error < 1e-8
    kinds = {(row.mode, row.size, row.kind, row.name) for row in honest.rows}
    for mode in ("inference", "training"):
        for size in ("B = 5", "B = 4"):
            assert (mode, size, "output", "y") in kinds
            assert (mode, size, "input gradient", "x") in kinds
            assert (mode, size, "parameter gradient", "linear1.bias") in kinds


def test_dropout_is_watched_at_its_own_rate(honest: Report) -> None:
    rows = [row for row in honest.rows if row.kind == "dropout"]
    assert [(row.name, row.verdict) for row in rows] == [("drop", "equal")]


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("torch.relu(", "nn.functional.leaky_relu(", "output y"),
        ("(self.linear1(x))", "(self.linear1(x)).detach()", "parameter gradient linear1.weight"),
        ("nn.Dropout(0.25)", "nn.Dropout(0.3)", "dropout drop"),
        ("self.drop(", "self.drop.eval()(", "dropout"),
    ],
    ids=["slope", "detached", "rate", "frozen dropout"],
)
def test_a_fault_is_named(pool: Pool, tmp_path: Path, old: str, new: str, name: str) -> None:
    report = run(pool, tmp_path, SOURCE.replace(old, new), sizes=1, modes=["training"])
    assert report.exit_code == 1
    with pytest.raises(AssertionError, match=name):
        report.assert_equivalent()


def test_a_file_that_raises_has_failed(pool: Pool, tmp_path: Path) -> None:
    report = run(pool, tmp_path, SOURCE.replace("(17, 12)", "(12, 17)"), sizes=1)
    assert report.exit_code == 1
    assert {row.verdict for row in report.rows} == {"failed"}
    assert "size mismatch" in report.text()


def test_a_process_that_dies_is_exit_code_three(pool: Pool, tmp_path: Path) -> None:
    source = SOURCE.replace("return self.linear2", "import os; os._exit(9)")
    report = run(pool, tmp_path, source, sizes=1)
    assert report.exit_code == 3
    assert [engine.problem for engine in report.engines] == ["died"]
    assert "exit code 9" in report.text()
    assert not report.equal


def test_the_report_is_json_text_and_a_table(honest: Report) -> None:
    import json

    from rich.console import Console

    table = json.loads(json.dumps(honest.to_json()))
    assert (table["verdict"], table["limit"]) == ("equal", 16.0)
    assert table["engines"][0]["versions"]["torch"]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        render(honest, console)
    text = console.export_text()
    assert "parameter gradients" in text
    assert "Net: equal" in text


def test_weights_of_the_user_are_used_and_progress_is_told(pool: Pool, tmp_path: Path) -> None:
    import numpy as np

    weights = {
        path: np.zeros([int(str(size)) for size in weight.type.shape], np.float32)
        for path, weight in network().weights.items()
    }
    weights["linear2.bias"][:] = 3.0
    steps: list[tuple[int, int]] = []
    report = run(
        pool, tmp_path, weights=weights, sizes=1, modes=["inference"],
        progress=lambda done, total, text: steps.append((done, total)),
    )  # fmt: skip
    report.assert_equivalent()
    assert steps == [(1, 2), (2, 2)]
    assert any("training mode" in unseen.what for unseen in report.unseen)


def test_what_no_output_depends_on_may_be_left_out(pool: Pool, tmp_path: Path) -> None:
    """Keras leaves out a layer that no output needs: its tensors are not judged."""
    model = """
model Net:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    y = x -> linear(4) -> batch_norm
    unused = x -> linear(3) -> batch_norm
"""
    graph = mlc.load(model)
    folder = mlc.compile(graph, "keras", name="net").save(tmp_path)
    report = verify(graph, {"keras": folder}, pool=pool, sizes=1)
    report.assert_equivalent()
    unseen = {row.name for row in report.rows if row.verdict == "unseen"}
    assert unseen == {path for path in graph.weights if "2." in path}
    assert all("no output" in row.note for row in report.rows if row.name in unseen)


NAMED = """
block Scale(rate):
    in  x: f32[B, C]
    out y: like x
    param my_dropout: f32[C] = ones
    y = x * exp(my_dropout * rate)
model Named(rate = 0.5):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    y = x -> Scale(rate) -> linear(4)
"""


def test_a_layer_that_is_only_called_dropout_keeps_its_rate(pool: Pool, tmp_path: Path) -> None:
    graph = mlc.load(NAMED)
    folder = mlc.compile(graph, "keras").save(tmp_path)
    assert "class MyDropout(keras.layers.Layer)" in (folder / "named.py").read_text()
    verify(graph, {"keras": folder}, pool=pool, sizes=1, modes=["training"]).assert_equivalent()
