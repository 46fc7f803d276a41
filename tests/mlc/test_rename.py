"""Weights under foreign names: which line is for which tensor, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlc.compiler.diagnose import MlcError, MlcErrors
from mlc.compiler.tensor import write
from mlc.rename import read, renamed

NET = """block Unit:
    in  x: f32[B, C]
    out y: like x

    y = x -> linear(C) -> batch_norm

model Net(width = 3):
    in  x: f32[B, width]
    out y: f32[B, width]

    h = x
    repeat 2:
        h = h -> Unit
    y = h
"""
LINES = """
# what a checkpoint calls them
h.*.fc.* = blocks.*.linear.*        # layers
 h.*.bn.* = blocks.*.batch_norm.*
mask     = -
"""


def _theirs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    theirs = {"mask": np.ones((9, 9), np.float32)}
    for i in range(2):
        theirs[f"h.{i}.fc.weight"] = rng.normal(size=(3, 3)).astype("f4")
        for key in ("fc.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
            theirs[f"h.{i}.{key}"] = rng.uniform(1, 2, 3).astype("f4")
        theirs[f"h.{i}.bn.num_batches_tracked"] = np.int64(4)[...]
    return theirs


def test_compile_and_verify_take_them(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text(NET)
    (tmp_path / "names.txt").write_text(LINES)
    save_file(_theirs(), tmp_path / "theirs")
    given = ("--weights", "theirs", "--rename", "names.txt")
    done = mlc("compile", "net.mdl", "-t", "pytorch", *given)
    assert (done.code, done.err) == (0, "")
    written = load_file(tmp_path / "net_pytorch" / "weights.safetensors")
    assert {x.tobytes() for x in written.values()} == {
        x.tobytes() for key, x in _theirs().items() if key != "mask" and "batches" not in key
    }
    done = mlc("verify", "net.mdl", "-t", "onnx", "--mode", "inference", *given)
    assert (done.code, done.err) == (0, "")
    done = mlc("compile", "net.mdl", "-t", "pytorch", "--rename", "names.txt")
    assert done.err.startswith("error[usage]: --rename says what the tensors of --weights FILE are")


# ------------------------------------------------------------------------------- which line is for


def _renamed(tmp_path: Path, lines: str, keys: list[str], wanted: list[str]) -> dict[str, int]:
    """Our name -> the place of the foreign one in `keys`."""
    write(tmp_path / "w", {key: np.int32(i)[...] for i, key in enumerate(keys)})
    (tmp_path / "map").write_text(lines)
    found = renamed(tmp_path / "w", tmp_path / "map", wanted)
    return {key: int(x) for key, x in found.items()}


def test_a_line_without_a_star_goes_first(tmp_path: Path) -> None:
    lines = "a.* = b.*\na.x = c\n"
    assert _renamed(tmp_path, lines, ["a.x", "a.y", "d"], ["b.y", "c", "d"]) == {
        "c": 0, "b.y": 1, "d": 2,
    }  # fmt: skip


def test_a_star_is_part_of_one_name_and_others_are_themselves(tmp_path: Path) -> None:
    lines = "h*.w = l.*\n"
    assert _renamed(tmp_path, lines, ["h1.w", "h1.v.w", "hxw"], ["l.1"]) == {
        "l.1": 0, "h1.v.w": 1, "hxw": 2,
    }  # fmt: skip


def _errors(tmp_path: Path, *arguments) -> list[tuple[str, int | None]]:
    with pytest.raises(MlcError) as caught:
        _renamed(tmp_path, *arguments)
    error = caught.value
    several = error.errors if isinstance(error, MlcErrors) else (error,)
    assert {each.code for each in several} == {"rename"}
    return [(each.message, each.span.line if each.span else None) for each in several]


@pytest.mark.parametrize(
    ("lines", "said", "line"),
    [
        ("a = b = c", "a line says `foreign = ours`", 1),
        ("\na b = c", "a line says `foreign = ours`", 2),
        ("a =", "a line says `foreign = ours`", 1),
        ("a.* = b", "a.* has 1 of *, and b has 0", 1),
        ("a.** = b.**", "** for nothing", 1),
        ("a = b\n\na = c", "a stands twice", 3),
        ("x = b", "the file has no tensor x", 1),
        ("# x\na = q", "a becomes q, and the model has no weight", 2),
        ("a = b\nc = b", "a and c both become b", 2),
        ("a = c", "a and c both become c", 1),
    ],
)
def test_errors_name_the_line(tmp_path: Path, lines: str, said: str, line: int) -> None:
    found = _errors(tmp_path, lines, ["a", "c"], ["b", "c"])
    assert [number for message, number in found if said in message] == [line]


def test_two_lines_for_one_tensor_are_both_shown(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("a.* = b.*\n*.x = b.*\n")
    write(tmp_path / "w", {"a.x": np.ones(1)})
    with pytest.raises(MlcError, match=r"two lines are for a\.x") as caught:
        renamed(tmp_path / "w", tmp_path / "map", ["b.x", "b.a"])
    error = caught.value.errors[0] if isinstance(caught.value, MlcErrors) else caught.value
    assert [error.span.line, error.notes[0].span.line] == [1, 2]


def test_the_nearest_name_is_offered(tmp_path: Path) -> None:
    with pytest.raises(MlcError) as caught:
        _renamed(tmp_path, "wieght = b", ["weight"], ["b"])
    assert caught.value.help == "it has 'weight'"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "map", tmp_path / "none", tmp_path):
        with pytest.raises(MlcError) as caught:
            read(path)
        assert caught.value.code == "file"
