"""How far a discrete op is from choosing otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..compiler.graph import Node


def _between(a: Any, b: Any, **attrs: Any) -> Any:
    return a - b


def _to_whole(x: Any, **attrs: Any) -> Any:
    return x - np.rint(x)


def _to_half(x: Any, **attrs: Any) -> Any:
    return x - np.floor(x) - 0.5


def _quotient(a: Any, b: Any, **attrs: Any) -> Any:
    return _to_whole(a / b)


def _runner_up(x: Any, *, axis: Any = None, axes: Any = None, **attrs: Any) -> Any:
    """The first of an axis less the second, or their distance: an argmax between equals."""
    axis = axes if axis is None else axis
    axis = axis[0] if isinstance(axis, tuple) else axis
    if axis is None:
        x, axis = x.reshape(-1), 0
    if x.shape[axis] < 2:
        return np.full((), np.inf)
    ordered = np.sort(x, axis)
    return np.take(ordered, -1, axis) - np.take(ordered, -2, axis)


def _least(x: Any, **attrs: Any) -> Any:
    return _runner_up(-x, **attrs)


DISTANCES: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), _between
    ),
    "sign": lambda x, **attrs: x,
    **dict.fromkeys(("floor", "ceil", "trunc", "cast"), _to_whole),
    "round": _to_half,
    **dict.fromkeys(("floor_div", "mod"), _quotient),
    "argmax": _runner_up,
    "argmin": _least,
}
"""Op -> (*arrays, **attrs) -> signed distances from the nearest step, in units of the input."""


def distance(node: Node, arrays: Any) -> Any:
    """How far each element is from a step; None for an op that the table does not have."""
    rule = DISTANCES.get(node.op.name)
    if rule is None:
        return None
    given = [np.asarray(x, np.float64) for x in arrays]
    with np.errstate(all="ignore"):
        apart = rule(*given, **node.attrs)
        return np.where(np.isfinite(apart), apart, np.inf)
