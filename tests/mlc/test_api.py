"""The Python API: what counts as a path, and what each function returns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mlc
from mlc.request import setting

ROOT = Path(__file__).parents[2]
NET = """model Net(width = 4, act = "relu"):
    in  x: f32[B, 3]
    out y: f32[B, width]

    y = x -> linear(width) -> relu
"""


def test_importing_mlc_imports_nothing_else() -> None:
    code = "import __future__, sys, typing; old = {*sys.modules}; import mlc; "
    code += "print({*sys.modules} - old)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'mlc'}\n"


def test_every_public_name_is_there() -> None:
    assert mlc.Graph.__name__ == "Graph"
    assert issubclass(mlc.MlcError, Exception)
    assert mlc.Artefact.__name__ == "Artefact"
    assert mlc.Report.__name__ == "Report"
    assert {*mlc.__all__} <= {*dir(mlc)}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mlc.nothing


def test_text_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.mdl", "net"):
        Path(name).write_text(NET)
    for source in (NET, "net.mdl", Path("net.mdl"), Path("net"), "net", str(tmp_path / "net.mdl")):
        assert mlc.load(source).name == "Net"
    assert mlc.load(NET, width=7).outputs["y"].type.shape[1] == 7


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("none.mdl", "file"),
        (Path("none"), "file"),
        ("model.onnx", "import"),
        (Path("ir.xml"), "import"),
        ("model Net", "syntax"),
        ("", "model"),
        ("x" * 100_000, "limit"),
        ("a\0b.mdl", "syntax"),
    ],
)
def test_what_cannot_be_loaded(source: str | Path, code: str) -> None:
    with pytest.raises(mlc.MlcError) as caught:
        mlc.load(source)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a=3", ("a", 3)),
        ("a = -2.5e-3", ("a", -2.5e-3)),
        ("a=true", ("a", True)),
        ("a=none", ("a", None)),
        ("a=gelu", ("a", "gelu")),
        ("a='x=y'", ("a", "x=y")),
        ("a=[3, 4, 6, 3]", ("a", [3, 4, 6, 3])),
        ("a=[(1, 2), (3, 4)]", ("a", [(1, 2), (3, 4)])),
    ],
)
def test_settings(text: str, wanted: tuple[str, object]) -> None:
    assert setting(text) == wanted
