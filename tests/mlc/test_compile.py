"""`mlc compile` and `mlc check`: what they write, print and refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

NET = """# A little net.
model Net(width = 4, act = "relu"):
    in  x: f32[B, 3, H, W]
    out y: f32[B, width]

    y = x -> conv(8, 3, bias = false) -> batch_norm -> relu -> mean(H, W) -> linear(width)
"""
WEIGHTS = {
    "conv.weight": np.zeros((8, 3, 3, 3), np.float32),
    **{f"batch_norm.{part}": np.ones(8, np.float32) for part in ("weight", "bias")},
    **{f"batch_norm.running_{part}": np.ones(8, np.float32) for part in ("mean", "var")},
    "linear.weight": np.arange(32, dtype=np.float32).reshape(4, 8),
    "linear.bias": np.arange(4, dtype=np.float32),
}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A folder with `net.mdl` and `net.safetensors`, in which `mlc` runs."""
    (tmp_path / "net.mdl").write_text(NET)
    save_file(WEIGHTS, tmp_path / "net.safetensors")
    return tmp_path


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_check_prints_the_signature(mlc, net: Path) -> None:
    done = mlc("check", "net.mdl", "--set", "width=7")
    assert done.code == 0
    assert done.out == (
        'model Net(width = 7, act = "relu")\n'
        "  in x: f32[B, 3, H, W]\n"
        "  out y: f32[B, 7]\n"
        "  where 3 <= H, 3 <= W\n"
        "  295 parameters in 5 tensors, 16 buffer elements in 2 tensors\n"
    )
    assert done.err.startswith("warning[unused]: hyper-parameter act is never used\n")
    assert " --> net.mdl:2:22\n" in done.err


def test_compile_writes_a_folder(mlc, net: Path) -> None:
    done = mlc("compile", "net.mdl", "--target", "pytorch")
    assert (done.code, done.out) == (0, "wrote net_pytorch\n")
    assert _names(net / "net_pytorch") == {"__init__.py", "README.md", "net.py", "weights.json"}


def test_compile_prints_the_source(mlc, net: Path) -> None:
    printed = mlc("compile", "net.mdl", "-t", "pytorch", "-o", "-")
    assert printed.code == 0
    assert _names(net) == {"net.mdl", "net.safetensors"}
    mlc("compile", "net.mdl", "-t", "pytorch", "-o", "deep/er")
    assert (net / "deep/er/net_pytorch/net.py").read_text() == printed.out
    assert "class Net(nn.Module)" in printed.out
    done = mlc("compile", "net.mdl", "-t", "pytorch,keras", "-o", "-")
    assert (done.code, done.out) == (2, "")


def test_the_mark_of_an_editor_is_no_part_of_the_text(mlc, net: Path) -> None:
    before = mlc("check", "net.mdl").out
    (net / "net.mdl").write_bytes(b"\xef\xbb\xbf" + NET.replace("\n", "\r\n").encode())
    assert mlc("check", "net.mdl").out == before


def test_several_targets_side_by_side(mlc, net: Path) -> None:
    done = mlc("compile", "net.mdl", "-t", "keras,pytorch", "-t", "onnx", "-t", "keras", "-o", "x")
    assert done.out == "wrote x/net_keras\nwrote x/net_pytorch\nwrote x/net_onnx\n"
    assert _names(net / "x") == {"net_keras", "net_pytorch", "net_onnx"}


def test_the_model_of_a_file_with_several(mlc, net: Path) -> None:
    (net / "net.mdl").write_text(NET + NET.replace("model Net", "model WideNet"))
    done = mlc("compile", "net.mdl", "-t", "pytorch", "--model", "WideNet")
    assert done.out == "wrote wide_net_pytorch\n"
    done = mlc("compile", "net.mdl", "-t", "pytorch", "--model", "WideNets")
    assert done.code == 2
    assert done.err.startswith("error[model]: ")
    assert "WideNet" in done.err


def test_a_setting_that_the_model_has_not(mlc, net: Path) -> None:
    done = mlc("compile", "net.mdl", "-t", "pytorch", "--set", "widht=3")
    assert done.code == 2
    assert "widht" in done.err
    assert "did you mean width?" in done.err.replace("'", "")


def test_weights_arrive_in_the_layout_of_the_target(mlc, net: Path) -> None:
    done = mlc("compile", "net.mdl", "-t", "keras,pytorch", "--weights", "net.safetensors")
    assert done.code == 0
    written = load_file(net / "net_pytorch" / "weights.safetensors")
    assert all(np.array_equal(written[key], WEIGHTS[key]) for key in WEIGHTS)
    written = load_file(net / "net_keras" / "weights.safetensors")
    assert np.array_equal(written["linear/kernel"], WEIGHTS["linear.weight"].T)
    assert written["conv/kernel"].shape == (3, 3, 3, 8)


BAD = {
    "weights-key": {"linear.bias": None, "linear.bais": WEIGHTS["linear.bias"]},
    "weights-shape": {"linear.weight": WEIGHTS["linear.weight"].T.copy()},
    "weights-dtype": {"linear.weight": WEIGHTS["linear.weight"].astype(np.float16)},
}


@pytest.mark.parametrize("code", [*BAD, "weights-file"])
def test_weights_that_do_not_fit_leave_the_old_artefact(mlc, net: Path, code: str) -> None:
    mlc("compile", "net.mdl", "-t", "pytorch", "--weights", "net.safetensors")
    before = {p.name: p.read_bytes() for p in (net / "net_pytorch").iterdir()}
    whole = (net / "net.safetensors").read_bytes()
    (net / "bad").write_bytes(whole[:-1])
    if code in BAD:
        changed = {k: v for k, v in {**WEIGHTS, **BAD[code]}.items() if v is not None}
        save_file(changed, net / "bad")
    done = mlc("compile", "net.mdl", "-t", "pytorch", "--weights", "bad")
    assert (done.code, done.out) == (2, "")
    assert f"error[{code}]: " in done.err
    assert "Traceback" not in done.err
    assert {p.name: p.read_bytes() for p in (net / "net_pytorch").iterdir()} == before


def test_a_folder_of_somebody_else_is_left_alone(mlc, net: Path) -> None:
    (net / "net_pytorch").mkdir()
    (net / "net_pytorch" / "thesis.txt").write_text("years")
    done = mlc("compile", "net.mdl", "-t", "pytorch")
    assert (done.code, done.out) == (2, "")
    assert "error[output]: net_pytorch is no folder that mlc wrote" in done.err
    assert _names(net / "net_pytorch") == {"thesis.txt"}


def test_an_error_of_the_model_points_into_it(mlc, net: Path) -> None:
    (net / "net.mdl").write_text(NET.replace("conv(8, 3,", "convv(8, 3,"))
    done = mlc("check", "net.mdl")
    assert (done.code, done.out) == (2, "")
    assert " --> net.mdl:6:14\n" in done.err
    assert "6 |     y = x -> convv(8, 3, bias" in done.err
    assert "did you mean conv?" in done.err.replace("'", "")


def test_names_of_files_are_only_names(mlc, net: Path) -> None:
    for name in ("import.mdl", "a b;'\"$(x).mdl", "keras.mdl", "-.mdl"):
        (net / name).write_text(NET)
        done = mlc("compile", f"./{name}", "-t", "pytorch", "-o", "out")
        assert done.code == 0, done.err
    assert _names(net / "out") == {
        "import__pytorch", "a_b_x_pytorch", "keras__pytorch", "model_pytorch",
    }  # fmt: skip
