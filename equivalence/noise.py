"""The yardstick: how far rounding moves each tensor of the reference.

The graph runs a few times in float64 with every input, weight and result moved at random by as much
as f32 rounds it: by eps * |result| where an op rounds once, by eps times the op on absolute values
where it sums. What lies on a discrete choice (a relu at zero, a tie) is found on the way. For a
target that multiplies matrices in bf16, what goes into a product, and the product, move by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compiler.graph import Node, Value
from ..compiler.run import attributes
from .margin import distance
from .reference import Feed, Joint, Key, parts
from .summation import in_order

RUNS = 6
WATCHED = 2
EPS = float(np.finfo(np.float32).eps)
FLOOR = 4 * EPS
"""The least yardstick, relative to the tensor: no engine is asked to be better than this."""

SAFETY = 4.0
"""A choice is safe if its margin is this many times what rounding was seen to move it by."""


@dataclass(frozen=True)
class Rounding:
    """How a target rounds: in f32, or with products of matrices in less.

    `product` is the eps of what is multiplied and of the product as it is held; it is summed, as
    everything else is computed, in f32.
    """

    name: str
    product: float = EPS


F32 = Rounding("f32")
BF16 = Rounding("bf16", 2.0**-7)

PRODUCTS = frozenset({"matmul", "conv", "conv_transpose", "linear", "bilinear", "einsum", "resize"})
"""Ops that multiply matrices."""


TERMS = {"sigmoid": 0.5}
"""What engines add up to an op's result, where that may be much less: a sigmoid is 0.5 and a
fraction that is fitted to its rise from there, so that ONNX Runtime's is 0 below -18."""


@dataclass(frozen=True)
class Yardstick:
    """How far rounding moves a tensor: root mean square over elements and runs, and the most."""

    rms: float
    most: float


@dataclass(frozen=True)
class Hazard:
    """A node with `count` elements that are as near to a step as rounding may move them."""

    node: Node
    count: int

    def __str__(self) -> str:
        where = f" at {self.node.span}" if self.node.span else ""
        return (
            f"{self.count} elements of a {self.node.op.name}{where} lie on a step, within rounding"
        )


@dataclass
class Noise:
    """What some perturbed runs showed: a yardstick for each tensor, and the hazards."""

    yardsticks: Mapping[Key, Yardstick]
    hazards: list[Hazard] = field(default_factory=list)


def measure(
    joint: Joint,
    feed: Feed,
    rng: np.random.Generator,
    *,
    strict: bool,
    rounding: Rounding = F32,
) -> Noise:
    """Perturbs RUNS runs of the reference at `feed`; `strict` stops at the first hazard."""
    still = _Still(joint, feed)
    clean = joint.run(feed, expanded=True, perturb=still)
    squares = dict.fromkeys(clean, 0.0)
    most = dict.fromkeys(clean, 0.0)
    for _ in range(RUNS):
        moved = _Moved(still, rng, rounding)
        found = joint.run(_perturbed(feed, rng), expanded=True, perturb=moved)
        for key, array in found.items():
            away = _away(array, clean[key])
            squares[key] += float(np.mean(away**2)) / RUNS if away.size else 0.0
            most[key] = max(most[key], float(np.max(away, initial=0.0)))
        if strict and still.hazards():
            break
    yardsticks = {key: Yardstick(float(np.sqrt(squares[key])), most[key]) for key in clean}
    return Noise(yardsticks, still.hazards())


def observe(joint: Joint, feed: Feed, rng: np.random.Generator) -> Mapping[Node, Step]:
    """How near the discrete choices at `feed` are to choosing otherwise, after some noisy runs; of
    one that is made again and again, the first time."""
    still = _Still(joint, feed)
    joint.run(feed, expanded=True, perturb=still)
    for _ in range(WATCHED):
        joint.run(_perturbed(feed, rng), expanded=True, perturb=_Moved(still, rng))
    return {node: step for (node, time), step in still.steps.items() if not time}


def _away(array: Any, clean: Any) -> Any:
    """Absolute differences, zero where one is not finite."""
    a, b = np.asarray(array, np.float64), np.asarray(clean, np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    return np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0))


def _perturbed(feed: Feed, rng: np.random.Generator) -> Feed:
    """Inputs, cotangents and weights, moved by the rounding of f32."""
    moved = (
        {name: _move(np.asarray(x), rng) for name, x in arrays.items()}
        for arrays in (feed.inputs, feed.cotangents, feed.weights)
    )
    return Feed(feed.sizes, *moved)


def _move(x: Any, rng: np.random.Generator, bound: Any = None, eps: float = EPS) -> Any:
    """A float `x` moved by up to `eps` times `bound` (|x| if None), where that is finite."""
    if x.dtype.kind != "f" or x.dtype.itemsize < 4:
        return x
    x = x.astype(np.float64, copy=False)
    by = rng.random(x.shape, np.float32) - np.float32(0.5)
    by = by * (x if bound is None else bound) * (2 * eps)
    return x + (by if np.isfinite(np.sum(by)) else np.where(np.isfinite(by), by, 0.0))


