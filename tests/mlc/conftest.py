"""Runs the command line as a user does: in a process of its own, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """How a run of `mlc` ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def mlc(tmp_path: Path) -> Callable[..., Done]:
    """`mlc("check", "net.mdl", NO_COLOR="1")`: exit code, standard output and error."""

    def run(*arguments: str, **variables: str) -> Done:
        kept = {k: v for k, v in os.environ.items() if "COLOR" not in k and k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-m", "mlc", *arguments],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
