"""What pytest loads where mlc is installed: a fixture, and nothing until a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .equivalence import Report
    from .equivalence.engines.pool import Pool


@pytest.fixture(scope="session")
def mlc_engines() -> Iterator[Pool]:
    """Engine processes that start when they are first needed, and serve all tests."""
    from .equivalence.engines.pool import Pool

    with Pool() as engines:
        yield engines


@pytest.fixture
def assert_equivalent(mlc_engines: Pool) -> Callable[..., Report]:
    """`mlc.testing.assert_equivalent` on the engines of the session."""
    from .testing import assert_equivalent

    def check(*arguments: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        return assert_equivalent(*arguments, **{"pool": mlc_engines, **options})

    check.__doc__ = assert_equivalent.__doc__
    return check
