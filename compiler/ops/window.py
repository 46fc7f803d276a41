"""Sliding windows over spatial axes: their arithmetic, and the ops that take and add them.

Used by convolutions and pools: a window of `kernel` taps, `dilation` apart, moves by `stride` over
an axis that is padded by (low, high). Spatial axes are those behind batch and channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as every
from typing import Any

from ..array import np
from ..dim import Dim, Size, bounds, maximum, minimum
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most, require_equal
from .elementwise import ADD
from .index import cut, dilate
from .join import PAD, STACK
from .shape import RESHAPE, listed

Ints = int | Sequence[int]
Pads = str | int | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Window:
    """What moves over the spatial axes: everything a tuple with one entry an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[Dim, Dim], ...]
    dilation: tuple[int, ...]
    ceil: bool = False

    @classmethod
    def of(
        cls,
        sizes: Sequence[Dim],
        kernel: Ints,
        stride: Ints | None = 1,
        pad: Pads = 0,
        dilation: Ints = 1,
        ceil: bool = False,
    ) -> Window:
        """The window over axes of these sizes, from attributes as ops have them.

        A stride of None is the kernel. Pads of "same" give ceil(size / stride) windows, the odd
        element of padding at the end. Raises TypeMismatch for what does not fit the axes.
        """
        count = len(sizes)
        kernel = _each("kernel", kernel, count)
        strides = kernel if stride is None else _each("stride", stride, count)
        dilation = _each("dilation", dilation, count)
        window = cls(kernel, strides, ((0, 0),) * count, dilation, ceil)
        return cls(kernel, strides, window._padding(sizes, pad), dilation, ceil)

    @property
    def extent(self) -> tuple[int, ...]:
        """How many elements the window spans, on each axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def _padding(self, sizes: Sequence[Dim], pad: Pads) -> tuple[tuple[Dim, Dim], ...]:
        count = len(sizes)
        if pad == "same":
            return tuple(self._same(size, i) for i, size in enumerate(sizes))
        if isinstance(pad, str):
            raise TypeMismatch(f'pad is a number, pairs of numbers, or "same", and not "{pad}"')
        pads = (pad,) * count if isinstance(pad, (int, Size)) else tuple(pad)
        if len(pads) != count:
            raise TypeMismatch(f"pad takes one entry for each of {count} axes, and gets {pads}")
        pairs = tuple(tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in pads)
        if any(len(pair) != 2 or any(bounds(p)[1] < 0 for p in pair) for pair in pairs):
            raise TypeMismatch(f"pad takes numbers of at least 0, or pairs of them, not {pads}")
        return tuple((low, high) for low, high in pairs)

    def _same(self, size: Dim, axis: int) -> tuple[Dim, Dim]:
        stride, extent = self.stride[axis], self.extent[axis]
        if stride != 1 and not isinstance(size, int):
            total = max(extent - stride, 0)
            raise TypeMismatch(
                f'pad = "same" at stride {stride} depends on the size of the axis, {size}',
                help=f"write ({total // 2}, {total - total // 2}) for this axis, which is the same"
                f" wherever {stride} divides {size}",
            )
        if stride == 1:
            total = extent - 1
        else:
            assert isinstance(size, int)
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        return total // 2, total - total // 2

    def counts(self, what: str, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
        """How many windows fit on each axis; raises where none does. `what` names the op."""
        return tuple(self._count(what, size, i) for i, size in enumerate(sizes))

    def _count(self, what: str, size: Dim, axis: int) -> Dim:
        extent, stride, (low, high) = self.extent[axis], self.stride[axis], self.pads[axis]
        whole = size + low + high
        shown = f"{size}" if whole == size else f"{size}, padded to {whole}"
        message = f"{what}: a window of {extent} does not fit an axis of size {shown}"
        require_at_most(extent, whole, message)
        if not self.ceil:
            return (whole - extent) // stride + 1
        # The last window must start on the axis or in its low padding.
        return minimum((whole - extent + stride - 1) // stride, (size + low - 1) // stride) + 1

    def reach(self, sizes: Sequence[Dim]) -> tuple[tuple[Dim, Dim], ...]:
        """The padding as far as the last window reaches: more than `pads` only with `ceil`."""
        if not self.ceil:
            return self.pads
        every_axis = zip(
            self.counts("pool", sizes), self.stride, self.extent, sizes, self.pads, strict=True
        )
        return tuple(
            (low, maximum(high, (count - 1) * stride + extent - size - low))
            for count, stride, extent, size, (low, high) in every_axis
        )


def _each(what: str, value: Ints, count: int) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, (int, Size)) else tuple(value)
    if len(values) != count:
        raise TypeMismatch(f"{what} takes one number for each of {count} axes, and gets {values}")
    if any(v < 1 for v in values):
        raise TypeMismatch(f"{what} takes numbers of at least 1, and gets {listed(values)}")
    return values


def require_spatial(op: str, x: Type) -> None:
    """Raises unless `x` is (batch, channels, and one to three spatial axes)."""
    if not 3 <= x.rank <= 5:
        raise TypeMismatch(f"{op} takes (batch, channels, and 1 to 3 spatial axes), and gets {x}")


def padded(x: Any, window: Window, value: float = 0.0) -> Any:
    """The array with its spatial axes padded, as far as the last window reaches."""
    pads = window.reach(x.shape[2:])
    if not any(low or high for low, high in pads):
        return x
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def windows_of(x: Any, window: Window, value: float = 0.0) -> Any:
    """A view (batch, channels, *counts, *kernel) of the padded array."""
    spatial = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(
        padded(x, window, value), window.extent, axis=spatial
    )
    every_stride = tuple(slice(None, None, s) for s in window.stride)
    every_tap = tuple(slice(None, None, d) for d in window.dilation)
    return view[(slice(None), slice(None), *every_stride, *every_tap)]


def taps(window: Window) -> list[tuple[int, ...]]:
    """The places of the window's taps, counted from its first one, last axis fastest."""
    ranges = (range(0, e, d) for e, d in zip(window.extent, window.dilation, strict=True))
    return list(every(*ranges))


