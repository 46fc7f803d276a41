"""Positions and what follows from them: ranges, one-hot rows, running sums, triangles."""

from __future__ import annotations

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most
from .broadcast import require_integer, require_numeric
from .compare import EQUAL, LESS, LESS_EQUAL
from .constant import numpy_dtype
from .elementwise import ADD, CAST, MUL, WHERE
from .reduce import PROD
from .shape import FLIP, RESHAPE, UNSQUEEZE, require_sizes


def _iota_infer(size: Dim, dtype: str) -> Type:
    require_sizes("iota", (size,))
    return Type(dtype, (size,))


IOTA = Op(
    "iota",
    inputs=(),
    config={"size": Config("size"), "dtype": Config("dtype", "i32")},
    infer=_iota_infer,
    eval=lambda size, dtype: np.arange(size).astype(numpy_dtype(dtype)),
    grad=None,
    rounding="exact",
    samples=({"size": 7}, {"size": 3, "dtype": "f32"}),
    doc="The numbers 0 .. size - 1.",
)


def _arange_infer(start: Dim, end: Dim, step: int, dtype: str) -> Type:
    if step == 0:
        raise TypeMismatch("arange takes a step other than 0", "value")
    message = f"arange from {start} to {end} by {step} has no elements"
    require_at_most(1, end - start if step > 0 else start - end, message)
    return Type(dtype, (_steps(start, end, step),))


def _steps(start: Dim, end: Dim, step: int) -> Dim:
    return (end - start + step - 1) // step if step > 0 else (start - end - step - 1) // -step


def _arange_body(b: Build, start: Dim, end: Dim, step: int, dtype: str) -> Value:
    places = b(IOTA, size=_steps(start, end, step), dtype=dtype)
    wide = places if step == 1 else b(MUL, places, step)
    result: Value = wide if start == 0 else b(ADD, wide, b.constant(start, dtype))
    return result


ARANGE = Op(
    "arange",
    inputs=(),
    config={
        "start": Config("size", doc="the first number"),
        "end": Config("size", doc="where the numbers end, which is not one of them"),
        "step": Config("int", 1, doc="may be negative"),
        "dtype": Config("dtype", "i32"),
    },
    infer=_arange_infer,
    eval=lambda start, end, step, dtype: np.arange(start, end, step).astype(numpy_dtype(dtype)),
    body=_arange_body,
    grad=None,
    rounding="exact",
    samples=(
        {"start": 2, "end": 9},
        {"start": 3, "end": 20, "step": 4, "dtype": "f32"},
        {"start": 5, "end": -2, "step": -3, "dtype": "i64"},
    ),
    doc="The numbers start, start + step, ... before end. iota counts from 0.",
)


def _one_hot_infer(index: Type, depth: Dim, dtype: str) -> Type:
    require_integer("one_hot", index)
    require_sizes("one_hot", (depth,))
    return Type(dtype, (*index.shape, depth), (*index.labels, None))


def _one_hot_body(b: Build, index: Value, depth: Dim, dtype: str) -> Value:
    places = b(IOTA, size=depth, dtype=index.type.dtype)
    same = b(EQUAL, b(UNSQUEEZE, index, axes=(index.type.rank,)), places)
    result: Value = same if dtype == "bool" else b(CAST, same, dtype=dtype)
    return result


ONE_HOT = Op(
    "one_hot",
    inputs=("index",),
    config={"depth": Config("size"), "dtype": Config("dtype", "f32")},
    infer=_one_hot_infer,
    eval=lambda index, depth, dtype: (index[..., None] == np.arange(depth)).astype(
        numpy_dtype(dtype)
    ),
    body=_one_hot_body,
    grad=None,
    rounding="exact",
    samples=(
        {"index": ((2, 3), "i32", 0, 5), "depth": 5},
        {"index": ([0, 2, 1], "i64"), "depth": 3, "dtype": "bool"},
    ),
    doc="For each index, a row that is 1 there and 0 elsewhere; all zeros for one outside"
    " 0 .. depth - 1.",
)


def _cumsum_infer(x: Type, axis: int) -> Type:
    require_numeric("cumsum", x)
    return x


def _cumprod_infer(x: Type, axis: int) -> Type:
    require_numeric("cumprod", x)
    return x


def _cumsum_grad(b: Build, g: Value, y: Value, x: Value, axis: int) -> list[Value]:
    reversed_sum = b(CUMSUM, b(FLIP, g, axes=(axis,)), axis=axis)
    return [b(FLIP, reversed_sum, axes=(axis,))]


