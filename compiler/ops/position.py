"""What tells attention where tokens stand: rotations, biases by distance, tables of distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most, require_divides, require_equal
from .broadcast import require_floating, require_integer
from .compare import GREATER, GREATER_EQUAL
from .constant import numpy_dtype
from .elementwise import ADD, CAST, DIV, MAXIMUM, MINIMUM, MUL, NEG, SUB
from .function import ABS, COS, EXP, SIN
from .index import cut
from .join import CONCAT, STACK
from .reduce import SUM
from .sequence import IOTA
from .shape import RESHAPE, UNSQUEEZE, require_sizes

# --------------------------------------------------------------------------------------- rotary

_PAIRING = Config(
    "str", "half", ("half", "interleaved"),
    "which elements turn together: i and i + width / 2 (Llama), or 2 * i and 2 * i + 1",
)  # fmt: skip


def _turned(x: Type, width: Dim | None) -> Dim:
    """How many elements of the last axis are turned."""
    size = x.shape[-1] if width is None else width
    require_divides(2, size, f"rotary turns pairs, and a width of {size} is odd")
    require_at_most(size, x.shape[-1], f"rotary of {x} turns {size} elements of a place")
    return size


def _rotary_infer(
    x: Type, positions: Type | None, base: float, width: Dim | None, **_: Any
) -> Type:
    require_floating("rotary", x)
    if x.rank < 2:
        raise TypeMismatch(f"rotary takes (..., places, width), and gets {x}")
    if not base > 0:
        raise TypeMismatch(f"rotary takes a base above 0, and gets {base}", "value")
    _turned(x, width)
    if positions is None:
        return x
    require_integer("rotary", positions)
    message = f"rotary of {x} takes positions (places) or (batch, places), and gets {positions}"
    if positions.rank not in (1, 2) or positions.rank >= x.rank:
        raise TypeMismatch(message)
    require_equal(positions.shape[-1], x.shape[-2], message)
    if positions.rank == 2 and positions.shape[0] != 1:
        require_equal(positions.shape[0], x.shape[0], message)
    return x


def _rotary_eval(x: Any, positions: Any, base: float, width: int | None, pairing: str) -> Any:
    width = x.shape[-1] if width is None else width
    at = np.arange(x.shape[-2]) if positions is None else positions
    pairs = np.arange(width // 2) * 2 / width
    angles = at[..., None] * np.asarray(base, np.float64) ** -pairs
    if angles.ndim == 3:
        angles = angles.reshape(angles.shape[0], *(1,) * (x.ndim - 3), *angles.shape[1:])
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    turned, rest = x[..., :width], x[..., width:]
    if pairing == "half":
        a, b = np.split(turned, 2, -1)
        y = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    else:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y = np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(turned.shape)
    return np.concatenate([y, rest], -1)


def _angles(b: Build, x: Value, positions: Value | None, base: float, width: Dim) -> Value:
    """(places, width / 2) or (batch, 1, ..., places, width / 2)."""
    dtype = x.type.dtype
    at = b(IOTA, size=x.type.shape[-2]) if positions is None else positions
    if at.type.rank == 2:
        ones = (1,) * (x.type.rank - 3)
        at = b(RESHAPE, at, shape=(at.type.shape[0], *ones, at.type.shape[1]))
    pairs = b(IOTA, size=width // 2, dtype=dtype)
    turns = b(DIV, b(MUL, pairs, -2 * math.log(base)), b.constant(width, dtype))
    frequencies = b(EXP, turns)
    column = b(UNSQUEEZE, b(CAST, at, dtype=dtype), axes=(-1,))
    result: Value = b(MUL, column, frequencies)
    return result


def _rotary_body(
    b: Build, x: Value, positions: Value | None, base: float, width: Dim | None, pairing: str
) -> Value:
    whole, last = x.type.shape[-1], x.type.rank - 1
    size = _turned(x.type, width)
    angles = _angles(b, x, positions, base, size)
    cos, sin = b(COS, angles), b(SIN, angles)
    turned = cut(b, x, last, 0, size)
    if pairing == "half":
        first, second = (cut(b, turned, last, size // 2 * i, size // 2 * (i + 1)) for i in (0, 1))
    else:
        end = size if isinstance(size, int) else size - 1
        first, second = cut(b, turned, last, 0, end, 2), cut(b, turned, last, 1, size, 2)
    y = [b(SUB, b(MUL, first, cos), b(MUL, second, sin)),
         b(ADD, b(MUL, second, cos), b(MUL, first, sin))]  # fmt: skip
    if pairing == "half":
        result = b(CONCAT, *y, axis=last)
    else:
        result = b(RESHAPE, b(STACK, *y, axis=-1), shape=turned.type.shape)
    done: Value = result
    if size != whole:
        done = b(CONCAT, result, cut(b, x, last, size, whole), axis=last)
    return done


ROTARY = Op(
    "rotary",
    inputs=("x", "positions?"),
    config={
        "base": Config("float", 10000.0, doc="of the frequencies base ^ (-2 * i / width)"),
        "width": Config("size", None, doc="how many elements of a place turn; all if not given"),
        "pairing": _PAIRING,
    },
    infer=_rotary_infer,
    eval=_rotary_eval,
    body=_rotary_body,
    rounding="body",
    samples=(
        {"x": (2, 3, 5, 8)},
        {"x": (2, 3, 5, 8), "positions": ((5,), "i32", 0, 50), "base": 500.0},
        {"x": (2, 3, 5, 6), "positions": ((2, 5), "i32", 0, 9), "pairing": "interleaved"},
        {"x": (2, 7, 8), "positions": ((1, 7), "i64", 0, 9), "width": 4},
        {"x": (5, 8), "width": 6, "pairing": "interleaved", "base": 100.0},
    ),
    doc="Pairs of elements of x (..., places, width), each turned by its place times a frequency."
    " Places are 0, 1, ..., or positions (places) or (batch, places).",
)

# ---------------------------------------------------------------------------------------- alibi

_SIZES = {
    "queries": Config("size", doc="how many places ask"),
    "keys": Config("size", doc="how many places are asked; the last ones stand side by side"),
}


def slopes(heads: int) -> list[float]:
    """The slope of each head, as published: powers of 2, those between for other numbers."""
    whole = 2 ** math.floor(math.log2(heads))
    found = [2.0 ** (-8 * (i + 1) / whole) for i in range(whole)]
    return found + [2.0 ** (-4 * (2 * i + 1) / whole) for i in range(heads - whole)]


def _alibi_infer(heads: int, queries: Dim, keys: Dim, dtype: str) -> Type:
    if heads < 1:
        raise TypeMismatch(f"alibi has at least 1 head, not {heads}", "value")
    require_sizes("alibi", (queries, keys))
    return Type(dtype, (heads, queries, keys))


def _alibi_eval(heads: int, queries: int, keys: int, dtype: str) -> Any:
    each = np.asarray(slopes(heads))[:, None, None]
    return (-np.abs(_distances(queries, keys)) * each).astype(numpy_dtype(dtype))


def _distances(queries: Any, keys: Any) -> Any:
    """key - query for each pair of places, the last ones side by side."""
    return np.arange(keys) - (np.arange(queries) + keys - queries)[:, None]


def _distances_body(b: Build, queries: Dim, keys: Dim) -> Value:
    row = b(RESHAPE, b(IOTA, size=queries), shape=(queries, 1))
    more = keys - queries
    if not (isinstance(more, int) and more == 0):
        row = b(ADD, row, more if isinstance(more, int) else b.constant(more, "i32"))
    result: Value = b(SUB, b(IOTA, size=keys), row)
    return result


def _powers(b: Build, count: int, first: float, step: float, dtype: str) -> Value:
    """2 to the power of -first, -(first + step), ..."""
    line = b(MUL, b(IOTA, size=count, dtype=dtype), -step * math.log(2))
    result: Value = b(EXP, b(SUB, line, first * math.log(2)))
    return result


def _alibi_body(b: Build, heads: int, queries: Dim, keys: Dim, dtype: str) -> Value:
    apart = b(NEG, b(ABS, b(CAST, _distances_body(b, queries, keys), dtype=dtype)))
    whole = 2 ** math.floor(math.log2(heads))
    each = _powers(b, whole, 8 / whole, 8 / whole, dtype)
    if heads > whole:
        each = b(CONCAT, each, _powers(b, heads - whole, 4 / whole, 8 / whole, dtype), axis=0)
    each = b(RESHAPE, each, shape=(heads, 1, 1))
    result: Value = b(MUL, each, apart)
    return result


ALIBI = Op(
    "alibi",
    inputs=(),
    config={"heads": Config("int"), **_SIZES, "dtype": Config("dtype", "f32")},
    infer=_alibi_infer,
    eval=_alibi_eval,
    body=_alibi_body,
    grad=None,
    samples=(
        {"heads": 4, "queries": 3, "keys": 5},
        {"heads": 6, "queries": 4, "keys": 4},
        {"heads": 12, "queries": 1, "keys": 6},
    ),
    doc="A bias of scores (heads, queries, keys): minus the distance times the head's slope.",
)

# ----------------------------------------------------------------------------- relative_buckets


def thresholds(buckets: int, farthest: int) -> list[int]:
    """The distances from which each bucket behind the exact ones starts.

    Bucket e + k starts where log(n / e) / log(farthest / e) * (buckets - e) reaches k: computed on
    whole numbers, since logarithms of floats fall on either side.
    """
    exact = buckets // 2
    rest = buckets - exact
    found = []
    for k in range(1, rest):
        n = exact
        while Fraction(n, exact) ** rest < Fraction(farthest, exact) ** k:
            n += 1
        found.append(n)
    return found


def _halves(buckets: int, causal: bool) -> int:
    return buckets if causal else buckets // 2


def _buckets_infer(queries: Dim, keys: Dim, buckets: int, farthest: int, causal: bool) -> Type:
    require_sizes("relative_buckets", (queries, keys))
    each = _halves(buckets, causal)
    if each < 2 or buckets % (2 if causal else 4) or farthest <= each // 2 or farthest > 65536:
        raise TypeMismatch(
            f"relative_buckets of {buckets} buckets up to a distance of {farthest}", "value",
            help="buckets divide by 4 (causal: by 2), and the distance is from buckets to 65536",
        )  # fmt: skip
    return Type("i32", (queries, keys))


def _buckets_eval(queries: int, keys: int, buckets: int, farthest: int, causal: bool) -> Any:
    each = _halves(buckets, causal)
    distance = _distances(queries, keys)
    n = np.maximum(-distance, 0) if causal else np.abs(distance)
    found = np.minimum(n, each // 2)
    for start in thresholds(each, farthest):
        found = found + (n >= start)
    return (found if causal else found + each * (distance > 0)).astype(np.int32)


def _buckets_body(
    b: Build, queries: Dim, keys: Dim, buckets: int, farthest: int, causal: bool
) -> Value:
    each = _halves(buckets, causal)
    distance = _distances_body(b, queries, keys)
    n = b(MAXIMUM, b(NEG, distance), 0) if causal else b(ABS, distance)
    found = b(MINIMUM, n, each // 2)
    if starts := thresholds(each, farthest):
        bounds = b.constant(np.array(starts, np.int32), "i32")
        beyond = b(CAST, b(GREATER_EQUAL, b(UNSQUEEZE, n, axes=(-1,)), bounds), dtype="i32")
        found = b(ADD, found, b(SUM, beyond, axes=(-1,)))
    if not causal:
        behind = b(CAST, b(GREATER, distance, 0), dtype="i32")
        found = b(ADD, found, b(MUL, behind, each))
    result: Value = found
    return result


RELATIVE_BUCKETS = Op(
    "relative_buckets",
    inputs=(),
    config={
        **_SIZES,
        "buckets": Config("int", 32),
        "farthest": Config("int", 128, doc="the distance from which all is one bucket"),
        "causal": Config("bool", False, doc="whether only keys before the query are told apart"),
    },
    infer=_buckets_infer,
    eval=_buckets_eval,
    body=_buckets_body,
    grad=None,
    rounding="exact",
    samples=(
        {"queries": 5, "keys": 7, "buckets": 8, "farthest": 6},
        {"queries": 40, "keys": 40, "buckets": 16, "farthest": 20},
        {"queries": 30, "keys": 33, "buckets": 8, "farthest": 25, "causal": True},
    ),
    doc="The bucket of the distance of each pair of places (queries, keys), as T5 numbers them, for"
    " an embedding of biases.",
)

# ------------------------------------------------------------------------------- window_offsets


def _offsets_infer(window: Any) -> Type:
    sizes = (window,) if isinstance(window, int) else tuple(window)
    if not all(isinstance(size, int) for size in sizes):
        raise TypeMismatch("window_offsets takes sizes that are numbers")
    require_sizes("window_offsets", sizes)
    total = math.prod(sizes)
    return Type("i32", (total, total))


def _steps(sizes: Sequence[int]) -> list[int]:
    """How far apart the numbers of offsets are, by one along each axis."""
    return [math.prod(2 * size - 1 for size in sizes[i + 1 :]) for i in range(len(sizes))]


def _offsets_eval(window: Any) -> Any:
    sizes = (window,) if isinstance(window, int) else tuple(window)
    places = np.indices(sizes).reshape(len(sizes), -1)
    apart = places[:, :, None] - places[:, None, :]
    found = sum(
        (apart[i] + size - 1) * step
        for i, (size, step) in enumerate(zip(sizes, _steps(sizes), strict=True))
    )
    return np.asarray(found).astype(np.int32)


def _offsets_body(b: Build, window: Any) -> Value:
    """The number of a place is linear in its position, and that of an offset the difference."""
    sizes = (window,) if isinstance(window, int) else tuple(window)
    line: Value | None = None
    for i, (size, step) in enumerate(zip(sizes, _steps(sizes), strict=True)):
        shape = tuple(size if j == i else 1 for j in range(len(sizes)))
        part = b(RESHAPE, b(MUL, b(IOTA, size=size), step), shape=shape)
        line = part if line is None else b(ADD, line, part)
    assert line is not None
    total = math.prod(sizes)
    middle = sum((size - 1) * step for size, step in zip(sizes, _steps(sizes), strict=True))
    column = b(RESHAPE, line, shape=(total, 1))
    row = b(RESHAPE, line, shape=(1, total))
    result: Value = b(ADD, b(SUB, column, row), middle)
    return result


WINDOW_OFFSETS = Op(
    "window_offsets",
    inputs=(),
    config={"window": Config("ints", doc="the size of the window along each axis")},
    infer=_offsets_infer,
    eval=_offsets_eval,
    body=_offsets_body,
    grad=None,
    rounding="exact",
    samples=({"window": (3, 4)}, {"window": 5}, {"window": (2, 3, 2)}),
    doc="The number of the offset between each pair of places of a window, as Swin numbers them:"
    " for a table of prod(2 * size - 1) biases.",
)

POSITION = (ROTARY, ALIBI, RELATIVE_BUCKETS, WINDOW_OFFSETS)
