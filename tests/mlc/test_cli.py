"""The manners of the command line: what it prints where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlc import __version__
from mlc.backends import TARGETS
from mlc.compiler.codes import CODES
from mlc.compiler.ops import OPS

ROOT = Path(__file__).parents[2]


def test_help_and_version(mlc) -> None:
    done = mlc("--help")
    assert (done.code, done.err) == (0, "")
    for command in ("compile", "verify", "check", "fmt", "explain", "ops", "targets"):
        assert f"    {command} " in done.out
        assert mlc(command, "--help").code == 0
    assert mlc("--version").out == f"mlc {__version__}\n"
    assert mlc().code == 2


@pytest.mark.parametrize(
    ("arguments", "said", "help"),
    [
        (["complie"], "there is no command 'complie'", "did you mean compile?"),
        (["train"], "there is no command 'train'", "`mlc --help` lists what there is"),
        (["--hepl"], "there is no option '--hepl'", "did you mean --help?"),
        (["compile", "a.mdl", "--tagret=jax"], "no option '--tagret'", "did you mean --target?"),
        (["compile", "a.mdl"], "arguments are required: --target", "`mlc compile --help`"),
        (["check"], "arguments are required: FILE", "`mlc check --help`"),
        (["check", "a", "b"], "unrecognized arguments: b", "`mlc --help`"),
        (["verify", "a.mdl", "--seeds", "x"], "invalid int value", "`mlc verify --help`"),
        (["verify", "a.mdl", "--mode", "eval"], "invalid choice: 'eval'", "`mlc verify --help`"),
        (["explain", "sofmax"], "'sofmax' is no code", "did you mean"),
    ],
)
def test_bad_usage_says_what_would_be_right(mlc, arguments, said, help) -> None:
    done = mlc(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: ")
    assert said in done.err
    assert f"  = help: {help}" in done.err


def test_targets_are_listed_without_importing_one(mlc) -> None:
    done = mlc("targets")
    assert [line.split()[0] for line in done.out.splitlines()] == list(TARGETS)
    assert "  installed  " in done.out


def test_every_operator_is_listed_and_explained(mlc) -> None:
    lines = mlc("ops").out.splitlines()
    assert [line.partition("(")[0] for line in lines] == list(OPS)
    done = mlc("explain", "softmax")
    assert done.code == 0
    assert done.out.startswith("softmax(x")


def test_codes_are_explained(mlc) -> None:
    for topic in ("output", "error[output]"):
        done = mlc("explain", topic)
        assert " ".join(done.out.split()) == f"error[output] {CODES['output']}"


def test_files_that_are_not_there_or_no_text(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_bytes(b"\xff\xfe")
    done = mlc("check", "nett.mdl")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error[file]: cannot read nett.mdl: No such file or directory\n"
        "  = help: did you mean net.mdl?\n"
    )
    done = mlc("check", "net.mdl")
    assert done.err == "error[file]: net.mdl is no text in UTF-8 (byte 0)\n"
    assert mlc("check", ".").err == "error[file]: cannot read .: Is a directory\n"


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.pt2", "a.keras"])
def test_files_of_frameworks_are_refused_by_name(mlc, name: str) -> None:
    done = mlc("check", name)
    assert done.code == 2
    assert done.err.startswith(f"error[import]: {name} is a file of ")


def test_unknown_targets(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text("")
    done = mlc("compile", "net.mdl", "--target", "keras,pytroch")
    assert done.code == 2
    assert done.err.startswith("error[target]: no target is called 'pytroch'")
    assert done.err.endswith("  = help: did you mean pytorch?\n")


@pytest.mark.parametrize("text", ["hidden", "=3", "hidden=", "1x=3", "a=__import__('os')", "a=f(1"])
def test_settings_are_literals(mlc, text: str) -> None:
    done = mlc("check", "net.mdl", "--set", text)
    assert done.code == 2
    assert done.err.startswith("error[usage]: ")


def test_colour_only_where_asked_for(mlc) -> None:
    assert "\x1b[" not in mlc("complie").err
    assert "\x1b[" in mlc("complie", FORCE_COLOR="1").err
    assert "\x1b[" not in mlc("complie", FORCE_COLOR="1", NO_COLOR="1").err


BROKEN = (
    "import sys, mlc.request; mlc.request.read = lambda path: 1 / 0; from mlc.cli import main; "
)
INTERRUPTED = BROKEN.replace("1 / 0", "(_ for _ in ()).throw(KeyboardInterrupt)")


def _python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main(['check', 'net.mdl']))"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fault_of_ours_is_one_line() -> None:
    done = _python(BROKEN)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("internal error: ZeroDivisionError: division by zero (a fault of")
    assert "Traceback" in _python(BROKEN, MLC_TRACEBACK="1").stderr


def test_an_interrupt_is_quiet() -> None:
    done = _python(INTERRUPTED)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m mlc ops | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode in (0, -signal.SIGPIPE)
    assert len(done.stdout.splitlines()) == 1
