"""Moving elements between channels and places of (batch, channels, *spatial)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_divides, require_equal
from .shape import RESHAPE, TRANSPOSE, product
from .window import CONFIG, WINDOWS, WINDOWS_ADD, Window, add_windows, require_spatial, windows_of

_FACTOR = {
    "factor": Config("int", doc="how often higher and wider"),
    "order": Config(
        "str", "crd", ("crd", "dcr"),
        "of the channels: a pixel's block is the faster part (PyTorch), or the slower (TensorFlow)",
    ),
}  # fmt: skip


def _image(op: str, x: Type, factor: int) -> None:
    if x.rank != 4:
        raise TypeMismatch(f"{op} takes (batch, channels, height, width), and gets {x}")
    if factor < 1:
        raise TypeMismatch(f"{op} takes a factor of at least 1, and gets {factor}", "value")


def _shuffled(x: Type, factor: int) -> tuple[Dim, ...]:
    _image("pixel_shuffle", x, factor)
    square = factor * factor
    message = f"pixel_shuffle of {x}: {x.shape[1]} channels do not divide by {square}"
    channels = require_divides(square, x.shape[1], message)
    return (x.shape[0], channels, x.shape[2] * factor, x.shape[3] * factor)


def _unshuffled(x: Type, factor: int) -> tuple[Dim, ...]:
    _image("pixel_unshuffle", x, factor)
    message = f"pixel_unshuffle of {x}: {factor} does not divide height and width"
    places = (require_divides(factor, size, message) for size in x.shape[2:])
    return (x.shape[0], x.shape[1] * factor * factor, *places)


def _apart(
    batch: Dim, channels: Dim, rows: Dim, columns: Dim, f: int, order: str
) -> tuple[Any, ...]:
    """The shape of the shuffled side's axes, and how they stand when put together."""
    if order == "crd":
        return (batch, channels, f, f, rows, columns), (0, 1, 4, 2, 5, 3)
    return (batch, f, f, channels, rows, columns), (0, 3, 4, 1, 5, 2)


def _shuffle_parts(shape: Sequence[Dim], factor: int, order: str) -> tuple[Any, Any, Any]:
    """The shape in six axes, their permutation, and the shape of the result."""
    batch, channels, rows, columns = shape
    channels = channels // (factor * factor)
    apart, axes = _apart(batch, channels, rows, columns, factor, order)
    return apart, axes, (batch, channels, rows * factor, columns * factor)


def _unshuffle_parts(shape: Sequence[Dim], factor: int, order: str) -> tuple[Any, Any, Any]:
    batch, channels, rows, columns = shape
    rows, columns = rows // factor, columns // factor
    apart, axes = _apart(batch, channels, rows, columns, factor, order)
    inverse = tuple(axes.index(i) for i in range(6))
    whole = (batch, channels * factor * factor, rows, columns)
    return tuple(apart[i] for i in axes), inverse, whole


def _moved(parts: Any) -> Any:
    def body(b: Build, x: Value, factor: int, order: str) -> Value:
        apart, axes, whole = parts(x.type.shape, factor, order)
        moved = b(TRANSPOSE, b(RESHAPE, x, shape=apart), axes=axes)
        result: Value = b(RESHAPE, moved, shape=whole)
        return result

    return body


def _moved_eval(parts: Any) -> Any:
    def eval(x: Any, factor: int, order: str) -> Any:
        apart, axes, whole = parts(x.shape, factor, order)
        return x.reshape(apart).transpose(axes).reshape(whole)

    return eval


PIXEL_SHUFFLE = Op(
    "pixel_shuffle",
    inputs=("x",),
    config=_FACTOR,
    infer=lambda x, factor, order: x.with_(shape=_shuffled(x, factor)),
    eval=_moved_eval(_shuffle_parts),
    body=_moved(_shuffle_parts),
    grad=lambda b, g, y, x, factor, order: [b(PIXEL_UNSHUFFLE, g, factor=factor, order=order)],
    rounding="exact",
    layout="channels",
    samples=(
        {"x": (2, 12, 3, 5), "factor": 2},
        {"x": (2, 12, 3, 5), "factor": 2, "order": "dcr"},
        {"x": (1, 9, 2, 1), "factor": 3},
        {"x": ((1, 4, 2, 3), "i32"), "factor": 2},
    ),
    doc="Blocks of factor * factor channels, laid out as squares of pixels: (B, C, H, W) becomes"
    " (B, C / factor^2, H * factor, W * factor). Also called depth to space.",
)
PIXEL_UNSHUFFLE: Op = Op(
    "pixel_unshuffle",
    inputs=("x",),
    config=_FACTOR,
    infer=lambda x, factor, order: x.with_(shape=_unshuffled(x, factor)),
    eval=_moved_eval(_unshuffle_parts),
    body=_moved(_unshuffle_parts),
    grad=lambda b, g, y, x, factor, order: [b(PIXEL_SHUFFLE, g, factor=factor, order=order)],
    rounding="exact",
    layout="channels",
    samples=(
        {"x": (2, 3, 4, 6), "factor": 2},
        {"x": (2, 3, 4, 6), "factor": 2, "order": "dcr"},
        {"x": (1, 2, 6, 3), "factor": 3},
    ),
    doc="Squares of factor * factor pixels as channels: undoes pixel_shuffle. Also called space to"
    " depth.",
)

# ------------------------------------------------------------------------------ unfold and fold

