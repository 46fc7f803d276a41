"""The package as users install it: wheel, sdist and editable, with no framework beside it.

Each is installed with its core dependencies alone into an environment of its own, and has to
compile a model to every target that is text, and to say what is missing for the one that is not.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mlc.backends import TARGETS

ROOT = Path(__file__).parents[2]
TEXTUAL = [name for name in TARGETS if name != "onnx"]


def _run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel made from it, and the wheel made from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    _run(*build, folder, ROOT, cwd=folder)
    _run(*build, folder / "direct", "--wheel", ROOT, cwd=folder)
    return folder


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _ours() -> set[str]:
    """What the wheel must hold of the checkout: the files of mlc/ and of the rooms."""
    suffixes = (".lark", ".mdl", ".py", ".typed")
    found = [p for p in (ROOT / "mlc").iterdir() if p.is_file()]
    for room in (p for p in (ROOT / "mlc").iterdir() if p.is_symlink()):
        found += [room / p.relative_to(room.resolve()) for p in room.resolve().rglob("*")]
    return {str(p.relative_to(ROOT)) for p in found if p.suffix in suffixes}


def test_wheel_and_sdist_hold_the_package_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (direct,) = (dist / "direct").glob("*.whl")
    contents = _contents(wheel)
    assert contents == _contents(direct)
    assert {name.partition("/")[0].partition("-")[0] for name in contents} == {"mlc"}
    assert _ours() <= contents.keys()
    assert not any("__pycache__" in name for name in contents)
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "Makefile", "constraints.txt"} <= names
    assert not {name for name in names if name.startswith((".venv", "build/", ".git/"))}


PROBE = """
import importlib.util as u, pathlib, mlc
absent = [m for m in {modules} if u.find_spec(m) is None]
print(len(absent) == {count}, pathlib.Path(mlc.__file__).parent)
"""


@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_an_install_without_frameworks_compiles(dist: Path, tmp_path: Path, form: str) -> None:
    python = _install(dist, tmp_path, form)
    modules = sorted({target.module for target in TARGETS.values()})
    probe = PROBE.format(modules=modules, count=len(modules))
    absent, home = _run(python, "-c", probe, cwd=tmp_path).split()
    assert absent == "True", "a framework is installed"
    assert Path(home).is_relative_to(ROOT) == (form == "editable")

    mlc = python.parent / "mlc"
    model = ROOT / "examples" / "mnist.mdl"
    _run(mlc, "compile", model, "--target", ",".join(TEXTUAL), "-o", "out", cwd=tmp_path)
    for target in TEXTUAL:
        text = (tmp_path / "out" / f"mnist_{target}" / "mnist.py").read_text()
        command = (python, "-m", "mlc", "compile", model, "-t", target, "-o", "-")
        assert _run(*command, cwd=tmp_path) == text
        compile(text, target, "exec")
    assert _run(mlc, "targets", cwd=tmp_path).count("not installed: pip install 'mlc[") == 5
    done = subprocess.run(
        [mlc, "compile", model, "-t", "onnx"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "pip install 'mlc[onnx]'" in done.stderr
    assert "Traceback" not in done.stderr


def _install(dist: Path, folder: Path, form: str) -> Path:
    """A fresh environment with the package and its core dependencies; returns its Python."""
    _run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    what = {
        "wheel": [next((dist / "direct").glob("*.whl"))],
        "sdist": [next(dist.glob("*.tar.gz"))],
        "editable": ["--editable", ROOT],
    }[form]
    _run(*pip, "--constraint", ROOT / "constraints.txt", *what, cwd=folder)
    return python
