"""Putting elements in order along an axis. Where several are equal, the first comes first."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op, TypeMismatch, require_at_most
from .broadcast import require_numeric
from .index import GATHER_ELEMENTS, cut
from .shape import require_sizes

_TIE = "equal elements keep their order, so that the gradient goes to the one that was picked"
_TIES = {"x": [[3.0, 1.0, 3.0, 2.0], [0.0, 0.0, 1.0, 1.0]]}
_CONFIG = {
    "axis": Config("axis", -1, doc="the axis that is put in order"),
    "descending": Config("bool", False, doc="whether the largest comes first"),
}


def _require_axis(name: str, x: Type) -> None:
    require_numeric(name, x)
    if x.rank == 0:
        raise TypeMismatch(f"{name} works along an axis, and gets {x}", "axis")


def _argsort_infer(x: Type, axis: int, descending: bool) -> Type:
    _require_axis("argsort", x)
    return x.with_(dtype="i32")


def places_in_order(x: Any, axis: int, descending: bool) -> Any:
    """Where the elements of an array in order come from, the first of equal ones first."""
    if descending:
        turned = np.argsort(np.flip(x, axis), axis, kind="stable")
        found = x.shape[axis] - 1 - np.flip(turned, axis)
    else:
        found = np.argsort(x, axis, kind="stable")
    return found.astype(np.int32)


ARGSORT = Op(
    "argsort",
    inputs=("x",),
    config=_CONFIG,
    infer=_argsort_infer,
    eval=places_in_order,
    grad=None,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (5, 7)},
        {"x": (2, 5, 3), "axis": 1, "descending": True},
        {"x": ((3, 7), "i32"), "descending": True},
        {"x": ((7, 3), "u8", 0, 4), "axis": 0},
        _TIES,
        {**_TIES, "descending": True},
    ),
    doc="The places, as i32, at which the elements of an axis stand when they are read in order;"
    " equal elements keep their order. NaN has no place that all targets agree on.",
)


def _sort_infer(x: Type, axis: int, descending: bool) -> Type:
    _require_axis("sort", x)
    return x


def _sort_body(b: Build, x: Value, axis: int, descending: bool) -> Value:
    index = b(ARGSORT, x, axis=axis, descending=descending)
    result: Value = b(GATHER_ELEMENTS, x, index, axis=axis)
    return result


SORT = Op(
    "sort",
    inputs=("x",),
    config=_CONFIG,
    infer=_sort_infer,
    eval=lambda x, axis, descending: np.take_along_axis(
        x, places_in_order(x, axis, descending), axis
    ),
    body=_sort_body,
    rounding="exact",
    layout="axes",
    kinks=_TIE,
    samples=(
        {"x": (5, 7)},
        {"x": (2, 5, 3), "axis": 1, "descending": True},
        {"x": ((3, 7), "i32"), "axis": 0},
        {**_TIES, "descending": True},
    ),
    doc="The elements of an axis in order, the smallest first.",
)


def _top_k_infer(x: Type, k: Dim, axis: int, largest: bool) -> tuple[Type, Type]:
    _require_axis("top_k", x)
    require_sizes("top_k", (k,))
    size = x.shape[axis]
    require_at_most(k, size, f"top_k picks {k} of {size} elements of axis {axis} of {x}")
    label = x.labels[axis] if k == size else None
    picked = Type(
        x.dtype,
        (*x.shape[:axis], k, *x.shape[axis + 1 :]),
        (*x.labels[:axis], label, *x.labels[axis + 1 :]),
    )
    return picked, picked.with_(dtype="i32")


def _top_k_eval(x: Any, k: int, axis: int, largest: bool) -> tuple[Any, Any]:
    places = np.take(places_in_order(x, axis, largest), np.arange(k), axis)
    return np.take_along_axis(x, places, axis), places


def _top_k_body(b: Build, x: Value, k: Dim, axis: int, largest: bool) -> tuple[Value, Value]:
    places = cut(b, b(ARGSORT, x, axis=axis, descending=largest), axis, 0, k)
    return b(GATHER_ELEMENTS, x, places, axis=axis), places


TOP_K = Op(
    "top_k",
    inputs=("x",),
    config={
        "k": Config("size", doc="how many are picked"),
        "axis": Config("axis", -1, doc="the axis along which to look"),
        "largest": Config("bool", True, doc="whether the largest are picked, or the smallest"),
    },
    infer=_top_k_infer,
    eval=_top_k_eval,
    body=_top_k_body,
    grad=BODY,
    rounding="exact",
    layout="axes",
    kinks=_TIE,
    samples=(
        {"x": (5, 7), "k": 2},
        {"x": (2, 5, 3), "k": 5, "axis": 1},
        {"x": (2, 5, 3), "k": 1, "axis": 1, "largest": False},
        {"x": ((3, 7), "i32"), "k": 3},
        {**_TIES, "k": 3},
    ),
    doc="The k largest elements of an axis, the largest first, and their places as i32. Of equal"
    " elements the first is picked first.",
)

ORDER = (SORT, ARGSORT, TOP_K)
