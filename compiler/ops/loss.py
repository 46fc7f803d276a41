"""Losses: what training makes small. The mean over all elements, unless `reduction` is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import BODY, Build, Config, Marker, Op, TypeMismatch, require_equal
from .activation import RELU, SIGMOID
from .broadcast import (
    number,
    require_floating,
    require_same_dtype,
)
from .compare import GREATER, LESS_EQUAL
from .elementwise import ADD, DIV, MAXIMUM, MUL, NEG, SUB, WHERE
from .function import ABS, EXP, LOG, LOG1P, SQUARE
from .reduce import MEAN, SUM
from .shape import product

Samples = Sequence[Mapping[str, Any]]

REDUCTION = Config("str", "mean", ("mean", "sum", "none"), "what becomes of the single losses")


def reduced_type(each: Type, reduction: str) -> Type:
    """The type of what becomes of the single losses."""
    return each if reduction == "none" else Type(each.dtype, ())


def reduced_array(each: Any, reduction: str) -> Any:
    """The same of arrays."""
    if reduction == "none":
        return each
    return np.mean(each) if reduction == "mean" else np.sum(each)


def reduced_loss(b: Build, each: Value, reduction: str) -> Value:
    """The same in the graph."""
    if reduction == "none":
        return each
    result: Value = b(MEAN if reduction == "mean" else SUM, each)
    return result


def shared(b: Build, g: Value, each: Sequence[Dim], reduction: str) -> Value:
    """The gradient of each single loss: the same for all (rank 0) where they are reduced."""
    if reduction != "mean":
        return g
    result: Value = b(DIV, g, number(b, product(each), g))
    return result


def same_shape(name: str, x: Type, target: Type) -> Type:
    """The type of the single losses of two tensors of one shape; nothing is broadcast."""
    require_floating(name, x, target)
    require_same_dtype(name, x, target)
    message = f"{name} takes two tensors of one shape, and gets {x} and {target}"
    if x.rank != target.rank:
        raise TypeMismatch(message)
    pairs = zip(x.shape, target.shape, strict=True)
    return x.with_(shape=tuple(require_equal(p, q, message) for p, q in pairs))


# ------------------------------------------------------------------- between two like tensors


def _loss(
    name: str,
    first: str,
    each: Callable[..., Any],
    body: Callable[..., Value],
    grad: Callable[..., Any] | Marker = BODY,
    *,
    config: Mapping[str, Config] | None = None,
    samples: Samples = (),
    kinks: str = "",
    doc: str,
) -> Op:
    """A loss of `first` and `target`, given its single losses on arrays and in smaller ops."""

    def infer(x: Type, target: Type, reduction: str, **_: Any) -> Type:
        return reduced_type(same_shape(name, x, target), reduction)

    def eval(x: Any, target: Any, reduction: str, **attrs: Any) -> Any:
        return reduced_array(each(x, target, **attrs), reduction)

    def whole(b: Build, x: Value, target: Value, reduction: str, **attrs: Any) -> Value:
        return reduced_loss(b, body(b, x, target, **attrs), reduction)

    return Op(
        name, (first, "target"), infer, eval, config={**(config or {}), "reduction": REDUCTION},
        body=whole, grad=grad, samples=tuple(samples), layout="any", rounding="body", kinks=kinks,
        doc=doc,
    )  # fmt: skip


def _pairs(first: str, *targets: float) -> Samples:
    """Samples of a loss: each reduction, with targets between two bounds where they are given."""
    target = ("f32", *targets)
    return (
        {first: (5, 7), "target": ((5, 7), *target)},
        {first: (2, 3, 5), "target": ((2, 3, 5), *target), "reduction": "sum"},
        {first: (5,), "target": ((5,), *target), "reduction": "none"},
    )


def _huber(x: Any, target: Any, delta: float) -> Any:
    far = np.abs(x - target)
    return np.where(far <= delta, far * far / 2, delta * (far - delta / 2))


def _huber_body(b: Build, x: Value, target: Value, delta: float) -> Value:
    far = b(ABS, b(SUB, x, target))
    line = b(MUL, b(SUB, far, delta / 2), delta)
    near = b(MUL, b(MUL, far, far), 0.5)
    result: Value = b(WHERE, b(LESS_EQUAL, far, delta), near, line)
    return result


def _bce(x: Any, target: Any) -> Any:
    return np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))


def _bce_body(b: Build, x: Value, target: Value) -> Value:
    above = b(SUB, b(MAXIMUM, x, 0.0), b(MUL, x, target))
    result: Value = b(ADD, above, b(LOG1P, b(EXP, b(NEG, b(ABS, x)))))
    return result


def _bce_grad(b: Build, g: Value, y: Value, x: Value, target: Value, reduction: str) -> list[Value]:
    share = shared(b, g, x.type.shape, reduction)
    return [b(MUL, share, b(SUB, b(SIGMOID, x), target)), b(NEG, b(MUL, share, x))]


def _kl(x: Any, target: Any) -> Any:
    some = target > 0
    return np.where(some, target * np.log(np.where(some, target, 1)), 0) - target * x


def _kl_body(b: Build, x: Value, target: Value) -> Value:
    some = b(GREATER, target, 0.0)
    log = b(LOG, b(WHERE, some, target, 1.0))
    result: Value = b(SUB, b(WHERE, some, b(MUL, target, log), 0.0), b(MUL, target, x))
    return result


MSE = _loss(
    "mse",
    "x",
    lambda x, target: np.square(x - target),
    lambda b, x, target: b(SQUARE, b(SUB, x, target)),
    samples=_pairs("x"),
    doc="The square of the difference.",
)
MAE = _loss(
    "mae",
    "x",
    lambda x, target: np.abs(x - target),
    lambda b, x, target: b(ABS, b(SUB, x, target)),
    samples=(*_pairs("x"), {"x": [1.0, 2.0], "target": [1.0, 5.0]}),
    kinks="its derivative where both are equal is 0",
    doc="The absolute difference.",
)
HUBER = _loss(
    "huber",
    "x",
    _huber,
    _huber_body,
    config={"delta": Config("float", 1.0, doc="the distance at which it becomes a line")},
    samples=(
        *_pairs("x"),
        {"x": (5, 7), "target": (5, 7), "delta": 0.5},
        {"x": [1.0, 2.0, 0.0], "target": [0.0, 2.0, 1.0]},
    ),
    doc="d * d / 2 for a difference d up to delta, beyond it the line delta * (d - delta / 2).",
)
BCE_WITH_LOGITS = _loss(
    "bce_with_logits",
    "logits",
    _bce,
    _bce_body,
    _bce_grad,
    samples=(
        *_pairs("logits", 0.0, 1.0),
        {"logits": [-100.0, 100.0, 100.0, 0.0], "target": [1.0, 1.0, 0.0, 0.5]},
    ),
    doc="The cross-entropy of independent yes/no targets, probabilities or 0 and 1.",
)
KL_DIV = _loss(
    "kl_div",
    "log_prob",
    _kl,
    _kl_body,
    samples=(
        *_pairs("log_prob", 0.05, 1.0),
        {"log_prob": [-1.0, -120.0, -2.0], "target": [0.5, 0.25, 0.0], "reduction": "sum"},
    ),
    kinks="where target is 0, its derivative by target is -log_prob",
    doc="target * (log(target) - log_prob), how far probabilities are from log-probabilities; "
    "0 where target is 0.",
)
HINGE = _loss(
    "hinge",
    "x",
    lambda x, target, margin: np.maximum(margin - x * target, 0),
    lambda b, x, target, margin: b(RELU, b(SUB, margin, b(MUL, x, target))),
    config={"margin": Config("float", 1.0, doc="how far on the right side costs nothing")},
    samples=(
        *_pairs("x"),
        {"x": [0.5, 3.0, -0.5, 1.0], "target": [1.0, 1.0, 1.0, -1.0], "margin": 0.75},
    ),
    kinks="its derivative at the margin is 0",
    doc="max(margin - x * target, 0), for targets -1 and 1.",
)

LOSS = (MSE, MAE, HUBER, BCE_WITH_LOGITS, KL_DIV, HINGE)
