"""The pytest plugin, as a user has it: installed like a wheel, in a test suite of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytest_plugins = ["pytester"]

NET = """model Net(width = 3):
    in  x: f32[B, 2]
    out y: f32[B, width]

    h = x -> linear(width)
    y = h -> tanh -> linear(width)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with mlc as a wheel installs it: real folders, and its metadata."""
    folder = tmp_path_factory.mktemp("site")
    copytree(ROOT / "mlc", folder / "mlc", ignore=ignore_patterns("__pycache__"))
    info = folder / "mlc-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlc\nVersion: 0.1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
        for group, table in PROJECT["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def suite(
    pytester: pytest.Pytester, site: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """An empty suite of a user, outside of the checkout."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    pytester.makefile(".mdl", net=NET)
    return pytester


def test_a_users_suite_passes(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from pathlib import Path
        from mlc.testing import assert_equivalent as plain

        def test_by_fixture(assert_equivalent, mlc_engines):
            report = assert_equivalent("net.mdl", targets=["pytorch"], gradients=True)
            kinds = {row.kind for row in report.rows}
            assert kinds == {"output", "input gradient", "parameter gradient"}

        def test_by_import(mlc_engines):
            report = plain(Path("net.mdl"), ["pytorch"], gradients=False, modes=["inference"],
                           config={"width": 5}, pool=mlc_engines)
            assert {row.kind for row in report.rows} == {"output"}

        def test_where_it_is_from():
            import mlc, pathlib
            assert "site" in pathlib.Path(mlc.__file__).parts[-3]
        """
    )
    result = suite.runpytest_subprocess("-q", "-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)


def test_a_failure_is_readable(suite: pytest.Pytester) -> None:
    """A fault is planted in the emitted file: sin for tanh."""
    suite.makepyfile(
        """
        import dataclasses
        from mlc.backends.artefact import Artefact

        def test_net(assert_equivalent, monkeypatch):
            save = Artefact.save
            def faulty(self, directory):
                files = {k: v.replace("tanh", "sin") for k, v in self.files.items()}
                return save(dataclasses.replace(self, files=files), directory)
            monkeypatch.setattr(Artefact, "save", faulty)
            assert_equivalent("net.mdl", targets=["pytorch"], modes=["inference"])
        """
    )
    result = suite.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * AssertionError: Net: different",
            "E * pytorch: output y (inference, B = *) is different: * times the rounding noise*",
            "E * pytorch first differs in the result of linear2 (net.py:*), * off; among tanh at *",
            "E * net.mdl:6: tanh",
            "E *     y = h -> tanh -> linear(width)",
            "E *              ^",
        ]
    )
    shown = result.stdout.str()
    assert "mlc/testing.py" not in shown
    assert "mlc/plugin.py" not in shown


def test_mistakes_are_those_of_the_command_line(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, mlc
        from mlc.testing import assert_equivalent

        def test_net():
            with pytest.raises(mlc.MlcError, match="no target is called 'torch'"):
                assert_equivalent("net.mdl", targets=["torch"])
            with pytest.raises(mlc.MlcError, match="cannot read none.mdl"):
                assert_equivalent("none.mdl")
        """
    )
    suite.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)


PROBE = """
import sys, time, pytest
before, start = {*sys.modules}, time.perf_counter()
import mlc.plugin
print(time.perf_counter() - start, *({*sys.modules} - before))
"""


def test_loading_it_costs_nothing(site: Path) -> None:
    """Every run of pytest loads it: no framework, no numpy, and nothing else of mlc."""
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, "PYTHONPATH": str(site)}, cwd=site,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds, *modules = done.stdout.split()
        assert {*modules} == {"mlc", "mlc.plugin"}
        times.append(float(seconds))
    assert min(times) < 0.02
