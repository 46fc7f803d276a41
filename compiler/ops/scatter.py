"""Placing elements by position: instead of what stands there, or where they are larger."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..diagnose import MlcError
from ..graph import Type, Value
from ..op import Build, Config, Op
from .broadcast import require_numeric
from .compare import EQUAL, GREATER
from .elementwise import CAST, DIV, WHERE
from .index import GATHER_ELEMENTS, SCATTER_ADD, checked, require_scatter
from .join import CONCAT
from .reduce import MAX
from .sequence import IOTA
from .shape import EXPAND, RESHAPE, UNSQUEEZE, zeros

_CONFIG = {"axis": Config("axis", doc="the axis into which index points")}


def _places(index: Any, size: int, axis: int) -> tuple[Any, ...]:
    """The positions that `index` names, one array an axis."""
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = checked(index, size)
    return tuple(places)


def _scatter_infer(x: Type, index: Type, updates: Type, axis: int) -> Type:
    require_scatter("scatter", x, index, updates, axis)
    return x


def _scatter_eval(x: Any, index: Any, updates: Any, axis: int) -> Any:
    places = _places(index, x.shape[axis], axis)
    taken = np.zeros(x.shape, np.int64)
    np.add.at(taken, places, 1)
    if (taken > 1).any():
        where = tuple(map(int, np.argwhere(taken > 1)[0]))
        raise MlcError("feed", f"scatter puts more than one element at {where}")
    result = np.array(x)
    result[places] = updates
    return result


def _scatter_body(b: Build, x: Value, index: Value, updates: Value, axis: int) -> Value:
    """What will be replaced becomes 0, so that adding puts the updates there as they are."""
    one = b(EXPAND, b.constant(1, "i32"), shape=index.type.shape)
    hits = b(SCATTER_ADD, zeros(b, x.type.with_(dtype="i32")), index, one, axis=axis)
    rest = b(WHERE, b(GREATER, hits, 0), b.constant(0, x.type.dtype), x)
    result: Value = b(SCATTER_ADD, rest, index, updates, axis=axis)
    return result


def _scatter_grad(
    b: Build, g: Value, y: Value, x: Value, index: Value, updates: Value, axis: int
) -> list[Any]:
    none = zeros(b, updates.type)
    return [b(SCATTER, g, index, none, axis=axis), None, b(GATHER_ELEMENTS, g, index, axis=axis)]


SCATTER = Op(
    "scatter",
    inputs=("x", "index", "updates"),
    config=_CONFIG,
    infer=_scatter_infer,
    eval=_scatter_eval,
    body=_scatter_body,
    grad=_scatter_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (2, 5), "index": ([[4, 0, 2], [1, 3, 0]], "i64"), "updates": (2, 3), "axis": 1},
        {"x": (4, 2), "index": ([[3, 0], [1, 2]], "i32"), "updates": (2, 2), "axis": 0},
        {"x": ((3,), "i32"), "index": ([2, 0], "i32"), "updates": ((2,), "i32"), "axis": 0},
    ),
    doc="x, in which each element of updates takes the place that has `index` on the axis. To name"
    " a place twice is an error: frameworks disagree on which would win.",
)

# ---------------------------------------------------------------------------------- the larger


def _scatter_max_infer(x: Type, index: Type, updates: Type, axis: int) -> Type:
    require_numeric("scatter_max", x)
    require_scatter("scatter_max", x, index, updates, axis)
    return x


def _scatter_max_eval(x: Any, index: Any, updates: Any, axis: int) -> Any:
    result = np.array(x)
    np.maximum.at(result, _places(index, x.shape[axis], axis), updates)
    return result


def _scatter_max_body(b: Build, x: Value, index: Value, updates: Value, axis: int) -> Value:
    """The largest of x and of a line for each update, which is -inf but at the update's place."""
    rank, size = x.type.rank, x.type.shape[axis]
    line = (size, *(1,) * (rank - 1 - axis))
    places = b(RESHAPE, b(IOTA, size=size, dtype=index.type.dtype), shape=line)
    hit = b(EQUAL, b(UNSQUEEZE, index, axes=(axis + 1,)), places)
    own = b(UNSQUEEZE, x, axes=(axis,))
    none = b.constant(float("-inf"), x.type.dtype) if x.type.floating else own
    lines = b(WHERE, hit, b(UNSQUEEZE, updates, axes=(axis + 1,)), none)
    rows = (*index.type.shape[: axis + 1], size, *index.type.shape[axis + 1 :])
    if lines.type.shape != rows:
        lines = b(EXPAND, lines, shape=rows)
    result: Value = b(MAX, b(CONCAT, own, lines, axis=axis), axes=(axis,))
    return result


def _scatter_max_grad(
    b: Build, g: Value, y: Value, x: Value, index: Value, updates: Value, axis: int
) -> list[Any]:
    kept = b(EQUAL, x, y)
    put = b(EQUAL, updates, b(GATHER_ELEMENTS, y, index, axis=axis))
    kind = x.type.dtype
    count = b(SCATTER_ADD, b(CAST, kept, dtype=kind), index, b(CAST, put, dtype=kind), axis=axis)
    share = b(DIV, g, count)
    there = b(GATHER_ELEMENTS, share, index, axis=axis)
    return [b(WHERE, kept, share, 0.0), None, b(WHERE, put, there, 0.0)]


SCATTER_MAX = Op(
    "scatter_max",
    inputs=("x", "index", "updates"),
    config=_CONFIG,
    infer=_scatter_max_infer,
    eval=_scatter_max_eval,
    body=_scatter_max_body,
    grad=_scatter_max_grad,
    rounding="exact",
    layout="axes",
    kinks="elements that share the largest value of a place share its gradient evenly",
    samples=(
        {"x": (2, 5, 3), "index": ((2, 7, 3), "i64", 0, 5), "updates": (2, 7, 3), "axis": 1},
        {"x": (3,), "index": ([2, 2, 0, 2], "i32"), "updates": (4,), "axis": 0},
        {"x": [0.0, 1.0, 2.0], "index": ([0, 0, 1], "i32"), "updates": [0.0, 0.0, 3.0], "axis": 0},
        {"x": ((3,), "i32"), "index": ([2, 2], "i32"), "updates": ((2,), "i32"), "axis": 0},
    ),
    doc="x, in which each place has the largest of its element and of the updates that `index`"
    " sends there.",
)

SCATTERS = (SCATTER, SCATTER_MAX)
