"""docs/differently.md: its table is what the frameworks do, probe by probe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.differently import PROBES, TARGETS, probe, table

PAGE = Path(__file__).parents[2] / "docs" / "differently.md"


def test_the_table_is_what_the_frameworks_do(request: pytest.FixtureRequest) -> None:
    """Keras has a process of its own: TensorFlow does not share one with all others."""
    command = [sys.executable, "-m", "tests.backends.differently", "keras"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, cwd=PAGE.parents[1], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        found = {target: probe(target) for target in TARGETS if target != "keras"}
        assert process.stdout is not None
        found["keras"] = json.loads(process.stdout.read().splitlines()[-1])
    page = PAGE.read_text()
    start, end = page.index("| |"), page.index("\n\n", page.index("| |"))
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page[:start] + table(found) + page[end:])
        return
    assert page[start:end] == table(found)


def test_the_language_has_an_answer_to_every_question() -> None:
    assert all("language" in columns for columns in PROBES.values())
