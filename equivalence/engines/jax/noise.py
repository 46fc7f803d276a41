"""What draws noise in JAX, and a job's arrays in its place, also while a call is traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from ..noise import Given, replaced
from ..protocol import Job

DRAWING = {"normal": "normal", "uniform": "uniform"}
"""The functions of jax.random."""


@contextmanager
def given(job: Job, arrays: Sequence[Any]) -> Iterator[None]:
    """Within this context one call draws these arrays, of the job's distributions."""
    kinds = (kind for kind, _ in job.noise)
    draws = Given([*zip(kinds, arrays, strict=True)])

    def wrap(distribution: str, _: Any) -> Any:
        def draw(key: Any, shape: Sequence[int] = (), *_: Any, **__: Any) -> Any:
            return jnp.asarray(draws(distribution, shape))

        return draw

    with replaced(jax.random, DRAWING, wrap):
        yield
    draws.finish()