# ------------------------------------------------------------------------------------- the ops

CONFIG = {
    "kernel": Config("ints"),
    "stride": Config("ints", 1),
    "pad": Config("pads", 0),
    "dilation": Config("ints", 1),
    "ceil": Config("bool", False, doc="whether a last window may reach beyond the padding"),
}


def _windows_infer(x: Type, value: float, **attrs: Any) -> Type:
    require_spatial("windows", x)
    window = Window.of(x.shape[2:], **attrs)
    counts = window.counts(f"windows of {x}", x.shape[2:])
    shape = (*x.shape[:2], *counts, *window.kernel)
    return Type(x.dtype, shape, x.labels + (None,) * (x.rank - 2))


def _windows_eval(x: Any, value: float, **attrs: Any) -> Any:
    return windows_of(x, Window.of(x.shape[2:], **attrs), value)


def _windows_body(b: Build, x: Value, value: float, **attrs: Any) -> Value:
    sizes = x.type.shape[2:]
    window = Window.of(sizes, **attrs)
    counts, pads = window.counts("windows", sizes), window.reach(sizes)
    if any(low != 0 or high != 0 for low, high in pads):
        x = b(PAD, x, pads=((0, 0), (0, 0), *pads), value=value)
    parts = []
    for tap in taps(window):
        part = x
        for i, (start, step, count) in enumerate(zip(tap, window.stride, counts, strict=True)):
            part = cut(b, part, i + 2, start, start + (count - 1) * step + 1, step)
        parts.append(part)
    stacked = b(STACK, *parts, axis=-1)
    result: Value = b(RESHAPE, stacked, shape=(*stacked.type.shape[:-1], *window.kernel))
    return result


def _windows_grad(b: Build, g: Value, y: Value, x: Value, value: Any, **attrs: Any) -> list[Value]:
    return [b(WINDOWS_ADD, g, sizes=x.type.shape[2:], **attrs)]


_SAMPLES = (
    {"kernel": 3},
    {"kernel": (2, 3), "stride": (2, 1), "pad": ((1, 0), (0, 2))},
    {"kernel": 2, "stride": 3, "dilation": (2, 1)},
    {"kernel": 3, "stride": 2, "pad": ((0, 1), 0), "ceil": True},
)

WINDOWS = Op(
    "windows",
    inputs=("x",),
    config={**CONFIG, "value": Config("float", 0.0, doc="what padding holds")},
    infer=_windows_infer,
    eval=_windows_eval,
    body=_windows_body,
    grad=_windows_grad,
    rounding="exact",
    samples=(
        *({"x": (2, 3, 7, 6), **sample} for sample in _SAMPLES),
        {"x": (2, 3, 7), "kernel": 3, "stride": 2, "pad": 1, "value": -2.0},
        {"x": (1, 2, 3, 4, 5), "kernel": 2},
    ),
    doc="The windows over the spatial axes of (batch, channels, *spatial), as"
    " (batch, channels, *counts, *kernel).",
)


