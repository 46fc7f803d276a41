"""What the norms share: standardising over axes, its gradient, and weights a channel or an axis.

Means first, then the mean of squared distances (two passes): exact for inputs far from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Init, Type, Value
from ..op import Build, Param, TypeMismatch
from .broadcast import require_same_dtype
from .elementwise import ADD, MUL, SUB
from .function import RSQRT, SQUARE
from .linear import require_weight
from .reduce import MEAN, SUM
from .shape import RESHAPE, require_known

Axes = Sequence[int]


def standardised(x: Any, axes: Axes, eps: float) -> Any:
    """(x - mean) / sqrt(variance + eps) over the axes, of an array."""
    centred = x - x.mean(tuple(axes), keepdims=True)
    return centred / np.sqrt((centred * centred).mean(tuple(axes), keepdims=True) + eps)


def standardise(b: Build, x: Value, axes: Axes, eps: float) -> tuple[Value, Value]:
    """The same in the graph, and the factor 1 / sqrt(variance + eps), whose axes stay."""
    centred = b(SUB, x, b(MEAN, x, axes=axes, keep=True))
    variance = b(MEAN, b(SQUARE, centred), axes=axes, keep=True)
    scale = b(RSQRT, b(ADD, variance, eps))
    return b(MUL, centred, scale), scale


def standardise_gradient(b: Build, g: Value, normal: Value, scale: Value, axes: Axes) -> Value:
    """The gradient of x, given that of the standardised x: without its mean and its slope."""
    mean = b(MEAN, g, axes=axes, keep=True)
    slope = b(MEAN, b(MUL, g, normal), axes=axes, keep=True)
    rest = b(SUB, b(SUB, g, mean), b(MUL, normal, slope))
    result: Value = b(MUL, rest, scale)
    return result


def others(x: Value, axes: Axes) -> tuple[int, ...]:
    """The axes of `x` that are not among `axes`."""
    return tuple(i for i in range(x.type.rank) if i not in axes)


def along(shape: Sequence[Dim], axes: Axes) -> tuple[Dim, ...]:
    """The shape in which a weight with those axes broadcasts to `shape`, leading ones left out."""
    first = min(axes)
    return tuple(size if i in axes else 1 for i, size in enumerate(shape) if i >= first)


def spread(b: Build, weight: Value, x: Value, axes: Axes) -> Value:
    """`weight`, whose axes are these of `x`, reshaped to broadcast with `x`."""
    shape = along(x.type.shape, axes)
    if shape == weight.type.shape:
        return weight
    result: Value = b(RESHAPE, weight, shape=shape)
    return result


def affine(b: Build, normal: Value, weight: Value | None, bias: Value | None, axes: Axes) -> Value:
    """normal * weight + bias, where they are there."""
    if weight is not None:
        normal = b(MUL, normal, spread(b, weight, normal, axes))
    return normal if bias is None else b(ADD, normal, spread(b, bias, normal, axes))


def affine_eval(normal: Any, weight: Any, bias: Any, axes: Axes) -> Any:
    """The same of arrays."""
    shape = along(normal.shape, axes)
    if weight is not None:
        normal = normal * weight.reshape(shape)
    return normal if bias is None else normal + bias.reshape(shape)


def affine_gradients(
    b: Build, g: Value, normal: Value, weight: Value | None, bias: Value | None, axes: Axes
) -> tuple[Value, Value | None, Value | None]:
    """The gradients of `normal`, `weight` and `bias`."""
    summed = others(normal, axes)
    dw = None if weight is None else b(SUM, b(MUL, g, normal), axes=summed)
    db = None if bias is None else b(SUM, g, axes=summed)
    return (g if weight is None else b(MUL, g, spread(b, weight, g, axes))), dw, db


def affine_params(
    op: str, dtype: str, shape: tuple[Dim, ...], weight: bool, bias: bool
) -> dict[str, Param]:
    """A weight of ones and a bias of zeros, as far as they are wanted."""
    params = {}
    if weight or bias:
        require_known(op, *shape)
    if weight:
        params["weight"] = Param(Type(dtype, shape), Init("ones"))
    if bias:
        params["bias"] = Param(Type(dtype, shape), Init("zeros"))
    return params


def require_affine(
    op: str, x: Type, shape: tuple[Dim, ...], weight: Type | None, bias: Type | None
) -> None:
    """Raises unless the weights that are there have this shape and the dtype of `x`."""
    require_same_dtype(op, x, weight, bias)
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            require_weight(op, given, shape, name)


def require_channels(op: str, x: Type, rank: int = 2) -> None:
    """Raises unless `x` has axes for batch and channels, `rank` in all at least."""
    if x.rank < rank:
        more = ", and spatial axes" if rank > 2 else ""
        raise TypeMismatch(f"{op} takes axes for batch and channels{more}, and gets {x}")
