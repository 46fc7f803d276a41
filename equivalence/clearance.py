"""Moves biases a little, so that no element lies on a step of a discrete op, within rounding.

A deep network compares so many elements with zero that hardly any draw keeps all of them clear of
it. What lies too near is moved away by the bias that was added to it last.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..compiler.graph import Node, Value, Weight
from .noise import Step, observe
from .reference import Feed, Joint

ROUNDS = 6
"""How often biases are moved at most; what still lies on a step then needs another draw."""

NEAR, AWAY = 2.0, 3.0
"""In units of what is too near: what is moved, and how far; what is too near differs by draw."""

TRIES = 64


def clear(joint: Joint, feed: Feed, rng: np.random.Generator, free: Container[str]) -> Feed:
    """`feed`, with those of the weights in `free` moved that keep elements clear of steps."""
    if not joint.discrete:
        return feed
    for _ in range(ROUNDS):
        steps = observe(joint.steps, feed, rng)
        if not any(step.near() for step in steps.values()):
            break
        mover = _Mover(joint.steps, steps, feed, free)
        joint.steps.run(feed, expanded=True, perturb=mover)
        if not mover.moved:
            break
        feed = replace(feed, weights={**feed.weights, **mover.moved})
    return feed


class _Mover:
    """The hook of a run in which each value that is compared is moved clear, in order.

    A value is moved as its bias would move it, so that what follows sees it where it will be.
    """

    def __init__(
        self, joint: Joint, steps: Mapping[Node, Step], feed: Feed, free: Container[str]
    ) -> None:
        self.feed = feed
        self.moved: dict[str, Any] = {}
        self.steps: dict[Node, list[Step]] = {}
        self.biases: dict[Node, tuple[Weight, int]] = {}
        for node, step in steps.items():
            value, origin = node.inputs[0], joint.discrete[node].inputs[0]
            if step.compares and value is not None and value.node and origin is not None:
                bias = _bias(origin)
                if bias is not None and bias[0].path in free:
                    self.biases[value.node] = bias
                    self.steps.setdefault(value.node, []).append(step)

    def __call__(self, node: Node, arrays: Any, results: Any) -> Any:
        if node not in self.steps:
            return results
        (x,) = results
        weight, axis = self.biases[node]
        steps = [step for step in self.steps[node] if step.apart.shape == x.shape]
        if weight.path in self.moved or not steps or x.shape[axis] != weight.type.shape[0]:
            return results
        apart = [_rows(step.apart + (x - step.given), axis) for step in steps]
        reach = [_rows(step.reach(), axis) for step in steps]
        by = _shifts(np.concatenate(apart, 1), np.concatenate(reach, 1))
        if not by.any():
            return results
        old = self.feed.weights[weight.path]
        self.moved[weight.path] = new = (old + by).astype(old.dtype)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        return ((x + (new.astype(x.dtype) - old).reshape(shape)),)


def _rows(x: Any, axis: int) -> Any:
    """One row for each place on the axis."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _bias(value: Value) -> tuple[Weight, int] | None:
    """The weight that was added to `value` last, one number for each place on an axis of it."""
    node = value.node
    if node is None:
        return None
    names = [name.rstrip("?") for name in (*node.op.inputs, *node.op.weights)]
    for name, weight in zip(names, node.inputs, strict=False):
        if name == "bias" and isinstance(weight, Weight) and weight.type.rank == 1:
            last = node.op.name in ("linear", "layer_norm")
            return weight, value.type.rank - 1 if last else 1
    if node.op.name in ("add", "sub", "dropout", "channel_dropout", "drop_path"):
        for operand in node.inputs if node.op.name == "add" else node.inputs[:1]:
            if operand is not None and operand.type.shape == value.type.shape:
                found = _bias(operand)
                if found is not None:
                    return found
    return None


def _shifts(apart: Any, reach: Any) -> Any:
    """What to add to each row, so that nothing in it is within `reach` of 0."""
    shifts = np.zeros(len(apart))
    near = (np.abs(apart) <= NEAR * reach) & (reach > 0)
    for i in np.flatnonzero(near.any(1)):
        wide = AWAY * float(np.max(reach[i]))
        by = (sign * k * wide for k in range(1, TRIES) for sign in (1, -1))
        shifts[i] = next((d for d in by if np.min(np.abs(apart[i] + d)) > wide), 0.0)
    return shifts
