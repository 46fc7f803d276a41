"""The operators that the language promises: `tests/ops_required.txt`, one name a line."""

from __future__ import annotations

from pathlib import Path

from mlc.compiler.ops import OPS

REQUIRED = (Path(__file__).parents[2] / "ops_required.txt").read_text().split()


def test_there_is_every_operator_that_is_promised() -> None:
    assert sorted(set(REQUIRED) - set(OPS)) == []


def test_at_least_150_are_promised_none_twice() -> None:
    assert len(set(REQUIRED)) == len(REQUIRED) >= 150
