"""How long the command line takes: `python benchmarks/start.py`.

From cold, each time in a process of its own: the help, a check, and compiling every example, whose
bounds are those of an idle machine; and `mlc verify` against what importing the frameworks takes by
itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 5
COMMANDS = (
    (0.15, ["--help"]),
    (0.6, ["check", "examples/mnist.mdl"]),
    (0.6, ["compile", "examples/mnist.mdl", "--target", "keras", "--output", "FOLDER"]),
)
TARGETS = ("pytorch", "keras", "jax", "openvino", "onnx")
FRAMEWORKS = {
    "pytorch": "torch", "keras": "keras, tensorflow", "jax": "jax, flax.nnx",
    "openvino": "openvino", "onnx": "onnx, onnxruntime",
}  # fmt: skip


def seconds(command: Sequence[str], runs: int = RUNS) -> float:
    """The shortest of several runs, each a process of its own."""
    times = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            words = [folder if word == "FOLDER" else word for word in command]
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
            times.append(time.perf_counter() - start)
    return min(times)


def cold() -> str:
    """A table of Markdown: commands with their bounds."""
    lines = ["| command | seconds | at most |", "| --- | ---: | ---: |"]
    for bound, arguments in COMMANDS:
        taken = seconds(["-m", "mlc", *arguments])
        shown = " ".join(arguments).replace(" --output FOLDER", "")
        lines.append(f"| `mlc {shown}` | {taken:.2f} | {bound} |")
    return "\n".join(lines)


def examples(runs: int = 2) -> str:
    """A table of Markdown: seconds to compile each example at its real size."""
    lines = [f"| example | {' | '.join(TARGETS)} |", "| --- |" + " ---: |" * len(TARGETS)]
    for path in sorted((ROOT / "examples").glob("*.mdl")):
        command = ["-m", "mlc", "compile", str(path), "--output", "FOLDER", "--target"]
        # An ONNX file holds its weights: time goes into drawing them.
        row = [seconds([*command, target], runs) for target in TARGETS]
        lines.append(f"| {path.stem} | " + " | ".join(f"{taken:.2f}" for taken in row) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def verify() -> str:
    """How long verifying an example takes on all targets, and importing the frameworks alone."""
    imports = {name: seconds(["-c", f"import {m}"], 2) for name, m in FRAMEWORKS.items()}
    lines = [
        "| | seconds | times the imports |",
        "| --- | ---: | ---: |",
        f"| importing {', '.join(FRAMEWORKS)} | {sum(imports.values()):.1f} | 1 |",
    ]
    for name in ("mnist", "lenet"):
        command = ["-m", "mlc", "verify", f"examples/{name}.mdl", "--target", ",".join(TARGETS)]
        taken = seconds(command, 2)
        times = taken / sum(imports.values())
        lines.append(f"| `mlc verify examples/{name}.mdl` | {taken:.1f} | {times:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(cold(), examples(), verify(), sep="\n\n")
