"""`mlc verify` and `mlc.verify`: the report, the exit codes, and silence where nobody looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import mlc as package

ROOT = Path(__file__).parents[2]
NET = """model Net(width = 3):
    in  x: f32[B, 2]
    out y: f32[B, width]

    y = x -> linear(width) -> tanh
"""
WEIGHTS = {
    "linear.weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2),
    "linear.bias": np.ones(3, np.float32),
}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.mdl").write_text(NET)
    save_file(WEIGHTS, tmp_path / "net.safetensors")
    return tmp_path


def test_equal_ends_with_0_and_prints_a_table(mlc, net: Path) -> None:
    done = mlc("verify", "net.mdl", "-t", "pytorch,onnx", "--weights", "net.safetensors")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Net: equal")
    assert "pytorch" in done.out
    assert "\x1b" not in done.out


def test_an_edited_folder_is_run_as_it_stands(mlc, net: Path) -> None:
    assert mlc("compile", "net.mdl", "-t", "pytorch").code == 0
    arguments = ("verify", "net.mdl", "--folder", "net_pytorch", "--mode", "inference", "--json")
    report = json.loads(mlc(*arguments).out)
    assert (report["exit_code"], {row["target"] for row in report["rows"]}) == (0, {"pytorch"})
    source = net / "net_pytorch" / "net.py"
    source.write_text(source.read_text().replace("torch.tanh", "torch.sigmoid"))
    done = mlc(*arguments, "-t", "pytorch")
    assert done.code == 1
    assert "torch.sigmoid" in source.read_text()


def test_a_folder_of_another_model_is_refused(mlc, net: Path) -> None:
    assert mlc("compile", "net.mdl", "-t", "pytorch", "--set", "width=5").code == 0
    done = mlc("verify", "net.mdl", "--folder", "net_pytorch")
    assert done.code == 2
    assert "the shape of linear.weight differs: net_pytorch has [5, 2]" in done.err
    other = mlc("verify", "net.mdl", "--folder", ".")
    assert (other.code, other.err) == (
        2,
        "error[output]: . is no folder that mlc wrote: no weights.json of its own\n",
    )


def test_json_holds_every_tensor(mlc, net: Path) -> None:
    done = mlc("verify", "net.mdl", "-t", "pytorch", "--json", "--seeds", "2", "--mode", "training")
    report = json.loads(done.out)
    assert (done.code, report["exit_code"], report["model"]) == (0, 0, "Net")
    assert {row["mode"] for row in report["rows"]} == {"training"}
    assert {row["name"] for row in report["rows"]} == {"x", "y", *WEIGHTS}


def test_faults_that_the_run_would_have_seen_are_counted(mlc, net: Path) -> None:
    arguments = ("verify", "net.mdl", "-t", "onnx", "--mode", "inference", "--faults")
    report = json.loads(mlc(*arguments, "--json").out)
    by_name = {sight["fault"]: sight for sight in report["faults"]}
    assert by_name["activation left out"]["verdict"] == "seen"
    assert by_name["causal mask dropped"]["verdict"] == "no place"
    assert by_name["gradient by a bias doubled"]["tensor"] == "parameter gradient linear.bias"
    done = mlc(*arguments)
    assert "the run would have seen all; " in " ".join(done.out.split())


def test_bad_input_ends_with_2(mlc, net: Path) -> None:
    done = mlc("verify", "net.mdl", "-t", "pytorch", "--seeds", "0")
    assert done.code == 2
    assert done.err.startswith("error[usage]: there is nothing to verify without a seed")
    done = mlc("verify", "net.mdl", "-t", "pytorch", "--weights", "net.mdl")
    assert done.code == 2
    assert done.err.startswith("error[weights-file]: ")


def test_a_missing_engine_ends_with_3(net: Path) -> None:
    """A folder in front of the path hides the framework, as if it were not installed."""
    (net / "hide" / "torch").mkdir(parents=True)
    (net / "hide" / "torch" / "__init__.py").write_text(
        "raise ModuleNotFoundError('not here', name='torch')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mlc", "verify", "net.mdl", "-t", "pytorch"],
        cwd=net,
        env={**os.environ, "PYTHONPATH": f"{net / 'hide'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "pytorch missing: not here" in done.stdout


def test_a_difference_ends_with_1(net: Path) -> None:
    """A fault planted in the backend's table: sin for tanh."""
    code = (
        "import sys, mlc.backends.artefact as a\n"
        "old = a.Artefact.save\n"
        "def save(self, directory='.'):\n"
        "    files = {k: v.replace('tanh', 'sin') for k, v in self.files.items()}\n"
        "    return old(a.replace(self, files=files), directory)\n"
        "a.Artefact.save = save\n"
        "from mlc.cli import main\n"
        "sys.exit(main(['verify', 'net.mdl', '-t', 'pytorch']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=net, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("Net: different")


def test_the_api_gives_a_report() -> None:
    graph = package.load(NET)
    report = package.verify(graph, targets=["pytorch"], weights=WEIGHTS, modes=["inference"])
    assert isinstance(report, package.Report)
    report.assert_equivalent()
    assert package.compile(graph, "pytorch").name == "net"
    with pytest.raises(package.MlcError, match="no mode 'eval'"):
        package.verify(graph, targets=["pytorch"], modes=["eval"])
    with pytest.raises(package.MlcError, match="no target is called 'torch'"):
        package.verify(graph, targets=["torch"])


def test_the_artefact_builds_the_frameworks_model() -> None:
    import torch

    artefact = package.compile(package.load(NET), "pytorch", weights=WEIGHTS)
    model = artefact.build()
    assert torch.equal(model.linear.weight, torch.from_numpy(WEIGHTS["linear.weight"]))
    x = torch.ones(4, 2)
    assert torch.allclose(model(x), torch.tanh(x @ model.linear.weight.T + model.linear.bias))


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(net: Path) -> None:
    import pty

    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from mlc.cli import main; "
    command = [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", str(ROOT)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "verify", "net.mdl", "-t", "pytorch"],
        cwd=net, env={**os.environ, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert b"starting the engines" in shown
    assert b"\x1b" not in out
