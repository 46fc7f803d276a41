"""All measurements, into docs/benchmarks.md: `make bench`, or `python benchmarks [PART ...]`.

Without parts all are run, which takes about half an hour on an idle machine. Each replaces its own
section between the marks of the document as soon as it is done, and what else stands there stays;
where one fails, the others are still taken.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import graph
import memory
import source
import start
import versus

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("numpy", "torch", "keras", "tensorflow-cpu", "jax", "flax", "openvino", "onnxruntime")

PARTS: dict[str, Callable[[], str]] = {
    "versus": versus.report,
    "graph": graph.report,
    "source": source.report,
    "start": start.cold,
    "examples": start.examples,
    "verify": start.verify,
    "memory": memory.report,
}


def machine() -> str:
    """Where and when: the processor, how busy it was, and the releases."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.*)", info.read_text())
        model = found[1] if found else model
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    releases = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.date.today()}, {model}, {os.cpu_count()} cores, load {load} at the end, "
        f"Python {platform.python_version()}, {releases}."
    )


def write(part: str, text: str) -> None:
    """Puts a part's results between its marks."""
    begin, end = f"<!-- {part} -->\n", f"\n<!-- end of {part} -->"
    document = DOCUMENT.read_text()
    before, rest = document.split(begin)
    DOCUMENT.write_text(before + begin + text + end + rest.split(end)[1])


def main(parts: list[str]) -> int:
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = False
    for part in parts or PARTS:
        print(f"== {part}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            text = PARTS[part]()
        except Exception:
            traceback.print_exc()
            failed = True
            continue
        print(text, flush=True)
        write(part, f"{text}\n\nMeasured {machine()}")
        minutes = (time.monotonic() - start) / 60
        print(f"== {part} took {minutes:.1f} minutes", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
