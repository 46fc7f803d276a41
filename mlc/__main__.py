"""`python -m mlc`, and the command `mlc`."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        from .cli import main as run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
