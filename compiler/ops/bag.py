"""Embeddings of bags: one row for several indices."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_equal
from .broadcast import require_integer
from .elementwise import MUL
from .index import EMBEDDING
from .linear import require_weight
from .reduce import MAX, MEAN, SUM
from .shape import UNSQUEEZE

_REDUCE = {"sum": SUM, "mean": MEAN, "max": MAX}


def _infer(
    index: Type, share: Type | None, weight: Type, count: Dim, width: Dim, mode: str
) -> Type:
    require_integer("embedding_bag", index)
    if index.rank != 2:
        raise TypeMismatch(f"embedding_bag takes (bags, indices), and gets {index}")
    require_weight("embedding_bag", weight, (count, width))
    if share is not None:
        message = f"embedding_bag takes shares of the shape of {index}, and gets {share}"
        if share.rank != 2 or share.dtype != weight.dtype:
            raise TypeMismatch(message)
        for size, wanted in zip(share.shape, index.shape, strict=True):
            require_equal(size, wanted, message)
        if mode != "sum":
            raise TypeMismatch("embedding_bag takes shares of a sum alone", "value")
    return Type(weight.dtype, (index.shape[0], weight.shape[1]), (index.labels[0], None))


def _params(index: Type, *_: Any, count: Dim, width: Dim, **__: Any) -> dict[str, Param]:
    assert EMBEDDING.params is not None
    return dict(EMBEDDING.params(index, count=count, width=width, padding=None))


def _eval(index: Any, share: Any, weight: Any, mode: str, **attrs: Any) -> Any:
    rows = EMBEDDING.eval(index, weight, **attrs)
    if share is not None:
        rows = rows * share[..., None]
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[mode](rows, axis=1)


def _body(
    b: Build, index: Value, share: Value | None, weight: Value, count: Dim, width: Dim, mode: str
) -> Value:
    rows = b(EMBEDDING, index, weight, count=count, width=width)
    if share is not None:
        rows = b(MUL, rows, b(UNSQUEEZE, share, axes=(2,)))
    result: Value = b(_REDUCE[mode], rows, axes=(1,))
    return result


EMBEDDING_BAG = Op(
    "embedding_bag",
    inputs=("index", "share?"),
    weights=("weight",),
    config={
        "count": Config("size", doc="how many rows"),
        "width": Config("size"),
        "mode": Config("str", "mean", ("mean", "sum", "max")),
    },
    params=_params,
    infer=_infer,
    eval=_eval,
    body=_body,
    rounding="body",
    layer=True,
    kinks="of a max: " + MAX.kinks,
    samples=(
        {"index": ((3, 4), "i32", 0, 7), "count": 7, "width": 5},
        {"index": ((3, 4), "i64", 0, 7), "share": (3, 4), "count": 7, "width": 5, "mode": "sum"},
        {"index": ([[0, 1, 2], [4, 3, 2]], "i32"), "count": 5, "width": 2, "mode": "max"},
    ),
    doc="The mean, sum or largest elements of the learned rows of each bag of index (bags, indices)"
    "; a sum may weigh them by share (bags, indices).",
)
