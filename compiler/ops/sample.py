"""Elements of images at places that are no whole numbers."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_equal
from .broadcast import number, require_floating, require_same_dtype
from .compare import GREATER, LESS, LOGICAL_AND
from .elementwise import ADD, CAST, MAXIMUM, MINIMUM, MUL, SUB, WHERE
from .function import FLOOR, ROUND
from .index import GATHER_ELEMENTS, cut
from .shape import EXPAND, RESHAPE, UNSQUEEZE


def _infer(x: Type, grid: Type, **_: Any) -> Type:
    require_floating("grid_sample", x, grid)
    require_same_dtype("grid_sample", x, grid)
    message = (
        "grid_sample takes images (batch, channels, height, width) and places"
        f" (batch, rows, columns, 2), and gets {x} and {grid}"
    )
    if x.rank != 4 or grid.rank != 4:
        raise TypeMismatch(message)
    require_equal(x.shape[0], grid.shape[0], message)
    require_equal(grid.shape[3], 2, message)
    labels = (*x.labels[:2], *grid.labels[1:3])
    return Type(x.dtype, (*x.shape[:2], *grid.shape[1:3]), labels)


# ----------------------------------------------------------------------------------------- eval


def _place(g: Any, size: int, align_corners: bool, padding: str) -> Any:
    """-1 .. 1 as a place of an axis."""
    at = (g + 1) * (size - 1) / 2 if align_corners else ((g + 1) * size - 1) / 2
    return np.clip(at, 0, size - 1) if padding == "border" else at


def _taken(x: Any, row: Any, column: Any) -> Any:
    """x at whole places (batch, rows, columns), 0 outside: (batch, channels, rows, columns)."""
    height, width = x.shape[2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    r = np.clip(row, 0, height - 1).astype(np.int64)
    c = np.clip(column, 0, width - 1).astype(np.int64)
    batch = np.arange(x.shape[0])[:, None, None]
    found = np.moveaxis(x[batch, :, r, c], -1, 1)
    return np.where(inside[:, None], found, np.zeros((), x.dtype))


def _eval(x: Any, grid: Any, mode: str, padding: str, align_corners: bool) -> Any:
    column = _place(grid[..., 0], x.shape[3], align_corners, padding)
    row = _place(grid[..., 1], x.shape[2], align_corners, padding)
    if mode == "nearest":
        return _taken(x, np.rint(row), np.rint(column))
    top, left = np.floor(row), np.floor(column)
    down, right = row - top, column - left
    total: Any = 0
    for i, share in ((0, 1 - down), (1, down)):
        for j, part in ((0, 1 - right), (1, right)):
            total = total + _taken(x, top + i, left + j) * (share * part)[:, None]
    return total.astype(x.dtype)


# ----------------------------------------------------------------------------------------- body


def _at(b: Build, g: Value, axis: int, size: Dim, align_corners: bool, padding: str) -> Value:
    """`_place` of one of the two coordinates."""
    plain = b(ADD, b(RESHAPE, cut(b, g, 3, axis, axis + 1), shape=g.type.shape[:3]), 1.0)
    if align_corners:
        at = b(MUL, plain, _half(b, size - 1, g))
    else:
        at = b(SUB, b(MUL, plain, _half(b, size, g)), 0.5)
    if padding == "border":
        at = b(MINIMUM, b(MAXIMUM, at, 0.0), number(b, size - 1, g))
    result: Value = at
    return result


def _half(b: Build, size: Dim, like: Value) -> Value | float:
    whole = number(b, size, like)
    return whole / 2 if isinstance(whole, float) else b(MUL, whole, 0.5)


def _pick(b: Build, x: Value, row: Value, column: Value) -> Value:
    """`_taken` in the graph; `row` and `column` are whole floats (batch, rows, columns)."""
    batch, channels, height, width = x.type.shape
    rows, columns = row.type.shape[1:]
    last, end = number(b, height - 1, row), number(b, width - 1, row)
    r, c = (b(MAXIMUM, b(MINIMUM, at, most), 0.0) for at, most in ((row, last), (column, end)))
    r, c = (b(CAST, b(ADD, at, 0.25), dtype="i32") for at in (r, c))  # not on a step of the cast
    wide = width if isinstance(width, int) else b.constant(width, "i32")
    place = b(ADD, b(MUL, r, wide), c)
    flat = b(RESHAPE, x, shape=(batch, channels, height * width))
    index = b(EXPAND, b(RESHAPE, place, shape=(batch, 1, rows * columns)),
              shape=(batch, channels, rows * columns))  # fmt: skip
    found = b(GATHER_ELEMENTS, flat, index, axis=2)
    picked = b(RESHAPE, found, shape=(batch, channels, rows, columns))
    inside = b(LOGICAL_AND, _within(b, row, last), _within(b, column, end))
    result: Value = b(WHERE, b(UNSQUEEZE, inside, axes=(1,)), picked, 0.0)
    return result


def _within(b: Build, at: Value, last: Value | float) -> Value:
    """Whether whole places lie on the axis, asked between them."""
    end = last + 0.25 if isinstance(last, float) else b(ADD, last, 0.25)
    result: Value = b(LOGICAL_AND, b(GREATER, at, -0.25), b(LESS, at, end))
    return result


def _body(b: Build, x: Value, grid: Value, mode: str, padding: str, align_corners: bool) -> Value:
    column = _at(b, grid, 0, x.type.shape[3], align_corners, padding)
    row = _at(b, grid, 1, x.type.shape[2], align_corners, padding)
    if mode == "nearest":
        return _pick(b, x, b(ROUND, row), b(ROUND, column))
    top, left = b(FLOOR, row), b(FLOOR, column)
    down, right = b(SUB, row, top), b(SUB, column, left)
    total: Value | None = None
    for i, share in enumerate((b(SUB, 1.0, down), down)):
        for j, part in enumerate((b(SUB, 1.0, right), right)):
            found = _pick(b, x, b(ADD, top, float(i)), b(ADD, left, float(j)))
            term = b(MUL, found, b(UNSQUEEZE, b(MUL, share, part), axes=(1,)))
            total = term if total is None else b(ADD, total, term)
    assert total is not None
    return total


_INSIDE = ((2, 3, 4, 2), "f32", -0.95, 0.95)
_BEYOND = ((2, 3, 4, 2), "f32", -1.7, 1.7)

GRID_SAMPLE = Op(
    "grid_sample",
    inputs=("x", "grid"),
    config={
        "mode": Config("str", "linear", ("linear", "nearest")),
        "padding": Config("str", "zeros", ("zeros", "border"), "what lies outside the image"),
        "align_corners": Config(
            "bool", False,
            doc="whether -1 and 1 are the middles of the outermost pixels, not their edges",
        ),
    },
    infer=_infer,
    eval=_eval,
    body=_body,
    rounding="sum",
    kinks="by the grid: at whole places its derivative is the slope towards the next pixel, where"
    " places end at the border half of it, and of the nearest pixel 0",
    samples=(
        {"x": (2, 3, 5, 7), "grid": _INSIDE},
        {"x": (2, 3, 5, 7), "grid": _BEYOND},
        {"x": (2, 3, 5, 7), "grid": _BEYOND, "padding": "border"},
        {"x": (2, 3, 5, 7), "grid": _BEYOND, "align_corners": True},
        {"x": (2, 3, 5, 7), "grid": _BEYOND, "align_corners": True, "padding": "border"},
        {"x": (2, 3, 5, 7), "grid": _BEYOND, "mode": "nearest"},
        {"x": (2, 3, 5, 7), "grid": _BEYOND, "mode": "nearest", "padding": "border",
         "align_corners": True},
    ),
    doc="The image at the places (x, y) of a grid (batch, rows, columns, 2), where -1 and 1 are its"
    " sides: between pixels a blend of four (linear), or the nearest one, halves to the even one.",
)  # fmt: skip

SAMPLING = (GRID_SAMPLE,)
