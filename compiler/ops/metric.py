"""Losses of how alike vectors are, the vectors along one axis."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op
from .activation import RELU
from .elementwise import ADD, SUB
from .loss import REDUCTION, reduced_array, reduced_loss, reduced_type, same_shape
from .reduce import reduced
from .similarity import COSINE_SIMILARITY, EPS, cosine_array
from .statistic import L2_NORM

_AXIS = Config("axis", -1, doc="the axis of the vectors")


def _cosine_infer(x: Type, target: Type, axis: int, eps: float, reduction: str) -> Type:
    whole = same_shape("cosine_loss", x, target)
    return reduced_type(reduced(whole, (axis,), False), reduction)


def _cosine_body(b: Build, x: Value, target: Value, axis: int, eps: float, reduction: str) -> Value:
    return reduced_loss(
        b, b(SUB, 1.0, b(COSINE_SIMILARITY, x, target, axis=axis, eps=eps)), reduction
    )


COSINE_LOSS = Op(
    "cosine_loss",
    inputs=("x", "target"),
    config={"axis": _AXIS, "eps": EPS, "reduction": REDUCTION},
    infer=_cosine_infer,
    eval=lambda x, target, axis, eps, reduction: reduced_array(
        1 - cosine_array(x, target, axis, eps), reduction
    ),
    body=_cosine_body,
    grad=BODY,
    rounding="body",
    layout="axes",
    samples=(
        {"x": (5, 7), "target": (5, 7)},
        {"x": (2, 3, 5), "target": (2, 3, 5), "axis": 1, "reduction": "none"},
        {"x": (2, 3, 5), "target": (2, 3, 5), "reduction": "sum"},
    ),
    doc="1 - cosine_similarity: 0 for vectors of one direction, 2 for opposite ones.",
)


def _triplet_infer(
    anchor: Type, positive: Type, negative: Type, margin: float, axis: int, eps: float,
    reduction: str,
) -> Type:  # fmt: skip
    whole = same_shape("triplet_loss", anchor, positive)
    same_shape("triplet_loss", anchor, negative)
    return reduced_type(reduced(whole, (axis,), False), reduction)


def _far(b: Build, x: Value, y: Value, axis: int, eps: float) -> Value:
    result: Value = b(L2_NORM, b(ADD, b(SUB, x, y), eps), axes=(axis,))
    return result


def _far_array(x: Any, y: Any, axis: int, eps: float) -> Any:
    return np.sqrt(np.sum(np.square(x - y + eps), axis))


def _triplet_eval(
    anchor: Any, positive: Any, negative: Any, margin: float, axis: int, eps: float, reduction: str
) -> Any:
    near, far = (_far_array(anchor, x, axis, eps) for x in (positive, negative))
    return reduced_array(np.maximum(near - far + margin, 0), reduction)


def _triplet_body(
    b: Build, anchor: Value, positive: Value, negative: Value, margin: float, axis: int,
    eps: float, reduction: str,
) -> Value:  # fmt: skip
    near, far = (_far(b, anchor, x, axis, eps) for x in (positive, negative))
    return reduced_loss(b, b(RELU, b(ADD, b(SUB, near, far), margin)), reduction)


_TRIPLE = {"anchor": (5, 7), "positive": (5, 7), "negative": (5, 7)}

TRIPLET_LOSS = Op(
    "triplet_loss",
    inputs=("anchor", "positive", "negative"),
    config={
        "margin": Config("float", 1.0, doc="how much farther the negative has to be"),
        "axis": _AXIS,
        "eps": Config("float", 1e-6, doc="what is added to differences"),
        "reduction": REDUCTION,
    },
    infer=_triplet_infer,
    eval=_triplet_eval,
    body=_triplet_body,
    grad=BODY,
    rounding="body",
    layout="axes",
    kinks="its derivative at the margin is 0",
    samples=(
        _TRIPLE,
        {**_TRIPLE, "margin": 0.25, "reduction": "none"},
        {**{name: (2, 3, 5) for name in _TRIPLE}, "axis": 1, "reduction": "sum"},
    ),
    doc="max(distance to positive - distance to negative + margin, 0), of vectors along an axis.",
)

METRIC = (COSINE_LOSS, TRIPLET_LOSS)
