"""Noise as a file draws it by itself: by its own distribution, and other noise at each call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..backends.artefact import Port
from .compare import Row
from .dropout import SIGMAS, TELLING
from .engines.protocol import Draw

MOMENTS = {"normal": (0.0, 1.0, 2.0), "uniform": (1 / 2, 1 / 12, 1 / 180)}
"""The mean of a distribution, its variance, and that of a square around the mean."""


def drawn(
    target: str, mode: str, size: str, noise: Sequence[Port], draws: Sequence[Draw]
) -> Iterator[Row]:
    """A row for each noise of a file, of which `draws` are those of two calls.

    It is different if mean, variance or range are not those of the distribution, if the calls draw
    the same, or if it is what another noise is.
    """
    if len(draws) != 2 * len(noise):
        note = f"it draws {len(draws)} times in two calls, and says {len(noise)} for one"
        yield Row(target, mode, size, "noise", "all", "failed", note=note)
        return
    digests = [draw.digest for draw in draws]
    for i, port in enumerate(noise):
        seen = (draws[i], draws[i + len(noise)])
        faults = list(_faults(port.noise, seen))
        if min(draw.count for draw in seen) > 1 and any(digests.count(d.digest) > 1 for d in seen):
            faults.append("it draws what was drawn before")
        verdict = "different" if faults else "equal"
        yield Row(target, mode, size, "noise", port.name, verdict, note="; ".join(faults))


def _faults(distribution: str, seen: Sequence[Draw]) -> Iterator[str]:
    if any(draw.distribution != distribution for draw in seen):
        yield f"it is {seen[0].distribution}, and should be {distribution}"
    wanted, spread, fourth = MOMENTS[distribution]
    count = sum(draw.count for draw in seen)
    mean = sum(draw.total for draw in seen) / max(count, 1)
    if abs(mean - wanted) > SIGMAS * math.sqrt(spread / max(count, 1)):
        yield f"its mean is {mean:.3g}"
    squares = sum(draw.squares for draw in seen) / max(count, 1)
    variance = squares - 2 * wanted * mean + wanted**2
    off = abs(variance - spread)
    if count >= TELLING and off > 2 * SIGMAS * math.sqrt(fourth / count):  # squares have long tails
        yield f"its variance is {variance:.3g}"
    inside = all(draw.least >= 0 and draw.greatest < 1 for draw in seen)
    if distribution == "uniform" and not inside:
        yield "it is not in 0 .. 1"
