"""Artefact folders: what they hold, and that writing one is all or nothing."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlc.backends import TARGETS
from mlc.backends.artefact import (
    Artefact,
    Deviation,
    Interface,
    Port,
    module_name,
    read_interface,
    read_manifest,
)
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Type, Value
from mlc.compiler.weight import Entry, Step, WeightMap

SOURCE = textwrap.dedent('''
    """A model."""
    class Net:
        """A net."""
    def build(weights=None, **config):
        net = Net()
        net.weights, net.config = weights and weights.read_bytes(), config
        return net
''')
INTERFACE = Interface(
    "Net",
    (Port("x", "x_", "f32", ("B", "H", "3"), (0, 2, 1)), Port("keep", "keep", "bool", ("B",))),
    (Port("y", "y", "f32", ("B", "10")),),
    (Deviation("biased", "the variance is biased: n / (n - 1)", ("bn.running_var",)),),
)
MAP = WeightMap([Entry("kernel", ("weight",), (Step("permute", (1, 0)),))])
WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
ARTEFACT = Artefact("keras", "net", {"net.py": SOURCE}, MAP, INTERFACE)


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_saved_folder_is_complete(tmp_path: Path) -> None:
    folder = ARTEFACT.save(tmp_path)
    assert folder == tmp_path / "net_keras"
    assert _tree(folder).keys() == {"__init__.py", "README.md", "net.py", "weights.json"}
    assert (folder / "net.py").read_text() == ARTEFACT.source == SOURCE
    assert read_interface(folder) == (INTERFACE, MAP)
    assert read_manifest(folder)["target"] == "keras"
    assert os.listdir(tmp_path) == ["net_keras"]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_readme_says_what_a_reader_needs(tmp_path: Path) -> None:
    text = (ARTEFACT.save(tmp_path) / "README.md").read_text()
    assert len(text.splitlines()) == 10
    assert "`x_` f32[B, H, 3] (axes [0, 2, 1] of the model's), `keep` bool[B]" in text
    assert "biased: the variance is biased" in text
    assert all(f"{name} {version}" in text for name, version in TARGETS["keras"].versions.items())


def test_weights_are_written_as_the_target_wants_them(tmp_path: Path) -> None:
    folder = ARTEFACT.with_weights(WEIGHTS).save(tmp_path)
    written = load_file(folder / "weights.safetensors")
    assert written.keys() == {"kernel"}
    assert np.array_equal(written["kernel"], WEIGHTS["weight"].T)
    ARTEFACT.save(tmp_path)
    assert not (folder / "weights.safetensors").exists()


def test_build_runs_the_emitted_code_itself() -> None:
    net = ARTEFACT.with_weights(WEIGHTS).build(width=3)
    assert type(net).__name__ == "Net"
    assert net.config == {"width": 3}
    assert b"kernel" in net.weights
    assert ARTEFACT.build().weights is None


def test_a_target_that_needs_weights_says_so() -> None:
    fixed = replace(ARTEFACT, interface=replace(INTERFACE, weights=True))
    with pytest.raises(MlcError, match="none were given"):
        fixed.build()
    assert "weights" in vars(fixed.with_weights(WEIGHTS).build())


def test_the_init_file_is_what_a_linter_wants(tmp_path: Path) -> None:
    text = (ARTEFACT.save(tmp_path) / "__init__.py").read_text()
    assert isinstance(ast.parse(text).body[0], ast.Expr)
    assert 'from .net import Net, build\n\n__all__ = ["Net", "build"]\n' in text


def test_an_artefact_without_python_has_no_source() -> None:
    with pytest.raises(MlcError, match="no Python source"):
        _ = Artefact("onnx", "net", {"net.onnx": b"\0"}, MAP, INTERFACE).source


# --------------------------------------------------------------------------- all or nothing


def test_an_older_artefact_is_replaced(tmp_path: Path) -> None:
    folder = ARTEFACT.save(tmp_path)
    (folder / "__pycache__").mkdir()
    (folder / "net.py").write_text("edited")
    assert _tree(ARTEFACT.save(tmp_path))["net.py"] == SOURCE.encode()
    assert os.listdir(tmp_path) == ["net_keras"]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_failed_run_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    from mlc.backends import artefact

    before = _tree(ARTEFACT.save(tmp_path))
    if not atomic:
        monkeypatch.setattr(artefact, "_exchange", lambda a, b: False)
    with pytest.raises(KeyError):
        ARTEFACT.with_weights({}).save(tmp_path)
    assert _tree(tmp_path / "net_keras") == before
    assert os.listdir(tmp_path) == ["net_keras"]
    changed = Artefact("keras", "net", {"net.py": SOURCE + "#"}, MAP, INTERFACE)
    assert _tree(changed.save(tmp_path))["net.py"].endswith(b"#")
    assert os.listdir(tmp_path) == ["net_keras"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.backends.test_artefact import ARTEFACT
class Dying(dict):
    def __getitem__(self, key): os.kill(os.getpid(), signal.SIGKILL)
ARTEFACT.with_weights(Dying(weight=None)).save(sys.argv[2])
"""


def test_a_killed_run_leaves_the_older_one(tmp_path: Path) -> None:
    before = _tree(ARTEFACT.save(tmp_path))
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, root, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert _tree(tmp_path / "net_keras") == before


def _foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")


def _looks_alike(folder: Path) -> None:
    folder.mkdir()
    (folder / "weights.json").write_text('{"layers": 3}')


def _grown(folder: Path) -> None:
    ARTEFACT.save(folder.parent)
    (folder / "trained.safetensors").write_text("days of training")


def _file(folder: Path) -> None:
    folder.write_text("a file")


def _link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [_foreign, _looks_alike, _grown, _file, _link])
def test_what_mlc_did_not_write_is_never_deleted(tmp_path: Path, prepare) -> None:
    prepare(tmp_path / "net_keras")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    with pytest.raises(MlcError) as caught:
        ARTEFACT.save(tmp_path)
    assert caught.value.code == "output"
    assert before == {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "net_keras").mkdir()
    assert "net.py" in _tree(ARTEFACT.save(tmp_path))


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MlcError) as caught:
        ARTEFACT.save(tmp_path / "file" / "sub")
    assert caught.value.code == "output"


# --------------------------------------------------------------------------------- names, ports


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("TinyResNet", "tiny_res_net"),
        ("GPT", "gpt"),
        ("GPTBlock2d", "gpt_block2d"),
        ("my-net.v2", "my_net_v2"),
        ("keras", "keras_"),
        ("types", "types_"),
        ("class", "class_"),
        ("2layer", "model_2layer"),
        ("ümläut/../x", "ml_ut_x"),
        ("", "model"),
    ],
)
def test_module_names_are_safe(name: str, module: str) -> None:
    assert module_name(name) == module


def test_a_port_is_written_in_the_order_of_the_target() -> None:
    value = Value(Type("f32", (2, 3, 4, 5)))
    assert Port.of(value, "x") == Port("x", "x", "f32", ("2", "3", "4", "5"))
    value.order = (0, 2, 3, 1)
    moved = Port.of(value, "in", argument="in_", optional=True)
    assert moved == Port("in", "in_", "f32", ("2", "4", "5", "3"), (0, 2, 3, 1), True)
