"""What users see when something is wrong: snapshots in errors.txt, and a case for every code.

Rewritten by `pytest tests/mlc/test_errors.py --update-golden`; look at the difference.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlc import load
from mlc.compiler.codes import CODES
from mlc.compiler.diagnose import MlcError
from mlc.compiler.passes.grad import gradients
from mlc.compiler.run import run
from mlc.compiler.weight import Entry, WeightMap

HERE = Path(__file__).parent
SNAPSHOTS = HERE / "errors.txt"
HEAD, *CASES = SNAPSHOTS.read_text().split("\n=== ")
ROOT = Path(__file__).parents[2]

NET = """model Net(width = 4):
    in  x: f32[B, 3]
    out y: f32[B, width]

    y = x -> linear(width) -> relu
"""
SIZES = """model Net:
    in  x: f32[B, N]
    out y: f32[B, 4]

    require N % 3000 == 7, "N"
    require N % 3001 == 11, "N"
    y = x -> sum(N) -> unsqueeze(1) -> tile((1, 4))
"""
PART = """block Part:
    in  x: f32[B, C]
    out y: f32[B, 3]

    y = x -> relu
"""
RENAMED = """# theirs = ours
linear.wieght = linear.weight
linear.bias   linear.bias
"""
WEIGHT, BIAS = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the commands name."""
    (tmp_path / "net.mdl").write_text(NET)
    (tmp_path / "wrong.mdl").write_text(NET.replace("relu", "relu -> linear(3)"))
    (tmp_path / "sizes.mdl").write_text(SIZES)
    (tmp_path / "uses.mdl").write_text("use parts.mdl (Part)\n\n" + NET.replace("relu", "Part"))
    (tmp_path / "parts.mdl").write_text(PART)
    (tmp_path / "lost.mdl").write_text("use part.mdl (Part)\n\n" + NET.replace("relu", "Part"))
    (tmp_path / "theirs" / "net_pytorch").mkdir(parents=True)
    (tmp_path / "theirs" / "net_pytorch" / "thesis.txt").write_text("years of work")
    files = {
        "net": {"linear.weight": WEIGHT, "linear.bias": BIAS},
        "renamed": {"linear.wieght": WEIGHT, "linear.bias": BIAS},
        "shape": {"linear.weight": WEIGHT.T.copy(), "linear.bias": BIAS},
        "dtype": {"linear.weight": WEIGHT, "linear.bias": BIAS.astype(np.float64)},
    }
    (tmp_path / "names.txt").write_text(RENAMED)
    for name, tensors in files.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    whole = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[:-3])
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=[case.split("\n")[0] for case in CASES])
def test_what_is_printed(mlc, folder: Path, case: str, request: pytest.FixtureRequest) -> None:
    title, command, *expected = case.rstrip("\n").split("\n")
    done = mlc(*shlex.split(command.removeprefix("$ mlc ")))
    if request.config.getoption("--update-golden"):
        _rewrite(title, f"{command}\n{done.err.rstrip()}")
        return
    assert (done.code, done.out) == (2, "")
    assert done.err.rstrip("\n").split("\n") == expected


def _rewrite(title: str, text: str) -> None:
    head, *cases = SNAPSHOTS.read_text().split("\n=== ")
    cases = [f"{title}\n{text}\n" if case.split("\n")[0] == title else case for case in cases]
    SNAPSHOTS.write_text("\n=== ".join([head, *cases]))


# ------------------------------------------------------------------ codes that no command gives


def _feed() -> None:
    run(load(NET), {}, {})


def _gradient() -> None:
    graph = load(NET)
    for node in graph:
        node.op = replace(node.op, grad=None, body=None)
    gradients(graph, {"y": graph.outputs["y"]}, graph.inputs)


def _tied() -> None:
    twice = WeightMap([Entry("a", ("w",)), Entry("b", ("w",))])
    twice.invert({"a": WEIGHT, "b": WEIGHT + 1})


API: dict[str, Callable[[], None]] = {
    "feed": _feed,
    "gradient": _gradient,
    "weights-tied": _tied,
}
ELSEWHERE = {"engine", "internal"}
"""Held by test_package.py, where no framework is installed, and by test_cli.py."""


@pytest.mark.parametrize("code", API)
def test_codes_of_the_api(code: str) -> None:
    with pytest.raises(MlcError) as caught:
        API[code]()
    assert caught.value.code == code


def test_every_code_has_a_case() -> None:
    shown = set(re.findall(r"^error\[([a-z-]+)\]", SNAPSHOTS.read_text(), re.MULTILINE))
    frontend = (ROOT / "tests" / "frontends" / "mdl" / "errors.txt").read_text()
    shown |= set(re.findall(r"^(?:-|\d+:\d+) ([a-z-]+): ", frontend, re.MULTILINE))
    assert shown | {*API} | ELSEWHERE == {*CODES}


def test_every_code_that_is_raised_is_explained() -> None:
    raised: set[str] = set()
    for room in ("backends", "compiler", "equivalence", "frontends", "mlc"):
        for path in (ROOT / room).rglob("*.py"):
            raised |= set(re.findall(r'MlcError\(\s*"([a-z-]+)"', path.read_text()))
    assert raised <= {*CODES}
    assert len(SNAPSHOTS.read_text().split("\n=== ")) > 20
