"""How long the command line takes: `python benchmarks/start.py`.

From cold, each time in a process of its own: the help, a check, and compiling every example, whose
bounds are those of an idle machine (what the processor was busy with the process is what it would
take there, as none of them waits); and `mlc verify` against what importing the frameworks takes by
itself. Python's compiled modules are kept, as they are where a package is installed.
"""

from __future__ import annotations

import os
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


def seconds(command: Sequence[str], runs: int = RUNS) -> tuple[float, float]:
    """The shortest of several runs, each a process of its own: by the clock, by the processor."""
    walls, busy = [], []
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            words = [folder if word == "FOLDER" else word for word in command]
            start, before = time.perf_counter(), os.times()
            words = [sys.executable, *words]
            subprocess.run(words, cwd=ROOT, capture_output=True, check=True, env=environment)
            walls.append(time.perf_counter() - start)
            after = os.times()
            busy.append(
                after.children_user - before.children_user
                + after.children_system - before.children_system
            )  # fmt: skip
    return min(walls), min(busy)


def cold() -> str:
    """A table of Markdown: commands with their bounds."""
    lines = [
        "| command | seconds | of the processor | at most |",
        "| --- | ---: | ---: | ---: |",
    ]
    for bound, arguments in COMMANDS:
        wall, busy = seconds(["-m", "mlc", *arguments])
        shown = " ".join(arguments).replace(" --output FOLDER", "")
        lines.append(f"| `mlc {shown}` | {wall:.2f} | {busy:.2f} | {bound} |")
    return "\n".join(lines)


def examples(runs: int = 2) -> str:
    """A table of Markdown: seconds of the processor to compile each example at its real size.

    ONNX files, which hold their weights and so have up to 6 GB, are written once.
    """
    lines = [f"| example | {' | '.join(TARGETS)} |", "| --- |" + " ---: |" * len(TARGETS)]
    for path in sorted((ROOT / "examples").glob("*.mdl")):
        command = ["-m", "mlc", "compile", str(path), "--output", "FOLDER", "--target"]
        row = [seconds([*command, t], 1 if t == "onnx" else runs)[1] for t in TARGETS]
        lines.append(f"| {path.stem} | " + " | ".join(f"{taken:.2f}" for taken in row) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def verify() -> str:
    """How long verifying an example takes on all targets, and importing the frameworks alone."""
    imports = {name: seconds(["-c", f"import {m}"], 2)[0] for name, m in FRAMEWORKS.items()}
    lines = [
        "| | seconds | times the imports |",
        "| --- | ---: | ---: |",
        f"| importing {', '.join(FRAMEWORKS)} | {sum(imports.values()):.1f} | 1 |",
    ]
    for name in ("mnist", "lenet"):
        command = ["-m", "mlc", "verify", f"examples/{name}.mdl", "--target", ",".join(TARGETS)]
        taken, _ = seconds(command, 2)
        times = taken / sum(imports.values())
        lines.append(f"| `mlc verify examples/{name}.mdl` | {taken:.1f} | {times:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(cold(), examples(), verify(), sep="\n\n")
