"""Positions and what follows from them: ranges, one-hot rows, running sums, triangles."""

from __future__ import annotations

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import require_integer, require_numeric
from .compare import EQUAL, LESS_EQUAL
from .constant import numpy_dtype
from .elementwise import ADD, CAST, WHERE
from .shape import FLIP, UNSQUEEZE, require_sizes


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

SEQUENCE = (IOTA, ONE_HOT, CUMSUM, TRIL, TRIU)
