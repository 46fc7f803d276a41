"""How long the command line takes from cold: `python benchmarks/start.py`.

The bounds are those of an idle machine: 0.15 s for the help, 0.6 s for compiling mnist.mdl.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 5
COMMANDS = (
    (0.15, ["--help"]),
    (0.6, ["check", "examples/mnist.mdl"]),
    (0.6, ["compile", "examples/mnist.mdl", "--target", "keras", "--output", "FOLDER"]),
)


def seconds(arguments: list[str]) -> float:
    """The shortest of several runs of `mlc`, each in a process of its own."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "mlc", *arguments]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    """Prints the times; 1 if one is above its bound."""
    slow = 0
    with tempfile.TemporaryDirectory() as folder:
        for bound, arguments in COMMANDS:
            taken = seconds([folder if word == "FOLDER" else word for word in arguments])
            slow += taken > bound
            print(f"{taken:.3f} s (at most {bound} s)  mlc {' '.join(arguments)}")
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
