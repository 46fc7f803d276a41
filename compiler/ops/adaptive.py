"""Pools over all places, over as many windows as the result has places, and by a power."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..array import np
from ..dim import Dim, Size
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import require_floating
from .compare import GREATER, GREATER_EQUAL, LESS, LOGICAL_AND
from .elementwise import ADD, CAST, DIV, FLOOR_DIV, MUL, WHERE
from .function import ABS, POW, SIGN, SQRT, SQUARE
from .pool import CONFIG, POOL_SIZES, add_windows, flat_windows, pooled, window_of
from .reduce import MAX, MEAN, SUM
from .resize import along
from .sequence import IOTA
from .shape import EXPAND, RESHAPE, TRANSPOSE, UNSQUEEZE, listed, require_sizes
from .window import Window, require_spatial, windows_of

# -------------------------------------------------------------------------------- global pools


def _places(rank: int) -> tuple[int, ...]:
    return tuple(range(2, rank))


def _global(name: str, eval: Callable[..., Any], reduce: Op, rounding: str, doc: str) -> Op:
    """A reduction of all spatial axes, which stay with size 1 if `keep`."""

    def infer(x: Type, keep: bool) -> Type:
        require_spatial(name, x)
        require_floating(name, x)
        ones = (1,) * (x.rank - 2) if keep else ()
        return Type(x.dtype, (*x.shape[:2], *ones), (*x.labels[:2], *(None for _ in ones)))

    def body(b: Build, x: Value, keep: bool) -> Value:
        result: Value = b(reduce, x, axes=_places(x.type.rank), keep=keep)
        return result

    return Op(
        name, ("x",), infer, lambda x, keep: eval(x, axis=_places(x.ndim), keepdims=keep),
        config={"keep": Config("bool", False, doc="whether the axes stay, with size 1")},
        body=body, rounding=rounding, kinks=reduce.kinks,
        samples=({"x": (2, 3, 5, 4)}, {"x": (2, 3, 5, 4), "keep": True}, {"x": (2, 3, 7)},
                 {"x": (1, 2, 3, 4, 5), "keep": True}),
        doc=doc,
    )  # fmt: skip


GLOBAL_AVG_POOL = _global(
    "global_avg_pool", lambda x, **axes: np.mean(x, **axes), MEAN, "sum",
    "The mean of each channel over all places.",
)  # fmt: skip
GLOBAL_MAX_POOL = _global(
    "global_max_pool", lambda x, **axes: np.max(x, **axes), MAX, "exact",
    "The largest element of each channel, of all places.",
)  # fmt: skip

# ------------------------------------------------------------------------------ adaptive pools


def _bins(x: Any, size: Any) -> list[tuple[int, Dim, int]]:
    """(axis, its size, its size in the result) for each spatial axis."""
    n = len(x.shape) - 2
    each: tuple[Any, ...] = (size,) * n if isinstance(size, (int, Size)) else tuple(size)
    if len(each) != n or not all(isinstance(s, int) for s in each):
        message = f"an adaptive pool takes a number for each of {n} axes, and gets {listed(each)}"
        raise TypeMismatch(message)
    require_sizes("an adaptive pool", each)
    return [(i, x.shape[i], after) for i, after in enumerate(each, 2)]


def _adaptive_infer(name: str) -> Callable[..., Type]:
    def infer(x: Type, size: Any) -> Type:
        require_spatial(name, x)
        require_floating(name, x)
        return x.with_(shape=(*x.shape[:2], *(after for _, _, after in _bins(x, size))))

    return infer


def _reduced_by_bins(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Bin i of an axis of n holds floor(i * n / size) up to ceil((i + 1) * n / size)."""

    def eval(x: Any, size: Any) -> Any:
        for axis, n, count in _bins(x, size):
            assert isinstance(n, int)
            ends = [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
            parts = [
                reduce(np.take(x, range(a, z), axis), axis=axis, keepdims=True) for a, z in ends
            ]
            x = np.concatenate(parts, axis)
        return x

    return eval


def _alike(n: Dim, count: int) -> bool:
    """Whether all bins are of one size, whatever an unknown size is computed from."""
    return count == 1 or (isinstance(n, int) and n % count == 0)


def _each_bin(b: Build, reduce: Op, x: Value, axis: int, n: Dim, count: int) -> Value:
    """An axis cut into bins of one size, each reduced to one element."""
    result: Value
    if count == 1:
        result = b(reduce, x, axes=(axis,), keep=True)
        return result
    shape = (*x.type.shape[:axis], count, n // count, *x.type.shape[axis + 1 :])
    result = b(reduce, b(RESHAPE, x, shape=shape), axes=(axis + 1,))
    return result


def _held(b: Build, n: Dim, count: int) -> Value:
    """bool (count, n): whether a bin holds an element."""
    size = n if isinstance(n, int) else b.constant(n, "i32")
    first = b(MUL, b(IOTA, size=count), size)
    low = b(FLOOR_DIV, first, count)
    high = b(FLOOR_DIV, b(ADD, b(ADD, first, size), count - 1), count)
    place = b(IOTA, size=n)
    column = (count, 1)
    after = b(GREATER_EQUAL, place, b(RESHAPE, low, shape=column))
    before = b(LESS, place, b(RESHAPE, high, shape=column))
    result: Value = b(LOGICAL_AND, after, before)
    return result


def _avg_body(b: Build, x: Value, size: Any) -> Value:
    for axis, n, count in _bins(x.type, size):
        if _alike(n, count):
            x = _each_bin(b, MEAN, x, axis, n, count)
            continue
        held = b(CAST, _held(b, n, count), dtype=x.type.dtype)
        shares = b(DIV, held, b(SUM, held, axes=(1,), keep=True))
        x = along(b, x, axis, b(TRANSPOSE, shares))
    return x


def _max_body(b: Build, x: Value, size: Any) -> Value:
    for axis, n, count in _bins(x.type, size):
        if _alike(n, count):
            x = _each_bin(b, MAX, x, axis, n, count)
            continue
        rest = (1,) * (x.type.rank - axis - 1)
        held = b(RESHAPE, _held(b, n, count), shape=(count, n, *rest))
        picked = b(WHERE, held, b(UNSQUEEZE, x, axes=(axis,)), -math.inf)
        x = b(MAX, picked, axes=(axis + 1,))
    return x


_ADAPTIVE_SAMPLES = (
    {"x": (2, 3, 6, 8), "size": (3, 2)},
    {"x": (2, 3, 7, 5), "size": (3, 2)},
    {"x": (2, 3, 7, 5), "size": 1},
    {"x": (2, 3, 3), "size": 5},
    {"x": (1, 2, 4, 5, 3), "size": (2, 3, 3)},
)
_ADAPTIVE_CONFIG = {"size": Config("ints", doc="places of the result, for each spatial axis")}

ADAPTIVE_AVG_POOL = Op(
    "adaptive_avg_pool",
    inputs=("x",),
    config=_ADAPTIVE_CONFIG,
    infer=_adaptive_infer("adaptive_avg_pool"),
    eval=_reduced_by_bins(lambda x, **axes: np.mean(x, **axes)),
    body=_avg_body,
    rounding="sum",
    layout="channels",
    samples=_ADAPTIVE_SAMPLES,
    doc="The mean of each of `size` bins of every spatial axis: bin i of n elements is from"
    " floor(i * n / size) to ceil((i + 1) * n / size).",
)
ADAPTIVE_MAX_POOL = Op(
    "adaptive_max_pool",
    inputs=("x",),
    config=_ADAPTIVE_CONFIG,
    infer=_adaptive_infer("adaptive_max_pool"),
    eval=_reduced_by_bins(lambda x, **axes: np.max(x, **axes)),
    body=_max_body,
    rounding="exact",
    layout="channels",
    kinks=MAX.kinks,
    samples=_ADAPTIVE_SAMPLES,
    doc="The largest element of each of `size` bins of every spatial axis, as adaptive_avg_pool"
    " cuts them.",
)

# ------------------------------------------------------------------------------------- lp_pool


def _lp_infer(x: Type, power: float, **attrs: Any) -> Type:
    if not power >= 1:
        raise TypeMismatch(f"lp_pool takes a power of at least 1, and gets {power}", "value")
    return pooled("lp_pool", x, window_of(x, pad=0, **attrs))


def _lp_eval(x: Any, power: float, **attrs: Any) -> Any:
    windows = windows_of(np.abs(x) ** x.dtype.type(power), Window.of(x.shape[2:], **attrs))
    axes = tuple(range(x.ndim, windows.ndim))
    return windows.sum(axes, dtype=x.dtype) ** x.dtype.type(1 / power)


def _powers(b: Build, x: Value, power: float) -> Value:
    result: Value = b(SQUARE, x) if power == 2 else b(POW, b(ABS, x), float(power))
    return result


def _lp_body(b: Build, x: Value, power: float, **attrs: Any) -> Value:
    window = window_of(x.type, pad=0, **attrs)
    total = b(SUM, flat_windows(b, _powers(b, x, power), window, 0.0), axes=(-1,))
    some = b(GREATER, total, 0.0)
    safe = b(WHERE, some, total, 1.0)
    root = b(SQRT, safe) if power == 2 else b(POW, safe, 1 / power)
    result: Value = b(WHERE, some, root, 0.0)
    return result


def _lp_grad(b: Build, g: Value, y: Value, x: Value, power: float, **attrs: Any) -> list[Value]:
    window = window_of(x.type, pad=0, **attrs)
    some = b(GREATER, y, 0.0)
    safe = b(WHERE, some, y, 1.0)
    share = b(WHERE, some, b(DIV, g, _to(b, safe, power - 1)), 0.0)
    spread = b(UNSQUEEZE, share, axes=(-1,))
    parts = b(EXPAND, spread, shape=(*share.type.shape, math.prod(window.kernel)))
    slope = b(MUL, _to(b, b(ABS, x), power - 1), b(SIGN, x))
    return [b(MUL, add_windows(b, parts, x, window), slope)]


def _to(b: Build, x: Value, power: float) -> Value | float:
    """x to a power that may be 0 or 1."""
    if power == 1:
        return x
    result: Value = b(POW, x, float(power))
    return result


LP_POOL = Op(
    "lp_pool",
    inputs=("x",),
    config={
        "power": Config("float", 2.0, doc="at least 1"),
        **{name: CONFIG[name] for name in ("kernel", "stride", "ceil")},
    },
    infer=_lp_infer,
    eval=_lp_eval,
    body=_lp_body,
    grad=_lp_grad,
    rounding="sum",
    layout="channels",
    kinks="its derivative is 0 where a whole window is 0, and by an element that is 0",
    samples=(
        *({k: v for k, v in sample.items() if k not in ("pad", "dilation")}
          for sample in POOL_SIZES if not sample.get("ceil")),
        {"x": (2, 3, 6, 7), "power": 3.0, "kernel": 2},
        {"x": (2, 3, 6, 7), "power": 1.0, "kernel": 3, "stride": 2},
        {"x": (2, 3, 8), "power": 2.0, "kernel": 3, "stride": 3, "ceil": True},
    ),
    doc="The root of the sum of |x|^power over each window; a mean is not taken.",
)  # fmt: skip

ADAPTIVE: Sequence[Op] = (
    GLOBAL_AVG_POOL, GLOBAL_MAX_POOL, ADAPTIVE_AVG_POOL, ADAPTIVE_MAX_POOL, LP_POOL,
)  # fmt: skip
