"""Pools over the spatial axes of (batch, channels, *spatial). A global pool is mean(H, W)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, require_at_most
from .broadcast import number, require_floating
from .elementwise import ADD, DIV, MAXIMUM, MINIMUM, MUL, SUB, WHERE
from .join import PAD
from .reduce import ARGMAX, MAX, SUM
from .sequence import IOTA, ONE_HOT
from .shape import EXPAND, RESHAPE, UNSQUEEZE
from .window import WINDOWS, WINDOWS_ADD, Window, require_spatial, windows_of

CONFIG = {
    "kernel": Config("ints", doc="size of the window"),
    "stride": Config("ints", None, doc="the kernel, if not given"),
    "pad": Config("pads", 0, doc='at both ends; "same" gives ceil(size / stride) results'),
    "dilation": Config("ints", 1, doc="distance of the window's taps"),
    "ceil": Config("bool", False, doc="whether a last window may reach beyond the padding"),
}
POOL_SIZES = (
    {"x": (2, 3, 6, 9), "kernel": 2},
    {"x": (2, 3, 7, 8), "kernel": 3, "stride": 2, "pad": 1},
    {"x": (2, 3, 8, 7), "kernel": (3, 2), "stride": (2, 3), "pad": ((1, 0), (0, 1)), "ceil": True},
    {"x": (2, 3, 5, 6), "kernel": 2, "stride": 1, "pad": "same"},
    {"x": (2, 3, 11), "kernel": 3, "stride": 4, "pad": 1, "ceil": True},
    {"x": (1, 2, 4, 5, 6), "kernel": 2, "stride": (2, 1, 3)},
)


def window_of(x: Type, kernel: Any, stride: Any, pad: Any, ceil: bool, dilation: Any = 1) -> Window:
    """The window of a pool of `x`, from its attributes."""
    return Window.of(x.shape[2:], kernel, stride, pad, dilation, ceil)


def pooled(op: str, x: Type, window: Window) -> Type:
    """The type of a pool of `x`; raises where the window does not fit."""
    require_spatial(op, x)
    require_floating(op, x)
    for pair, extent in zip(window.pads, window.extent, strict=True):
        for amount in pair:
            message = f"{op} of {x}: padding by {amount} is more than half a window of {extent}"
            require_at_most(2 * amount, extent, message)
    return x.with_(shape=(*x.shape[:2], *window.counts(f"{op} of {x}", x.shape[2:])))


def _attrs(window: Window) -> dict[str, Any]:
    return {
        "kernel": window.kernel,
        "stride": window.stride,
        "pad": window.pads,
        "dilation": window.dilation,
        "ceil": window.ceil,
    }


def flat_windows(b: Build, x: Value, window: Window, value: float) -> Value:
    """The windows as (batch, channels, *counts, taps)."""
    windows = b(WINDOWS, x, value=value, **_attrs(window))
    shape = (*windows.type.shape[: x.type.rank], math.prod(window.kernel))
    result: Value = b(RESHAPE, windows, shape=shape)
    return result


def add_windows(b: Build, parts: Value, x: Value, window: Window) -> Value:
    """The gradient of `x`, from that of its windows as (batch, channels, *counts, taps)."""
    windows = b(RESHAPE, parts, shape=(*parts.type.shape[:-1], *window.kernel))
    result: Value = b(WINDOWS_ADD, windows, sizes=x.type.shape[2:], **_attrs(window))
    return result


def _taps(x: Any, count: int) -> tuple[int, ...]:
    """The axes of the taps in an array of windows over `count` spatial axes."""
    return tuple(range(x.ndim - count, x.ndim))


# ------------------------------------------------------------------------------------- max_pool


def _max_eval(x: Any, **attrs: Any) -> Any:
    windows = windows_of(x, Window.of(x.shape[2:], **attrs), -math.inf)
    return windows.max(_taps(windows, x.ndim - 2))


def _max_body(b: Build, x: Value, **attrs: Any) -> Value:
    window = window_of(x.type, **attrs)
    wider = _floored(window, x.type)
    if wider is not None:
        return _floor_pool(b, x, wider)
    flat = flat_windows(b, x, window, -math.inf)
    result: Value = b(MAX, flat, axes=(-1,))
    return result


def _floored(window: Window, x: Type) -> Window | None:
    """The same windows without `ceil`: padding by what a stride may leave over at the end brings
    the last one in. None where that would make one that starts behind the tensor."""
    steps = list(zip(window.stride, window.extent, window.pads, strict=True))
    if not window.ceil or any(high + stride > extent for stride, extent, (_, high) in steps):
        return None
    pads = tuple((low, high + stride - 1) for stride, _, (low, high) in steps)
    wider = replace(window, pads=pads, ceil=False)
    sizes = x.shape[2:]
    same = wider.counts("max_pool", sizes) == window.counts("max_pool", sizes)
    return wider if same else None


def _floor_pool(b: Build, x: Value, window: Window) -> Value:
    """A pool without `ceil`; padding of more than half a window is made before it."""
    pairs = list(zip(window.pads, window.extent, strict=True))
    if any(2 * side > extent for pair, extent in pairs for side in pair):
        pads = ((0, 0), (0, 0), *window.pads)
        x = b(PAD, x, pads=pads, mode="constant", value=-math.inf)
        window = replace(window, pads=((0, 0),) * len(pairs))
    result: Value = b(MAX_POOL, x, **_attrs(window))
    return result


def _max_grad(b: Build, g: Value, y: Value, x: Value, **attrs: Any) -> list[Value]:
    window = window_of(x.type, **attrs)
    flat = flat_windows(b, x, window, -math.inf)
    first = b(ONE_HOT, b(ARGMAX, flat, axis=-1), depth=math.prod(window.kernel), dtype="bool")
    parts = b(WHERE, first, b(UNSQUEEZE, g, axes=(-1,)), 0.0)
    return [add_windows(b, parts, x, window)]


MAX_POOL = Op(
    "max_pool",
    inputs=("x",),
    config=CONFIG,
    infer=lambda x, **attrs: pooled("max_pool", x, window_of(x, **attrs)),
    eval=_max_eval,
    body=_max_body,
    grad=_max_grad,
    rounding="exact",
    layout="channels",
    kinks="of several largest elements of a window, the first gets all of the gradient",
    samples=(
        *POOL_SIZES,
        {"x": (2, 3, 8, 9), "kernel": 2, "stride": 2, "dilation": (2, 3), "pad": 1},
        {"x": [[[1.0, 2.0, 2.0, 2.0, 1.0, 1.0]]], "kernel": 3, "stride": 1, "pad": 1},
    ),
    doc="The largest element of each window; padding counts as -inf.",
)

# ------------------------------------------------------------------------------------- avg_pool


def _uniform(window: Window, count_pad: bool) -> bool:
    """Whether all windows have the same number of elements."""
    unpadded = all(low == 0 and high == 0 for low, high in window.pads)
    return not window.ceil and (unpadded or count_pad)


def _counted(size: int, count: int, window: Window, axis: int, count_pad: bool) -> Any:
    """For each of `count` windows, how many elements of an axis it holds."""
    low, high = window.pads[axis]
    start = np.arange(count) * window.stride[axis]
    first = start - low
    last = first + window.kernel[axis]
    if count_pad:
        return np.minimum(last, size + high) - first
    return np.minimum(last, size) - np.maximum(first, 0)


def _avg_eval(x: Any, count_pad: bool, **attrs: Any) -> Any:
    window = Window.of(x.shape[2:], **attrs)
    windows = windows_of(x, window)
    n = x.ndim - 2
    total = windows.sum(_taps(windows, n), dtype=x.dtype)
    for i, size in enumerate(x.shape[2:]):
        counts = _counted(size, total.shape[i + 2], window, i, count_pad).astype(x.dtype)
        total = total / counts.reshape(-1, *(1,) * (n - 1 - i))
    return total


def _divisor(b: Build, x: Value, window: Window, count_pad: bool) -> Value | float:
    """How many elements each window holds: a number, or a tensor that broadcasts to (*counts)."""
    if _uniform(window, count_pad):
        return float(math.prod(window.kernel))
    sizes = x.type.shape[2:]
    total: Value | None = None
    for i, count in enumerate(window.counts("avg_pool", sizes)):
        counts = _counts(b, x, window, i, count, count_pad)
        column = b(RESHAPE, counts, shape=(count, *(1,) * (len(sizes) - 1 - i)))
        total = column if total is None else b(MUL, total, column)
    assert total is not None
    return total


def _counts(b: Build, x: Value, window: Window, axis: int, count: Dim, count_pad: bool) -> Value:
    """`_counted` in the graph: (count,) floats."""
    (low, high), size = window.pads[axis], x.type.shape[axis + 2]
    start = b(MUL, b(IOTA, size=count, dtype=x.type.dtype), float(window.stride[axis]))
    first = b(SUB, start, number(b, low, x))
    last = b(ADD, first, float(window.kernel[axis]))
    if count_pad:
        result: Value = b(SUB, b(MINIMUM, last, number(b, size + high, x)), first)
    else:
        result = b(SUB, b(MINIMUM, last, number(b, size, x)), b(MAXIMUM, first, 0.0))
    return result


def _avg_body(b: Build, x: Value, count_pad: bool, **attrs: Any) -> Value:
    window = window_of(x.type, **attrs)
    total = b(SUM, flat_windows(b, x, window, 0.0), axes=(-1,))
    result: Value = b(DIV, total, _divisor(b, x, window, count_pad))
    return result


def _avg_grad(b: Build, g: Value, y: Value, x: Value, count_pad: bool, **attrs: Any) -> list[Value]:
    window = window_of(x.type, **attrs)
    share = b(UNSQUEEZE, b(DIV, g, _divisor(b, x, window, count_pad)), axes=(-1,))
    parts = b(EXPAND, share, shape=(*g.type.shape, math.prod(window.kernel)))
    return [add_windows(b, parts, x, window)]


AVG_POOL = Op(
    "avg_pool",
    inputs=("x",),
    config={
        **{name: config for name, config in CONFIG.items() if name != "dilation"},
        "count_pad": Config("bool", False, doc="whether padding counts as elements (of 0)"),
    },
    infer=lambda x, count_pad, **attrs: pooled("avg_pool", x, window_of(x, **attrs)),
    eval=_avg_eval,
    body=_avg_body,
    grad=_avg_grad,
    rounding="sum",
    layout="channels",
    samples=(
        *POOL_SIZES,
        {"x": (2, 3, 7, 8), "kernel": 3, "stride": 2, "pad": 1, "count_pad": True},
        {"x": (2, 3, 11), "kernel": 3, "stride": 4, "pad": 1, "ceil": True, "count_pad": True},
    ),
    doc="The mean of each window, over the elements that lie on the tensor.",
)

POOL = (MAX_POOL, AVG_POOL)
