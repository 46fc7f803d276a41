"""Fixtures that all rooms share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import pytest

from mlc.equivalence.engines.pool import Pool


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Engines that start when they are first asked for, and serve the whole session."""
    with Pool() as engines:
        yield engines


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what is found over what was expected; look at the difference."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")
