"""What a command imports: nothing that it does not need, so that it starts at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlc.backends import TARGETS

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {
    "flax", "jax", "keras", "onnx", "onnxruntime", "openvino", "tensorflow", "torch",
}  # fmt: skip
HEAVY = FRAMEWORKS | {"lark", "ml_dtypes", "numpy", "rich", "safetensors"}
PROBE = """
import sys
from mlc.cli import main
code = main(sys.argv[1:])
print(code, *sys.modules, file=sys.stderr)
"""


def _imported(*arguments: str, cwd: Path = ROOT) -> set[str]:
    """The modules that a command leaves in `sys.modules`."""
    probe = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, *modules = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compile", "--help"]])
def test_help_imports_the_command_line_alone(arguments: list[str]) -> None:
    modules = _imported(*arguments)
    assert {m for m in modules if m.startswith("mlc")} == {"mlc", "mlc.cli"}
    assert not HEAVY & modules
    assert not {"dataclasses", "inspect", "json", "tempfile", "ctypes"} & modules


@pytest.mark.parametrize("arguments", [["targets"], ["ops"], ["explain", "conv"]])
def test_lists_import_nothing_heavy(arguments: list[str]) -> None:
    assert not HEAVY & _imported(*arguments)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "onnx"])
def test_compile_imports_no_framework_and_no_numpy(tmp_path: Path, target: str) -> None:
    model = str(ROOT / "examples" / "mnist.mdl")
    modules = _imported("compile", model, "--target", target, cwd=tmp_path)
    assert not (HEAVY - {"lark"}) & modules
    others = {f"mlc.backends.{name}" for name in TARGETS if name != target}
    assert not others & modules
    assert not {m for m in modules if m.startswith("mlc.equivalence")}


def test_check_imports_no_backend() -> None:
    modules = _imported("check", "examples/mnist.mdl")
    assert not (HEAVY - {"lark"}) & modules
    assert not {m for m in modules if m.startswith("mlc.backends")}
