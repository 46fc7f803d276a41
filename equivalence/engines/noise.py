"""Noise that a file draws: a job's own in its place, or what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .protocol import Draw


class Given:
    """Gives a file the job's noise, in the order in which it draws."""

    def __init__(self, noise: Sequence[tuple[str, Any]]) -> None:
        self.noise = noise
        self.count = 0

    def __call__(self, distribution: str, shape: Sequence[int]) -> Any:
        """The next array; raises RuntimeError if the file draws another kind, shape or count."""
        asked = f"{distribution} {tuple(shape)}"
        if self.count == len(self.noise):
            raise RuntimeError(f"the file draws {asked} beyond what it says it draws")
        kind, array = self.noise[self.count]
        said = f"{kind} {tuple(array.shape)}"
        if asked != said:
            raise RuntimeError(f"the file draws {asked}, and says that it draws {said}")
        self.count += 1
        return array

    def finish(self) -> None:
        """Raises RuntimeError if the file has not drawn all that it says."""
        if self.count < len(self.noise):
            raise RuntimeError(f"the file draws {self.count} times, and says {len(self.noise)}")


@contextmanager
def replaced(
    space: Any, functions: Mapping[str, str], wrap: Callable[[str, Any], Any]
) -> Iterator[None]:
    """Within this context `wrap(distribution, function)` stands for each of these functions of a
    module: name -> what it draws."""
    plain = {name: getattr(space, name) for name in functions}
    for name, function in plain.items():
        setattr(space, name, wrap(functions[name], function))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(space, name, function)


def observe(distribution: str, array: Any) -> Draw:
    """What the numbers of one draw are."""
    x = np.asarray(array, np.float64)
    ends = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return Draw(distribution, x.size, float(x.sum()), float((x**2).sum()), *ends, digest)


def recording(draws: list[Draw]) -> Callable[[str, Any], Any]:
    """For `replaced`: what is drawn is noted in `draws`, and stays as it is."""

    def wrap(distribution: str, function: Any) -> Any:
        def draw(*args: Any, **options: Any) -> Any:
            array = function(*args, **options)
            draws.append(observe(distribution, np.array(array)))
            return array

        return draw

    return wrap
