"""`python -m mlc`, and the command `mlc`."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    # Graphs are many small objects that live to the end: looking through them for garbage after
    # every 700 takes a third of the time that it takes to build a large one.
    gc.set_threshold(100_000, 50, 50)
    try:
        from .cli import main as run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
