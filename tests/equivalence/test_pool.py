"""Engine processes that are missing, die, or raise."""

from pathlib import Path

import pytest

from mlc.equivalence.engines.pool import EngineDied, EngineMissing, Pool, RunFailed
from mlc.equivalence.engines.protocol import Job

JOB = Job("nowhere", "none", ("x",), ("y",), {})


def shadow(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Puts a module in the place of torch, for the processes that start from now on."""
    (folder / "torch.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_framework_that_is_not_installed_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    shadow(monkeypatch, tmp_path, text)
    with Pool(["pytorch"]) as pool:
        with pytest.raises(EngineMissing, match="torch"):
            _ = pool["pytorch"].settings
        with pytest.raises(EngineMissing):
            pool["pytorch"].submit(JOB).result()


def test_a_process_that_dies_says_how_and_can_be_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shadow(
        monkeypatch, tmp_path, "import os, sys; print('last words', file=sys.stderr); os.abort()"
    )
    with Pool(["pytorch"]) as pool:
        first = pool["pytorch"]
        with pytest.raises(EngineDied, match=r"signal 6[\s\S]*last words"):
            first.submit(JOB).result()
        pool.start(["pytorch"])
        assert pool["pytorch"] is not first


def test_an_artefact_that_raises_leaves_its_engine_alive(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("def build(weights):\n    raise ValueError('no')\n")
    pool.start(["pytorch"])
    for _ in range(2):
        with pytest.raises(RunFailed, match="ValueError: no"):
            pool["pytorch"].submit(Job(str(tmp_path), "none", (), (), {})).result()
    assert pool["pytorch"].settings.precision == "f32"
