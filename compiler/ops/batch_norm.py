"""Batch norm: the one norm that depends on the mode, and that has buffers."""

from __future__ import annotations

import math
from typing import Any

from ..array import np
from ..graph import Init, Type, Value
from ..op import Build, Config, Op, Param, require_at_most
from .broadcast import number, require_floating, require_same_dtype
from .elementwise import ADD, DIV, MUL, SUB
from .function import RSQRT, SQUARE
from .linear import require_weight
from .norm import AFFINE, EPS
from .reduce import MEAN, SUM, count
from .shape import RESHAPE, require_known
from .standard import (
    affine,
    affine_eval,
    affine_gradients,
    affine_params,
    require_affine,
    require_channels,
    spread,
    standardise,
    standardise_gradient,
)

_CHANNELS = (1,)


def _axes(rank: int) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, rank))


def _known_mode(training: bool | None) -> bool:
    if training is None:
        raise ValueError("batch_norm in a graph whose mode is not resolved")
    return training


def _infer(
    x: Type, weight: Type | None, bias: Type | None, mean: Type, var: Type,
    training: bool | None, **_: Any,
) -> tuple[Type, Type, Type]:  # fmt: skip
    require_floating("batch_norm", x)
    require_channels("batch_norm", x)
    require_affine("batch_norm", x, (x.shape[1],), weight, bias)
    require_same_dtype("batch_norm", x, mean, var)
    for name, given in (("running_mean", mean), ("running_var", var)):
        require_weight("batch_norm", given, (x.shape[1],), name)
    if training:
        message = f"batch_norm of {x} in training takes at least 2 elements of each channel"
        require_at_most(2, count(x, _axes(x.rank)), message)
    return x, mean, var


def _params(x: Type, affine: bool, **_: Any) -> dict[str, Param]:
    require_floating("batch_norm", x)
    require_channels("batch_norm", x)
    require_known("batch_norm", x.shape[1])
    buffer = Type(x.dtype, (x.shape[1],))
    return {
        **affine_params("batch_norm", x.dtype, (x.shape[1],), affine, affine),
        "running_mean": Param(buffer, Init("zeros"), trainable=False),
        "running_var": Param(buffer, Init("ones"), trainable=False),
    }


def _eval(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, momentum: float,
    training: bool | None, **_: Any,
) -> Any:  # fmt: skip
    axes, shape = _axes(x.ndim), (-1,) + (1,) * (x.ndim - 2)
    if not _known_mode(training):
        normal = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
        return affine_eval(normal, weight, bias, _CHANNELS), mean, var
    n = math.prod(x.shape[axis] for axis in axes)
    if n < 2:
        raise ValueError("batch_norm in training takes at least 2 elements of each channel")
    now = x.mean(axes)
    centred = x - now.reshape(shape)
    spread = (centred * centred).mean(axes)
    normal = centred / np.sqrt(spread.reshape(shape) + eps)
    y = affine_eval(normal, weight, bias, _CHANNELS)
    unbiased = spread * (n / (n - 1))
    return y, _moved(mean, now, momentum), _moved(var, unbiased, momentum)


def _moved(old: Any, new: Any, momentum: float) -> Any:
    return (1 - momentum) * old + momentum * new


def _body(
    b: Build, x: Value, weight: Value | None, bias: Value | None, mean: Value, var: Value,
    eps: float, momentum: float, training: bool | None, **_: Any,
) -> tuple[Value, Value, Value]:  # fmt: skip
    if not _known_mode(training):
        normal, _scale = _normal(b, x, mean, var, eps)
        return affine(b, normal, weight, bias, _CHANNELS), mean, var
    axes = _axes(x.type.rank)
    now = b(MEAN, x, axes=axes)
    centred = b(SUB, x, spread(b, now, x, _CHANNELS))
    biased = b(MEAN, b(SQUARE, centred), axes=axes)
    scale = b(RSQRT, b(ADD, biased, eps))
    y = affine(b, b(MUL, centred, spread(b, scale, x, _CHANNELS)), weight, bias, _CHANNELS)
    n = count(x.type, axes)
    unbiased = b(DIV, b(MUL, biased, number(b, n, x)), number(b, n - 1, x))
    return y, _move(b, mean, now, momentum), _move(b, var, unbiased, momentum)


def _normal(b: Build, x: Value, mean: Value, var: Value, eps: float) -> tuple[Value, Value]:
    """x standardised by the running statistics, and the factor (channels, 1, ...) in that."""
    scale = b(RSQRT, b(ADD, spread(b, var, x, _CHANNELS), eps))
    return b(MUL, b(SUB, x, spread(b, mean, x, _CHANNELS)), scale), scale


def _move(b: Build, old: Value, new: Value, momentum: float) -> Value:
    result: Value = b(ADD, b(MUL, old, 1 - momentum), b(MUL, new, momentum))
    return result


def _grad(
    b: Build, g: Any, y: Any, x: Value, weight: Value | None, bias: Value | None, mean: Value,
    var: Value, eps: float, training: bool | None, **_: Any,
) -> list[Value | None]:  # fmt: skip
    """Of the first output; the new statistics are buffers, and take no gradient back."""
    if g[0] is None:
        return [None] * 5
    axes = _axes(x.type.rank)
    if _known_mode(training):
        normal, scale = standardise(b, x, axes, eps)
        dn, dw, db = affine_gradients(b, g[0], normal, weight, bias, _CHANNELS)
        return [standardise_gradient(b, dn, normal, scale, axes), dw, db, None, None]
    normal, scale = _normal(b, x, mean, var, eps)
    dn, dw, db = affine_gradients(b, g[0], normal, weight, bias, _CHANNELS)
    dx = b(MUL, dn, scale)
    flat = b(RESHAPE, scale, shape=mean.type.shape)
    dmean = b(MUL, b(SUM, dx, axes=axes), -1.0)
    slope = b(SUM, b(MUL, dn, normal), axes=axes)
    return [dx, dw, db, dmean, b(MUL, b(MUL, slope, b(SQUARE, flat)), -0.5)]


_STATISTICS = {"running_mean": ((3,), "f32", -1.0, 1.0), "running_var": ((3,), "f32", 0.3, 2.0)}

BATCH_NORM = Op(
    "batch_norm",
    inputs=("x",),
    weights=("weight?", "bias?", "running_mean", "running_var"),
    config={
        "eps": EPS,
        "momentum": Config("float", 0.1, doc="the share of the new statistics in the running ones"),
        "affine": AFFINE,
        "training": Config("bool", None, doc="set by the mode; never written"),
    },
    params=_params,
    infer=_infer,
    eval=_eval,
    body=_body,
    grad=_grad,
    rounding="body",
    layer=True,
    effect="state",
    layout="channels",
    samples=(
        {"x": (2, 3, 5, 4), **_STATISTICS, "training": False},
        {"x": (2, 3, 5, 4), **_STATISTICS, "training": True},
        {"x": (7, 3), **_STATISTICS, "training": True, "momentum": 0.3, "eps": 1e-3},
        {"x": (7, 3), **_STATISTICS, "training": False, "affine": False, "eps": 1e-3},
        {"x": ((2, 3, 5), "f32", 29.0, 31.0), **_STATISTICS, "training": True, "affine": False},
    ),
    doc="(x - mean) / sqrt(variance + eps) of each channel (axis 1), times weight, plus bias. In"
    " training by the statistics of the batch, of which the running ones take a share (of the"
    " unbiased variance, as in PyTorch); otherwise by the running ones.",
)
