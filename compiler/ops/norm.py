"""Norms over features and groups. Channels are axis 1; eps is inside the square root."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_divides
from .broadcast import require_floating
from .elementwise import ADD, MUL, SUB
from .function import RSQRT, SQUARE
from .reduce import MEAN
from .shape import RESHAPE, product
from .standard import (
    Axes,
    affine,
    affine_eval,
    affine_gradients,
    affine_params,
    require_affine,
    require_channels,
    standardise,
    standardise_gradient,
    standardised,
)

EPS = Config("float", 1e-5, doc="added to the variance")
AFFINE = Config("bool", True, doc="whether there are a weight (and a bias)")
_FAR = ((3, 5), "f32", 29.0, 31.0)

# ----------------------------------------------------------------------- layer_norm, rms_norm


def _sizes(op: str, x: Type, axes: Axes | int) -> tuple[Dim, ...]:
    """The shape of a weight over these axes, which may be counted from the end."""
    require_floating(op, x)
    axes = [axis % max(x.rank, 1) for axis in ((axes,) if isinstance(axes, int) else axes)]
    if not axes or not x.rank or list(axes) != sorted(set(axes)):
        raise TypeMismatch(f"{op} of {x} takes axes in order, each once, not {tuple(axes)}", "axis")
    return tuple(x.shape[axis] for axis in axes)


def _layer_infer(x: Type, weight: Type | None, bias: Type | None, /, axes: Axes, **_: Any) -> Type:
    require_affine("layer_norm", x, _sizes("layer_norm", x, axes), weight, bias)
    return x


def _layer_params(x: Type, axes: Axes, affine: bool, bias: bool, **_: Any) -> dict[str, Param]:
    shape = _sizes("layer_norm", x, axes)
    return affine_params("layer_norm", x.dtype, shape, affine, affine and bias)


def _layer_eval(x: Any, weight: Any, bias: Any, /, axes: Axes, eps: float, **_: Any) -> Any:
    return affine_eval(standardised(x, axes, eps), weight, bias, axes)


def _layer_body(
    b: Build, x: Value, weight: Value | None, bias: Value | None, /, axes: Axes, eps: float,
    **_: Any,
) -> Value:  # fmt: skip
    normal, _scale = standardise(b, x, axes, eps)
    return affine(b, normal, weight, bias, axes)


def _layer_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value | None, bias: Value | None, /,
    axes: Axes, eps: float, **_: Any,
) -> list[Value | None]:  # fmt: skip
    normal, scale = standardise(b, x, axes, eps)
    dn, dw, db = affine_gradients(b, g, normal, weight, bias, axes)
    return [standardise_gradient(b, dn, normal, scale, axes), dw, db]


LAYER_NORM = Op(
    "layer_norm",
    inputs=("x",),
    weights=("weight?", "bias?"),
    config={
        "axes": Config("axes", (-1,), doc="the axes that are standardised together"),
        "eps": EPS,
        "affine": AFFINE,
        "bias": Config("bool", True, doc="whether there is a bias beside the weight"),
    },
    params=_layer_params,
    infer=_layer_infer,
    eval=_layer_eval,
    body=_layer_body,
    grad=_layer_grad,
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 3, 5)},
        {"x": (2, 3, 5), "axes": (1, 2), "eps": 1e-3},
        {"x": (2, 3, 5), "axes": 1},
        {"x": _FAR, "bias": False},
        {"x": ((3, 5), "f32", -0.3, 0.3), "affine": False},
    ),
    doc="(x - mean) / sqrt(variance + eps) over the axes (the last, if not given), times weight,"
    " plus bias. The variance divides by the number of elements.",
)


def _rms_infer(x: Type, weight: Type | None, axes: Axes, **_: Any) -> Type:
    require_affine("rms_norm", x, _sizes("rms_norm", x, axes), weight, None)
    return x


def _rms_params(x: Type, axes: Axes, affine: bool, **_: Any) -> dict[str, Param]:
    return affine_params("rms_norm", x.dtype, _sizes("rms_norm", x, axes), affine, False)


def _rms_eval(x: Any, weight: Any, axes: Axes, eps: float, **_: Any) -> Any:
    square = (x * x).mean(tuple(axes), keepdims=True)
    return affine_eval(x / np.sqrt(square + eps), weight, None, axes)


def _rms_scale(b: Build, x: Value, axes: Axes, eps: float) -> Value:
    result: Value = b(RSQRT, b(ADD, b(MEAN, b(SQUARE, x), axes=axes, keep=True), eps))
    return result


def _rms_body(b: Build, x: Value, weight: Value | None, axes: Axes, eps: float, **_: Any) -> Value:
    return affine(b, b(MUL, x, _rms_scale(b, x, axes, eps)), weight, None, axes)


def _rms_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value | None, axes: Axes, eps: float, **_: Any
) -> list[Value | None]:
    scale = _rms_scale(b, x, axes, eps)
    normal = b(MUL, x, scale)
    dn, dw, _none = affine_gradients(b, g, normal, weight, None, axes)
    slope = b(MEAN, b(MUL, dn, normal), axes=axes, keep=True)
    return [b(MUL, b(SUB, dn, b(MUL, normal, slope)), scale), dw]


RMS_NORM = Op(
    "rms_norm",
    inputs=("x",),
    weights=("weight?",),
    config={
        "axes": Config("axes", (-1,), doc="the axes whose mean square is taken"),
        "eps": EPS,
        "affine": Config("bool", True, doc="whether there is a weight"),
    },
    params=_rms_params,
    infer=_rms_infer,
    eval=_rms_eval,
    body=_rms_body,
    grad=_rms_grad,
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 3, 5)},
        {"x": (2, 3, 5), "axes": (1, 2), "eps": 1e-3},
        {"x": _FAR, "affine": False},
    ),
    doc="x / sqrt(mean square + eps) over the axes (the last, if not given), times weight.",
)

# ------------------------------------------------------------------- group_norm, instance_norm


def _channel_params(op: str, x: Type, on: bool) -> dict[str, Param]:
    require_floating(op, x)
    require_channels(op, x)
    return affine_params(op, x.dtype, (x.shape[1],), on, on)


def _grouped(x: Type, groups: int) -> tuple[Dim, ...]:
    """The shape of `x` as (batch, groups, elements of a group)."""
    message = f"group_norm of {x}: {x.shape[1]} channels do not divide into {groups} groups"
    if groups < 1:
        raise TypeMismatch(f"group_norm has at least 1 group, not {groups}")
    channels = require_divides(groups, x.shape[1], message)
    return (x.shape[0], groups, channels * product(x.shape[2:]))


def _group_infer(x: Type, weight: Type | None, bias: Type | None, groups: int, **_: Any) -> Type:
    require_floating("group_norm", x)
    require_channels("group_norm", x)
    _grouped(x, groups)
    require_affine("group_norm", x, (x.shape[1],), weight, bias)
    return x


def _group_eval(x: Any, weight: Any, bias: Any, groups: int, eps: float, **_: Any) -> Any:
    normal = standardised(x.reshape(x.shape[0], groups, -1), (2,), eps).reshape(x.shape)
    return affine_eval(normal, weight, bias, (1,))


def _group_body(
    b: Build, x: Value, weight: Value | None, bias: Value | None, groups: int, eps: float, **_: Any
) -> Value:
    lines = b(RESHAPE, x, shape=_grouped(x.type, groups))
    normal, _scale = standardise(b, lines, (2,), eps)
    return affine(b, b(RESHAPE, normal, shape=x.type.shape), weight, bias, (1,))


def _group_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value | None, bias: Value | None, groups: int,
    eps: float, **_: Any,
) -> list[Value | None]:  # fmt: skip
    shape = _grouped(x.type, groups)
    normal, scale = standardise(b, b(RESHAPE, x, shape=shape), (2,), eps)
    dn, dw, db = affine_gradients(b, g, b(RESHAPE, normal, shape=x.type.shape), weight, bias, (1,))
    dx = standardise_gradient(b, b(RESHAPE, dn, shape=shape), normal, scale, (2,))
    return [b(RESHAPE, dx, shape=x.type.shape), dw, db]


GROUP_NORM = Op(
    "group_norm",
    inputs=("x",),
    weights=("weight?", "bias?"),
    config={"groups": Config("int"), "eps": EPS, "affine": AFFINE},
    params=lambda x, affine, **_: _channel_params("group_norm", x, affine),
    infer=_group_infer,
    eval=_group_eval,
    body=_group_body,
    grad=_group_grad,
    rounding="body",
    layer=True,
    layout="channels",
    samples=(
        {"x": (2, 6, 5, 3), "groups": 3},
        {"x": (3, 4, 7), "groups": 2, "eps": 1e-2, "affine": False},
        {"x": ((2, 6), "f32", 29.0, 31.0), "groups": 2},
    ),
    doc="(x - mean) / sqrt(variance + eps) over the channels of a group and all places, times"
    " weight, plus bias, which are (channels).",
)


def _places(x: Any) -> tuple[int, ...]:
    return tuple(range(2, len(x.shape)))


def _instance_infer(x: Type, weight: Type | None, bias: Type | None, **_: Any) -> Type:
    require_floating("instance_norm", x)
    require_channels("instance_norm", x, 3)
    require_affine("instance_norm", x, (x.shape[1],), weight, bias)
    return x


def _instance_body(
    b: Build, x: Value, weight: Value | None, bias: Value | None, eps: float, **_: Any
) -> Value:
    normal, _scale = standardise(b, x, _places(x.type), eps)
    return affine(b, normal, weight, bias, (1,))


def _instance_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value | None, bias: Value | None, eps: float,
    **_: Any,
) -> list[Value | None]:  # fmt: skip
    axes = _places(x.type)
    normal, scale = standardise(b, x, axes, eps)
    dn, dw, db = affine_gradients(b, g, normal, weight, bias, (1,))
    return [standardise_gradient(b, dn, normal, scale, axes), dw, db]


INSTANCE_NORM = Op(
    "instance_norm",
    inputs=("x",),
    weights=("weight?", "bias?"),
    config={"eps": EPS, "affine": AFFINE},
    params=lambda x, affine, **_: _channel_params("instance_norm", x, affine),
    infer=_instance_infer,
    eval=lambda x, weight, bias, eps, **_: affine_eval(
        standardised(x, _places(x), eps), weight, bias, (1,)
    ),
    body=_instance_body,
    grad=_instance_grad,
    rounding="body",
    layer=True,
    layout="channels",
    samples=(
        {"x": (2, 3, 5, 4)},
        {"x": ((3, 2, 7), "f32", 29.0, 31.0), "eps": 1e-2, "affine": False},
    ),
    doc="(x - mean) / sqrt(variance + eps) over the places of each channel, times weight, plus"
    " bias, which are (channels).",
)

NORM = (LAYER_NORM, RMS_NORM, GROUP_NORM, INSTANCE_NORM)
