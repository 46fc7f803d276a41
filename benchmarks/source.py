"""How long writing out a class of many statements takes: `python benchmarks/source.py [SIZE ...]`.

Prints seconds of this process for models of so many layers in one class, without a loop, and by
which power of the layers they grow from the first size to the last.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlc

SIZES = (500, 1_000, 2_000, 4_000)
TARGETS = ("pytorch", "keras", "jax", "openvino", "onnx")


def model(layers: int) -> str:
    """Four kinds of line in turn."""
    lines = ["model Net(D = 8):", "    in  x: f32[B, D]", "    out y: like x", "    h0 = x"]
    for i in range(1, layers + 1):
        value = (
            f"h{i - 1} -> linear(D) -> relu",
            f"h{i - 1} + tanh(h{i - 1})",
            f"h{i - 1} -> layer_norm -> linear(D)",
            f"h{i - 1} * h{max(i - 3, 0)}",
        )[i % 4]
        lines.append(f"    h{i} = {value}")
    return "\n".join([*lines, f"    y = h{layers}", ""])


def seconds(run: Callable[[], object]) -> float:
    """Of this process."""
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


def report(sizes: Sequence[int] = SIZES) -> str:
    """A table of Markdown."""
    lines = [f"| layers | load | {' | '.join(TARGETS)} |", "| ---: |" + " ---: |" * 6]
    mlc.compile(mlc.load(model(4)), "onnx")  # imports
    rows = []
    for size in sizes:
        graph = mlc.load(model(size))
        row = [seconds(lambda size=size: mlc.load(model(size)))]
        row += [seconds(lambda g=graph, t=target: mlc.compile(g, t)) for target in TARGETS]
        rows.append(row)
        lines.append(f"| {size:,} | " + " | ".join(f"{taken:.2f}" for taken in row) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    times = math.log(sizes[-1] / sizes[0])
    powers = [math.log(b / a) / times for a, b in zip(rows[0], rows[-1], strict=True)]
    lines.append("| grows by | " + " | ".join(f"{power:.2f}" for power in powers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report([*map(int, sys.argv[1:])] or SIZES))
