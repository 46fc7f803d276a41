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