def _add_infer(x: Type, sizes: Sequence[Dim], **attrs: Any) -> Type:
    count = len(sizes)
    result = Type(x.dtype, (*x.shape[:2], *sizes), x.labels[: count + 2])
    require_spatial("windows_add", result)
    window = Window.of(sizes, **attrs)
    wanted = (*result.shape[:2], *window.counts("windows_add", sizes), *window.kernel)
    message = f"windows_add takes windows of shape {listed(wanted)}, and gets {x}"
    if x.rank != len(wanted):
        raise TypeMismatch(message)
    for size, known in zip(x.shape, wanted, strict=True):
        require_equal(size, known, message)
    return result


def _add_eval(x: Any, sizes: Sequence[int], **attrs: Any) -> Any:
    return add_windows(x, Window.of(sizes, **attrs), sizes)


def add_windows(x: Any, window: Window, sizes: Sequence[int]) -> Any:
    """The sum of windows (batch, channels, *counts, *kernel) where they overlap; padding is cut."""
    n, pads = len(sizes), window.reach(sizes)
    totals = [size + low + high for size, (low, high) in zip(sizes, pads, strict=True)]
    result = np.zeros((*x.shape[:2], *totals), x.dtype)
    counts = x.shape[2 : n + 2]
    for place, tap in zip(np.ndindex(window.kernel), taps(window), strict=True):
        where = (
            slice(t, t + (c - 1) * s + 1, s)
            for t, c, s in zip(tap, counts, window.stride, strict=True)
        )
        result[(..., *where)] += x[(..., *place)]
    inner = (slice(low, low + size) for size, (low, _) in zip(sizes, pads, strict=True))
    return result[(..., *inner)]


def _add_body(b: Build, x: Value, sizes: Sequence[Dim], **attrs: Any) -> Value:
    window = Window.of(sizes, **attrs)
    n, reach = len(sizes), window.reach(sizes)
    flat = b(RESHAPE, x, shape=(*x.type.shape[: n + 2], len(taps(window))))
    total: Value | None = None
    for number, tap in enumerate(taps(window)):
        part = cut(b, flat, n + 2, number, number + 1)
        part = b(RESHAPE, part, shape=x.type.shape[: n + 2])
        pads: list[tuple[Dim, Dim]] = [(0, 0), (0, 0)]
        for i, (start, step) in enumerate(zip(tap, window.stride, strict=True)):
            part = dilate(b, part, i + 2, step)
            low, high = reach[i]
            pads.append((start, sizes[i] + low + high - start - part.type.shape[i + 2]))
        part = b(PAD, part, pads=tuple(pads))
        total = part if total is None else b(ADD, total, part)
    assert total is not None
    for i, (low, _) in enumerate(window.pads):
        total = cut(b, total, i + 2, low, low + sizes[i])
    return total


def _add_grad(b: Build, g: Value, y: Value, x: Value, sizes: Any, **attrs: Any) -> list[Value]:
    return [b(WINDOWS, g, **attrs)]


WINDOWS_ADD = Op(
    "windows_add",
    inputs=("x",),
    config={"sizes": Config("shape", doc="the spatial sizes of the result"), **CONFIG},
    infer=_add_infer,
    eval=_add_eval,
    body=_add_body,
    grad=_add_grad,
    rounding="sum",
    samples=(
        {"x": (2, 3, 5, 4, 3, 3), "sizes": (7, 6), **_SAMPLES[0]},
        {"x": (2, 3, 4, 6, 2, 3), "sizes": (7, 6), **_SAMPLES[1]},
        {"x": (2, 3, 2, 2, 2, 2), "sizes": (7, 6), **_SAMPLES[2]},
        {"x": (2, 3, 4, 3, 3, 3), "sizes": (7, 6), **_SAMPLES[3]},
        {"x": (2, 3, 4, 3), "sizes": (7,), "kernel": 3, "stride": 2, "pad": 1},
    ),
    doc="Adds windows up where they overlap: the adjoint of windows.",
)

WINDOW = (WINDOWS, WINDOWS_ADD)
