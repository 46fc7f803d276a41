"""A case: one mode, one choice of sizes, one draw of inputs and weights, and the truth for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..compiler.graph import Graph
from . import feeds
from .clearance import clear
from .compare import LIMIT, ROUGH, Scale, scales
from .noise import BF16, Noise, Rounding, downstream, measure
from .reference import Feed, Joint, Key, Truth, gradient_error
from .sizes import Sizes, describe

DRAWS = 20
"""How often inputs are drawn again so that no element lies on a step, within rounding."""

MODES = ("inference", "training")


@dataclass(frozen=True)
class Case:
    """`unseen` holds what lies behind a step that no draw kept clear of, and why.

    `moved` says that some weights are not those that were given, see `clear`; `variant` numbers the
    ways in which cases are drawn.
    """

    mode: str
    sizes: Sizes
    seed: int
    joint: Joint
    feed: Feed
    truth: Truth
    noise: Noise
    unseen: Mapping[Key, str]
    gradient_error: float
    moved: bool = False
    variant: int = 0
    limit: float = LIMIT

    @property
    def title(self) -> str:
        return describe(self.sizes)

    @cached_property
    def scales(self) -> dict[Key, Scale]:
        """What the error of each tensor is measured in."""
        return scales(self.truth, self.noise.yardsticks, self.limit)


def settle(
    graph: Graph,
    joint: Joint,
    mode: str,
    sizes: Sizes,
    seed: int,
    weights: Mapping[str, Any],
    *,
    optional: bool,
    free: Container[str] = (),
    mean: float = feeds.MEAN,
) -> Case:
    """Draws inputs until none lies on a step, and runs the reference on them.

    `optional` says whether inputs that may be left out are given, `free` are the paths of weights
    that may be moved a little, `mean` is that of float inputs.
    """
    best: tuple[int, Feed, Noise, Truth] | None = None
    positive = False
    for draw in range(DRAWS):
        rng = feeds.seeded(seed, MODES.index(mode), *sizes.values(), draw)
        given = feeds.inputs(graph, sizes, rng, optional=optional, positive=positive, mean=mean)
        feed = Feed(sizes, given, _cotangents(graph, joint, sizes, rng), dict(weights))
        feed = clear(joint, feed, rng, free)
        truth = joint.run(feed)
        undefined = sum(bool(np.isnan(array).any()) for array in _floats(truth))
        positive = undefined > 0
        noise = measure(joint, feed, rng, strict=True)
        risk = undefined * 10**9 + sum(hazard.count for hazard in noise.hazards)
        if best is None or risk < best[0]:
            best = risk, feed, noise, truth
        if not risk:
            break
    assert best is not None
    risk, feed, noise, truth = best
    rng = feeds.seeded(seed, 1, 2, 3)
    if risk:
        noise = measure(joint, feed, rng, strict=False)
    error = max((gradient_error(joint, feed, truth, rng) for _ in range(2)), default=0.0)
    unseen = downstream(noise.hazards, joint) | _undefined(truth)
    moved = any(feed.weights[path] is not weight for path, weight in weights.items())
    return Case(mode, sizes, seed, joint, feed, truth, noise, unseen, error, moved)


def rough(
    graph: Graph,
    joint: Joint,
    mode: str,
    sizes: Sizes,
    seed: int,
    weights: Mapping[str, Any],
    *,
    optional: bool,
    rounding: Rounding = BF16,
) -> Case:
    """A case for a precision so low that noise crosses steps whatever is drawn: it is part of the
    yardstick, and what is no float, and moved by it, is not judged."""
    rng = feeds.seeded(seed, MODES.index(mode), *sizes.values(), 0)
    given = feeds.inputs(graph, sizes, rng, optional=optional)
    feed = Feed(sizes, given, _cotangents(graph, joint, sizes, rng), dict(weights))
    truth = joint.run(feed)
    noise = measure(joint, feed, rng, strict=False, rounding=rounding)
    error = max((gradient_error(joint, feed, truth, rng) for _ in range(2)), default=0.0)
    unseen = _undefined(truth) | {
        key: f"it is chosen by numbers that {rounding.name} does not tell apart"
        for key, array in truth.items()
        if array.dtype.kind != "f" and noise.yardsticks[key].most
    }
    return Case(mode, sizes, seed, joint, feed, truth, noise, unseen, error, limit=ROUGH)


def _cotangents(
    graph: Graph, joint: Joint, sizes: Sizes, rng: np.random.Generator
) -> dict[str, Any]:
    """None where the reference has no gradient: then no target is asked for one."""
    return {} if joint.no_gradient else feeds.cotangents(graph, sizes, rng)


def _floats(truth: Truth) -> list[Any]:
    return [array for array in truth.values() if array.dtype.kind == "f"]


def _undefined(truth: Truth) -> dict[Key, str]:
    return {
        key: "the reference is not a number for any inputs that were drawn"
        for key, array in truth.items()
        if array.dtype.kind == "f" and np.isnan(array).any()
    }
