"""The peak memory of commands that handle a file of 2 GB of weights: `python benchmarks/memory.py`.

The peak is the resident set of the process, the pages of files that it has mapped included; at most
1.2 times the size of the file. What is written goes to a temporary folder, and is removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUND = 1.2
WIDTH = 4096
LAYERS = 31
"""So many layers of WIDTH x WIDTH numbers are 2.1 GB."""

MODEL = f"""\
model Wide:
    in  x: f32[B, {WIDTH}]
    out y: like x
    h = x
    repeat {LAYERS}:
        h = h -> linear({WIDTH}) -> relu
    y = h
"""
COMMANDS = (
    "weights convert MODEL WEIGHTS --from source --to pytorch --output FOLDER/out.safetensors",
    "weights convert MODEL WEIGHTS --from source --to keras --output FOLDER/out.safetensors",
    "compile MODEL --target pytorch --weights WEIGHTS --output FOLDER",
    "compile MODEL --target keras --weights WEIGHTS --output FOLDER",
    "compile MODEL --target jax --weights WEIGHTS --output FOLDER",
    "compile MODEL --target openvino --weights WEIGHTS --output FOLDER",
    "compile MODEL --target onnx --weights WEIGHTS --output FOLDER",
)


def make(place: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """Writes a file of zeros with tensors of these shapes, as a file of holes; its bytes."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * shape[0] * (shape[1] if shape[1:] else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    place.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(place, 8 + len(text) + end)
    return place.stat().st_size


def peak(arguments: list[str]) -> int:
    """Bytes of the largest resident set of `mlc` with these arguments."""
    command = [sys.executable, "-m", "mlc", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"mlc {' '.join(arguments)} failed")
    return used.ru_maxrss * 1024


def report() -> str:
    """A table of Markdown."""
    lines = ["| command | peak, times the file (at most 1.2) |", "| --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        model, weights = Path(folder, "wide.mdl"), Path(folder, "weights.safetensors")
        model.write_text(MODEL)
        shapes = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
        named = {f"layers.{i}.{k}": shape for i in range(LAYERS) for k, shape in shapes.items()}
        size = make(weights, named)
        for command in COMMANDS:
            words = command.replace("MODEL", str(model)).replace("WEIGHTS", str(weights))
            with tempfile.TemporaryDirectory(dir=folder) as output:
                taken = peak(words.replace("FOLDER", output).split())
            shown = command.replace(" --output FOLDER/out.safetensors", "").replace(
                " --output FOLDER", ""
            )
            lines.append(f"| `mlc {shown}` | {taken / size:.2f} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