_WINDOW = {name: config for name, config in CONFIG.items() if name != "ceil"}


def _window(sizes: Sequence[Dim], attrs: Any) -> Window:
    return Window.of(sizes, **attrs)


def _unfold_infer(x: Type, **attrs: Any) -> Type:
    require_spatial("unfold", x)
    window = _window(x.shape[2:], attrs)
    places = product(window.counts(f"unfold of {x}", x.shape[2:]))
    shape = (x.shape[0], x.shape[1] * math.prod(window.kernel), places)
    return Type(x.dtype, shape, (x.labels[0], x.labels[1], None))


def _unfold_eval(x: Any, **attrs: Any) -> Any:
    windows, n = windows_of(x, _window(x.shape[2:], attrs)), x.ndim - 2
    moved = windows.transpose(0, 1, *range(n + 2, 2 * n + 2), *range(2, n + 2))
    taps = math.prod(moved.shape[2 : n + 2])
    return moved.reshape(x.shape[0], x.shape[1] * taps, -1)


def _unfold_body(b: Build, x: Value, **attrs: Any) -> Value:
    windows, n = b(WINDOWS, x, **attrs), x.type.rank - 2
    moved = b(TRANSPOSE, windows, axes=(0, 1, *range(n + 2, 2 * n + 2), *range(2, n + 2)))
    result: Value = b(RESHAPE, moved, shape=_unfold_infer(x.type, **attrs).shape)
    return result


def _unfold_grad(b: Build, g: Value, y: Value, x: Value, **attrs: Any) -> list[Value]:
    return [b(FOLD, g, sizes=x.type.shape[2:], **attrs)]


UNFOLD = Op(
    "unfold",
    inputs=("x",),
    config=_WINDOW,
    infer=_unfold_infer,
    eval=_unfold_eval,
    body=_unfold_body,
    grad=_unfold_grad,
    rounding="exact",
    samples=(
        {"x": (2, 3, 5, 6), "kernel": 2},
        {"x": (2, 3, 7, 6), "kernel": (3, 2), "stride": 2, "pad": 1, "dilation": (2, 1)},
        {"x": (2, 3, 7), "kernel": 3, "stride": 2, "pad": ((0, 1),)},
    ),
    doc="The windows over the places as columns: (batch, channels * taps, windows), also im2col.",
)


def _fold_shape(x: Type, sizes: Sequence[Dim], window: Window) -> tuple[Dim, ...]:
    """The shape of the windows of `x`: (batch, channels, *kernel, *counts)."""
    if x.rank != 3:
        raise TypeMismatch(f"fold takes (batch, channels * taps, windows), and gets {x}")
    taps = math.prod(window.kernel)
    message = f"fold of {x}: {x.shape[1]} rows do not divide by {taps} taps"
    channels = require_divides(taps, x.shape[1], message)
    counts = window.counts("fold", sizes)
    message = f"fold of {x} to {list(map(str, sizes))} takes {product(counts)} windows"
    require_equal(x.shape[2], product(counts), message)
    return (x.shape[0], channels, *window.kernel, *counts)


def _fold_infer(x: Type, sizes: Sequence[Dim], **attrs: Any) -> Type:
    shape = _fold_shape(x, sizes, _window(sizes, attrs))
    result = Type(x.dtype, (*shape[:2], *sizes), (*x.labels[:2], *(None,) * len(sizes)))
    require_spatial("fold", result)
    return result


def _fold_eval(x: Any, sizes: Sequence[int], **attrs: Any) -> Any:
    window, n = _window(sizes, attrs), len(sizes)
    apart = x.reshape(_fold_shape(Type("f32", x.shape), sizes, window))
    windows = apart.transpose(0, 1, *range(n + 2, 2 * n + 2), *range(2, n + 2))
    return add_windows(np.ascontiguousarray(windows), window, sizes)


def _fold_body(b: Build, x: Value, sizes: Sequence[Dim], **attrs: Any) -> Value:
    n = len(sizes)
    apart = b(RESHAPE, x, shape=_fold_shape(x.type, sizes, _window(sizes, attrs)))
    windows = b(TRANSPOSE, apart, axes=(0, 1, *range(n + 2, 2 * n + 2), *range(2, n + 2)))
    result: Value = b(WINDOWS_ADD, windows, sizes=sizes, **attrs)
    return result


def _fold_grad(b: Build, g: Value, y: Value, x: Value, sizes: Any, **attrs: Any) -> list[Value]:
    return [b(UNFOLD, g, **attrs)]


FOLD: Op = Op(
    "fold",
    inputs=("x",),
    config={"sizes": Config("shape", doc="the spatial sizes of the result"), **_WINDOW},
    infer=_fold_infer,
    eval=_fold_eval,
    body=_fold_body,
    grad=_fold_grad,
    rounding="sum",
    samples=(
        {"x": (2, 12, 20), "sizes": (5, 6), "kernel": 2},
        {"x": (2, 18, 12), "sizes": (7, 6), "kernel": (3, 2), "stride": 2, "pad": 1,
         "dilation": (2, 1)},
        {"x": (2, 9, 3), "sizes": (7,), "kernel": 3, "stride": 2, "pad": ((0, 1),)},
    ),
    doc="Columns as unfold makes them, added up where their windows overlap: its adjoint.",
)  # fmt: skip

PIXEL = (PIXEL_SHUFFLE, PIXEL_UNSHUFFLE, UNFOLD, FOLD)