CUMSUM = Op(
    "cumsum",
    inputs=("x",),
    config={"axis": Config("axis")},
    infer=_cumsum_infer,
    eval=lambda x, axis: np.cumsum(x, axis, dtype=x.dtype),
    grad=_cumsum_grad,
    rounding="sum",
    layout="axes",
    samples=({"x": (2, 5, 3), "axis": 1}, {"x": ((5,), "i32"), "axis": 0}),
    doc="Running sums along an axis, each element included in its own.",
)


def _cumprod_body(b: Build, x: Value, axis: int) -> Value:
    """Products over the elements up to each place: a column of x for each, with ones below."""
    rank, size = x.type.rank, x.type.shape[axis]
    later = b(LESS, b(UNSQUEEZE, b(IOTA, size=size), axes=(0,)),
              b(UNSQUEEZE, b(IOTA, size=size), axes=(1,)))  # fmt: skip
    mask = b(RESHAPE, later, shape=(size, size, *(1,) * (rank - 1 - axis)))
    columns = b(WHERE, mask, b.constant(1, x.type.dtype), b(UNSQUEEZE, x, axes=(axis + 1,)))
    result: Value = b(PROD, columns, axes=(axis,))
    return result


CUMPROD = Op(
    "cumprod",
    inputs=("x",),
    config={"axis": Config("axis")},
    infer=_cumprod_infer,
    eval=lambda x, axis: np.cumprod(x, axis, dtype=x.dtype),
    body=_cumprod_body,
    rounding="elementwise",
    layout="axes",
    samples=(
        {"x": (2, 5, 3), "axis": 1},
        {"x": ((5,), "i32"), "axis": 0},
        {"x": [[2.0, 0.0, 3.0, 0.0], [1.0, 2.0, 4.0, -1.0]], "axis": 1},
    ),
    doc="Running products along an axis, each element included in its own.",
)

# ------------------------------------------------------------------------------------ triangles


def below_diagonal(b: Build, rows: Dim, columns: Dim, k: Dim) -> Value:
    """bool (rows, columns): true where column - row <= k."""
    row = b(UNSQUEEZE, b(IOTA, size=rows), axes=(1,))
    shifted = row if k == 0 else b(ADD, row, b.constant(k, "i32"))
    result: Value = b(LESS_EQUAL, b(IOTA, size=columns), shifted)
    return result


def _triangle_infer(x: Type, k: int) -> Type:
    if x.rank < 2:
        raise TypeMismatch(f"a triangle takes a matrix, or several, and gets {x}")
    return x


def _tril_body(b: Build, x: Value, k: int) -> Value:
    kept = below_diagonal(b, x.type.shape[-2], x.type.shape[-1], k)
    result: Value = b(WHERE, kept, x, b.constant(0, x.type.dtype))
    return result


def _triu_body(b: Build, x: Value, k: int) -> Value:
    dropped = below_diagonal(b, x.type.shape[-2], x.type.shape[-1], k - 1)
    result: Value = b(WHERE, dropped, b.constant(0, x.type.dtype), x)
    return result


def _tril_grad(b: Build, g: Value, y: Value, x: Value, k: int) -> list[Value]:
    return [b(TRIL, g, k=k)]


TRIL = Op(
    "tril",
    inputs=("x",),
    config={"k": Config("int", 0, doc="the last diagonal that is kept, counted to the right")},
    infer=_triangle_infer,
    eval=lambda x, k: np.tril(x, k),
    body=_tril_body,
    grad=_tril_grad,
    rounding="exact",
    samples=({"x": (3, 5)}, {"x": (2, 4, 3), "k": -1}, {"x": (3, 3), "k": 1}),
    doc="The lower triangle of the last two axes; zeros above it.",
)


def _triu_grad(b: Build, g: Value, y: Value, x: Value, k: int) -> list[Value]:
    return [b(TRIU, g, k=k)]


TRIU = Op(
    "triu",
    inputs=("x",),
    config={"k": Config("int", 0, doc="the first diagonal that is kept, counted to the right")},
    infer=_triangle_infer,
    eval=lambda x, k: np.triu(x, k),
    body=_triu_body,
    grad=_triu_grad,
    rounding="exact",
    samples=({"x": (3, 5)}, {"x": (2, 4, 3), "k": -1}, {"x": (3, 3), "k": 1}),
    doc="The upper triangle of the last two axes; zeros below it.",
)

SEQUENCE = (IOTA, ARANGE, ONE_HOT, CUMSUM, CUMPROD, TRIL, TRIU)