class _Still:
    """The hook of the run without noise: remembers bounds of sums, and distances from steps, of
    each node each time that it runs."""

    def __init__(self, joint: Joint, feed: Feed) -> None:
        self.joint = joint
        self.sizes = feed.sizes
        self.times: Counter[Node] = Counter()
        self.bounds: dict[tuple[Node, int], tuple[Any, ...]] = {}
        self.steps: dict[tuple[Node, int], Step] = {}

    def __call__(self, node: Node, arrays: Any, results: Any) -> Any:
        now = (node, self.times[node])
        self.times[node] += 1
        if node.op.rounding == "sum":
            self.bounds[now] = self.bound(node, arrays)
        if node in self.joint.discrete:
            self.steps[now] = Step(distance(node, arrays), results, arrays[0])
        return results

    def bound(self, node: Node, arrays: Any) -> tuple[Any, ...]:
        """The op on absolute values; more where adding in order loses more than an eps of that."""
        positive = [np.abs(x) if x is not None and x.dtype.kind == "f" else x for x in arrays]
        attrs = attributes(node, self.sizes, "f64")
        found = node.op.eval(*positive, **attrs)
        if isinstance(found, tuple):
            return found
        seen = in_order(node, arrays, attrs)
        return (found if seen is None else _widened(found, *seen),)

    def hazards(self) -> list[Hazard]:
        """The nodes that the runs so far have moved, or may move, over a step."""
        counts: Counter[Node] = Counter()
        for (node, _), step in self.steps.items():
            counts[node] += step.near()
        return [Hazard(node, count) for node, count in counts.items() if count]


def _widened(bound: Any, places: Any, lost: Any) -> Any:
    """`bound`, so wide that moving by it loses as much as was lost at these places."""
    needed = lost * np.sqrt(3.0) / EPS  # _move draws evenly from -bound to bound, times EPS
    bound = np.asarray(bound, np.float64)
    known = bound.reshape(-1)[places]
    if len(places) == bound.size:
        return np.maximum(known, needed).reshape(bound.shape)
    scale = np.sqrt(np.mean(known**2))
    return bound * max(1.0, np.sqrt(np.mean(needed**2)) / scale) if scale > 0 else bound


class Step:
    """A discrete node: how far its elements are from a step, and how far noise has moved them.

    `given` is its first input.
    """

    def __init__(self, apart: Any, results: Any, given: Any) -> None:
        self.apart = apart
        self.results = results
        self.given = given
        self.moved: Any = None if apart is None else np.zeros_like(apart)
        self.flips = 0

    @property
    def compares(self) -> bool:
        """Whether it compares its first input, element by element, with something."""
        return self.apart is not None and self.apart.shape == self.given.shape

    def see(self, apart: Any, results: Any) -> None:
        """Takes note of a perturbed run."""
        if apart is not None:
            with np.errstate(invalid="ignore"):
                self.moved = np.fmax(self.moved, np.abs(apart - self.apart))
        for old, new in zip(self.results, results, strict=True):
            if old.dtype.kind != "f":
                self.flips = max(self.flips, int(np.sum(old != new)))

    def reach(self) -> Any:
        """How near each element may come to the step; 0 where rounding does not move it.

        An element that stands on the step exactly and does not move is there by construction.
        """
        typical = np.sqrt(np.mean(self.moved**2)) if self.moved.size else 0.0
        return SAFETY * np.where(self.moved > 0, np.maximum(self.moved, typical), 0.0)

    def near(self) -> int:
        """How many elements noise moved over the step, or is as large as their distance from it."""
        if self.apart is None:
            return self.flips
        near = int(np.sum((np.abs(self.apart) <= self.reach()) & (self.moved > 0)))
        return max(near, self.flips)


class _Moved:
    """The hook of a perturbed run."""

    def __init__(self, still: _Still, rng: np.random.Generator, rounding: Rounding = F32) -> None:
        self.still = still
        self.rng = rng
        self.rounding = rounding
        self.times: Counter[Node] = Counter()
        self.fixed: set[Value] = set()

    def __call__(self, node: Node, arrays: Any, results: Any) -> Any:
        now = (node, self.times[node])
        self.times[node] += 1
        step = self.still.steps.get(now)
        if step is not None:
            step.see(distance(node, arrays), results)
        if all(value in self.fixed for value in node.values):
            # Computed once, as 2 - 1 is for an exponent, which must stay whole.
            self.fixed.update(node.outputs)
            return tuple(y if _fits(y) else _move(y, self.rng) for y in results)
        if self.rounding.product > EPS and node.op.name in PRODUCTS:
            return (self._product(node, arrays),)
        if node.op.name in TERMS:
            least = TERMS[node.op.name]
            return tuple(_move(y, self.rng, np.maximum(np.abs(y), least)) for y in results)
        match node.op.rounding:
            case "sum":
                bounds = self.still.bounds.get(now) or self.still.bound(node, arrays)
                return tuple(_move(y, self.rng, b) for y, b in zip(results, bounds, strict=True))
            case "exact":
                return results
        return tuple(_move(y, self.rng) for y in results)

    def _product(self, node: Node, arrays: Any) -> Any:
        """A product of what was rounded before, rounded once more."""
        eps = self.rounding.product
        given = [None if x is None else _move(x, self.rng, eps=eps) for x in arrays]
        product = node.op.eval(*given, **attributes(node, self.still.sizes, "f64"))
        return _move(product, self.rng, eps=eps)


def _fits(x: Any) -> bool:
    """Whether f32 holds `x` exactly."""
    return x.dtype.kind != "f" or bool(np.array_equal(x.astype(np.float32), x, equal_nan=True))


def downstream(hazards: Iterable[Hazard], joint: Joint) -> dict[Key, str]:
    """The tensors that a hazard's node reaches, and the hazard, as text."""
    graph = joint.expanded
    reached: dict[Value, str] = {}
    texts = {hazard.node: str(hazard) for hazard in hazards}
    for node in graph:
        own = (texts[part] for part in parts(node) if part in texts)
        text = next(own, None) or next((reached[v] for v in node.values if v in reached), None)
        if text is not None:
            reached.update(dict.fromkeys(node.outputs, text))
    found = {
        joint.keys[name]: reached[value]
        for name, value in graph.outputs.items()
        if value in reached
    }
    for weight, (value, _) in graph.updates.items():
        if value in reached:
            found[Key("update", weight.path)] = reached[value]
    return found
