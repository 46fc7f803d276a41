"""Norms that only rescale: by the length of a vector, by the channels beside, of a weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_equal
from .broadcast import require_floating, require_same_dtype
from .elementwise import ADD, DIV, MAXIMUM, MUL
from .function import POW, RSQRT, SQRT, SQUARE
from .index import cut
from .join import PAD
from .reduce import SUM
from .shape import RESHAPE
from .standard import require_channels

# ------------------------------------------------------------------------------- l2_normalize


def _axes(x: Type, axes: Sequence[int], eps: float) -> Type:
    require_floating("l2_normalize", x)
    if not axes or len(set(axes)) < len(axes):
        raise TypeMismatch(f"l2_normalize of {x} takes axes, each once, not {tuple(axes)}", "axis")
    if not eps > 0:
        raise TypeMismatch(f"l2_normalize takes an eps above 0, and gets {eps}", "value")
    return x


def _l2_eval(x: Any, axes: Sequence[int], eps: float) -> Any:
    norm = np.sqrt(np.sum(np.square(x), tuple(axes), keepdims=True))
    return x / np.maximum(norm, x.dtype.type(eps))


def _l2_body(b: Build, x: Value, axes: Sequence[int], eps: float) -> Value:
    """By the larger of two squares, so that the root has a derivative at 0 too."""
    total = b(SUM, b(SQUARE, x), axes=axes, keep=True)
    result: Value = b(MUL, x, b(RSQRT, b(MAXIMUM, total, max(eps * eps, 1e-37))))
    return result


L2_NORMALIZE = Op(
    "l2_normalize",
    inputs=("x",),
    config={
        "axes": Config("axes", (-1,), doc="the axes whose elements are one vector"),
        "eps": Config("float", 1e-12, doc="the least length that is divided by"),
    },
    infer=_axes,
    eval=_l2_eval,
    body=_l2_body,
    rounding="body",
    layout="axes",
    kinks="shorter vectors than eps are divided by eps, and at that length a half counts for each",
    samples=(
        {"x": (2, 3, 5)},
        {"x": (2, 3, 5), "axes": (1,), "eps": 1e-3},
        {"x": (2, 3, 5), "axes": (0, 2)},
        {"x": [[0.0, 0.0], [3.0, 4.0]]},
        {"x": [[1e-5, -2e-5], [3.0, 4.0]], "eps": 1e-2},
    ),
    doc="x divided by its length over the axes (the last, if not given), or by eps if that is"
    " longer.",
)

# ------------------------------------------------------------------------- local_response_norm


def _local_infer(x: Type, size: int, **_: Any) -> Type:
    require_floating("local_response_norm", x)
    require_channels("local_response_norm", x, 3)
    if size < 1:
        raise TypeMismatch(f"local_response_norm takes a size of at least 1, not {size}", "value")
    return x


def _local_eval(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    pads = [(0, 0)] * x.ndim
    pads[1] = (size // 2, (size - 1) // 2)
    squares = np.pad(np.square(x), pads)
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (k + alpha / size * total) ** x.dtype.type(beta)


def _local_body(b: Build, x: Value, size: int, alpha: float, beta: float, k: float) -> Value:
    pads = tuple((size // 2, (size - 1) // 2) if i == 1 else (0, 0) for i in range(x.type.rank))
    squares = b(PAD, b(SQUARE, x), pads=pads) if size > 1 else b(SQUARE, x)
    channels = x.type.shape[1]
    total: Value | None = None
    for i in range(size):
        part = cut(b, squares, 1, i, channels + i)
        total = part if total is None else b(ADD, total, part)
    scale = b(ADD, b(MUL, total, alpha / size), k)
    result: Value = b(DIV, x, b(SQRT, scale) if beta == 0.5 else b(POW, scale, beta))
    return result


LOCAL_RESPONSE_NORM = Op(
    "local_response_norm",
    inputs=("x",),
    config={
        "size": Config("int", doc="how many channels count, half of them before"),
        "alpha": Config("float", 1e-4, doc="divided by size"),
        "beta": Config("float", 0.75),
        "k": Config("float", 1.0),
    },
    infer=_local_infer,
    eval=_local_eval,
    body=_local_body,
    rounding="body",
    samples=(
        {"x": (2, 7, 3, 4), "size": 5},
        {"x": (2, 6, 5), "size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0},
        {"x": (2, 6, 5), "size": 4, "alpha": 0.7},
        {"x": (2, 3, 2), "size": 1, "alpha": 1.0},
    ),
    doc="x / (k + alpha * mean of the squares of `size` channels around it) ^ beta; channels beyond"
    " the ends count as 0.",
)

# ------------------------------------------------------------------------------- weight_norm


def _line(v: Any, axis: int) -> tuple[Dim, ...]:
    """The shape in which one number for each place of the axis broadcasts to `v`."""
    return tuple(size if i == axis else 1 for i, size in enumerate(v.shape))


def _weight_infer(v: Type, g: Type, axis: int) -> Type:
    require_floating("weight_norm", v, g)
    require_same_dtype("weight_norm", v, g)
    message = f"weight_norm of {v} takes lengths [{v.shape[axis]}], and gets {g}"
    if g.rank != 1:
        raise TypeMismatch(message)
    require_equal(g.shape[0], v.shape[axis], message)
    return v


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if i != axis)


def _weight_eval(v: Any, g: Any, axis: int) -> Any:
    norm = np.sqrt(np.sum(np.square(v), _others(v.ndim, axis), keepdims=True))
    return v * (g.reshape(_line(v, axis)) / norm)


def _weight_body(b: Build, v: Value, g: Value, axis: int) -> Value:
    norm = b(RSQRT, b(SUM, b(SQUARE, v), axes=_others(v.type.rank, axis), keep=True))
    length = b(RESHAPE, g, shape=_line(v.type, axis))
    result: Value = b(MUL, v, b(MUL, length, norm))
    return result


WEIGHT_NORM = Op(
    "weight_norm",
    inputs=("v", "g"),
    config={"axis": Config("axis", 0, doc="the axis of v that g has a length for")},
    infer=_weight_infer,
    eval=_weight_eval,
    body=_weight_body,
    rounding="body",
    samples=(
        {"v": (5, 3, 2), "g": (5,)},
        {"v": (4, 3), "g": (3,), "axis": 1},
        {"v": (3, 7), "g": ((3,), "f32", -2.0, -0.5)},
    ),
    doc="v rescaled so that along `axis` its slices have the lengths g; NaN for a slice of zeros.",
)

RESCALE = (L2_NORMALIZE, LOCAL_RESPONSE_NORM, WEIGHT_NORM)
