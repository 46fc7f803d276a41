"""Convolutions over 1, 2 or 3 spatial axes of (batch, channels, *spatial), and their transposes.

As in every framework, the kernel is not flipped: y[p] is the sum of x[p * stride + t * dilation]
times weight[t]. A transposed convolution is the adjoint of one with the same attributes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim, evaluate
from ..graph import Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_at_most, require_divides
from .broadcast import require_floating, require_same_dtype
from .linear import MATMUL, fan_uniform, require_weight
from .reduce import SUM
from .shape import RESHAPE, TRANSPOSE, product, require_known
from .window import WINDOWS, Window, add_windows, require_spatial, windows_of

_CONFIG = {
    "features": Config("size", doc="channels of the result"),
    "kernel": Config("ints", doc="size of the kernel"),
    "stride": Config("ints", 1),
    "pad": Config("pads", 0, doc='zeros at both ends; "same" gives ceil(size / stride) results'),
    "dilation": Config("ints", 1, doc="distance of the kernel's taps"),
    "groups": Config("int", 1, doc="channels are split into as many independent convolutions"),
    "bias": Config("bool", True),
}


def _grouped(op: str, x: Type, features: Dim, groups: int) -> tuple[Dim, Dim]:
    """Channels of `x` and of the result in each group; raises where they do not divide."""
    if groups < 1:
        raise TypeMismatch(f"{op} has at least 1 group, not {groups}")
    inputs = require_divides(
        groups, x.shape[1], f"{op} of {x}: {x.shape[1]} channels do not divide into {groups} groups"
    )
    outputs = require_divides(
        groups, features, f"{op}: {features} features do not divide into {groups} groups"
    )
    return inputs, outputs


def _require_weights(
    op: str, x: Type, weight: Type, bias: Type | None, shape: tuple[Dim, ...], features: Dim
) -> None:
    require_same_dtype(op, x, weight, bias)
    require_weight(op, weight, shape)
    if bias is not None:
        require_weight(op, bias, (features,), "bias")


def _weights(x: Type, shape: tuple[Dim, ...], features: Dim, bias: bool) -> dict[str, Param]:
    """A weight of this shape and a bias; as in PyTorch, all axes but the first are its fan."""
    require_known("conv", *shape)
    init = fan_uniform(product(shape[1:]))
    params = {"weight": Param(Type(x.dtype, shape), init)}
    if bias:
        params["bias"] = Param(Type(x.dtype, (features,)), init)
    return params


def _with_bias(y: Any, bias: Any) -> Any:
    return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def _bias_gradient(b: Build, g: Value, bias: Value | None) -> Value | None:
    if bias is None:
        return None
    result: Value = b(SUM, g, axes=(0, *range(2, g.type.rank)))
    return result


def _weight_gradient(b: Build, x: Value, g: Value, weight: Value, groups: int, **attrs: Any) -> Any:
    """Sum over batch and places of the windows of `x` times `g` there.

    As a product of matrices, since OpenVINO has no convolution by a kernel of unknown size.
    """
    windows = b(WINDOWS, x, **attrs)
    batch, places = x.type.shape[0], product(g.type.shape[2:])
    inputs, outputs = x.type.shape[1] // groups, g.type.shape[1] // groups
    taps = product(weight.type.shape[2:])
    columns = b(RESHAPE, windows, shape=(batch, groups, inputs, places, taps))
    columns = b(TRANSPOSE, columns, axes=(1, 0, 3, 2, 4))
    columns = b(RESHAPE, columns, shape=(groups, batch * places, inputs * taps))
    lines = b(RESHAPE, g, shape=(batch, groups, outputs, places))
    lines = b(TRANSPOSE, lines, axes=(1, 2, 0, 3))
    lines = b(RESHAPE, lines, shape=(groups, outputs, batch * places))
    return b(RESHAPE, b(MATMUL, lines, columns), shape=weight.type.shape)


# ----------------------------------------------------------------------------------------- conv


def _conv_infer(
    x: Type, weight: Type, bias: Type | None, /, features: Dim, groups: int, **attrs: Any
) -> Type:
    require_spatial("conv", x)
    require_floating("conv", x)
    window = _window(x.shape[2:], attrs)
    inputs, _ = _grouped("conv", x, features, groups)
    _require_weights("conv", x, weight, bias, (features, inputs, *window.kernel), features)
    counts = window.counts(f"conv of {x}", x.shape[2:])
    return x.with_(shape=(x.shape[0], features, *counts))


def _window(sizes: Sequence[Dim], attrs: Any) -> Window:
    names = ("kernel", "stride", "pad", "dilation")
    return Window.of(sizes, **{name: attrs[name] for name in names})


def _conv_params(x: Type, features: Dim, groups: int, bias: bool, **attrs: Any) -> dict[str, Param]:
    require_spatial("conv", x)
    require_floating("conv", x)
    inputs, _ = _grouped("conv", x, features, groups)
    return _weights(x, (features, inputs, *_window(x.shape[2:], attrs).kernel), features, bias)


def _conv_eval(x: Any, weight: Any, bias: Any, /, groups: int, **attrs: Any) -> Any:
    windows = windows_of(x, _window(x.shape[2:], attrs))
    batch, channels, n = x.shape[0], x.shape[1], x.ndim - 2
    counts, kernel = windows.shape[2 : n + 2], windows.shape[n + 2 :]
    columns = windows.reshape(batch, groups, channels // groups, *counts, *kernel)
    places, taps = range(3, n + 3), range(n + 3, 2 * n + 3)
    columns = columns.transpose(1, 0, *places, 2, *taps)
    columns = columns.reshape(groups, batch * math.prod(counts), -1)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    y = np.matmul(columns, rows.transpose(0, 2, 1)).reshape(groups, batch, *counts, -1)
    y = y.transpose(1, 0, y.ndim - 1, *range(2, n + 2))
    return _with_bias(y.reshape(batch, weight.shape[0], *counts), bias)


def _conv_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value, bias: Value | None, /, **attrs: Any
) -> list[Value | None]:
    window = _window(x.type.shape[2:], attrs)
    groups = attrs["groups"]
    fixed = {
        "kernel": window.kernel,
        "stride": window.stride,
        "pad": window.pads,
        "dilation": window.dilation,
        "groups": groups,
    }
    left = []
    for i, size in enumerate(x.type.shape[2:]):
        span = size + window.pads[i][0] + window.pads[i][1] - window.extent[i]
        left.append(span - span // window.stride[i] * window.stride[i])
    dx = b(
        CONV_TRANSPOSE, g, weight, features=x.type.shape[1], output_pad=tuple(left), bias=False,
        **fixed,
    )  # fmt: skip
    return [dx, _weight_gradient(b, x, g, weight, **fixed), _bias_gradient(b, g, bias)]


CONV = Op(
    "conv",
    inputs=("x",),
    weights=("weight", "bias?"),
    config=_CONFIG,
    params=_conv_params,
    infer=_conv_infer,
    eval=_conv_eval,
    grad=_conv_grad,
    rounding="sum",
    layer=True,
    layout="channels",
    samples=(
        {"x": (2, 3, 7, 6), "features": 5, "kernel": 3, "pad": 1},
        {"x": (2, 3, 8, 7), "features": 5, "kernel": (3, 2), "stride": 2, "bias": False},
        {"x": (2, 4, 9, 8), "features": 6, "kernel": 3, "groups": 2, "stride": (1, 2),
         "dilation": (2, 1), "pad": ((1, 0), (2, 3))},
        {"x": (2, 3, 6, 7), "features": 3, "kernel": 3, "groups": 3, "pad": "same"},
        {"x": (2, 3, 11), "features": 4, "kernel": 4, "dilation": 3, "pad": "same"},
        {"x": (1, 2, 5, 4, 6), "features": 3, "kernel": 2, "stride": (2, 1, 3)},
        {"x": (2, 3, 8), "features": 2, "kernel": 1, "stride": 2},
    ),
    doc="A convolution; channels are axis 1. weight is (features, channels / groups, *kernel), and"
    " starts, like the bias, uniform within 1 / sqrt(channels / groups * taps).",
)  # fmt: skip

# ------------------------------------------------------------------------------- conv_transpose


def _transpose_window(x: Type, attrs: Any) -> Window:
    if attrs["pad"] == "same":
        raise TypeMismatch('conv_transpose takes pads in numbers, and not "same"')
    return _window(x.shape[2:], attrs)


def _output_pads(output_pad: Any, count: int) -> tuple[Dim, ...]:
    pads = tuple(output_pad) if isinstance(output_pad, (tuple, list)) else (output_pad,) * count
    if len(pads) != count:
        raise TypeMismatch(f"output_pad takes one number for each of {count} axes, not {pads}")
    return pads


def _transposed_sizes(x: Type, window: Window, output_pad: Any) -> tuple[Dim, ...]:
    sizes: list[Dim] = []
    for i, more in enumerate(_output_pads(output_pad, x.rank - 2)):
        low, high = window.pads[i]
        stride = window.stride[i]
        require_at_most(more + 1, stride, f"output_pad {more} is not below the stride, {stride}")
        require_at_most(0, more, f"output_pad {more} is below 0")
        size = (x.shape[i + 2] - 1) * stride + window.extent[i] + more - low - high
        require_at_most(1, size, f"conv_transpose of {x} leaves nothing of axis {i + 2}")
        sizes.append(size)
    return tuple(sizes)


def _transpose_infer(
    x: Type, weight: Type, bias: Type | None, /, features: Dim, groups: int, output_pad: Any,
    **attrs: Any,
) -> Type:  # fmt: skip
    require_spatial("conv_transpose", x)
    require_floating("conv_transpose", x)
    window = _transpose_window(x, attrs)
    _, outputs = _grouped("conv_transpose", x, features, groups)
    shape = (x.shape[1], outputs, *window.kernel)
    _require_weights("conv_transpose", x, weight, bias, shape, features)
    return x.with_(shape=(x.shape[0], features, *_transposed_sizes(x, window, output_pad)))


def _transpose_params(
    x: Type, features: Dim, groups: int, bias: bool, **attrs: Any
) -> dict[str, Param]:
    require_spatial("conv_transpose", x)
    require_floating("conv_transpose", x)
    _, outputs = _grouped("conv_transpose", x, features, groups)
    kernel = _transpose_window(x, attrs).kernel
    return _weights(x, (x.shape[1], outputs, *kernel), features, bias)


def _transpose_eval(
    x: Any, weight: Any, bias: Any, /, features: int, groups: int, output_pad: Any, **attrs: Any
) -> Any:
    batch, channels, *places = x.shape
    window = _window(places, attrs)
    n = len(places)
    lines = x.reshape(batch, groups, channels // groups, -1).transpose(1, 0, 3, 2)
    lines = lines.reshape(groups, -1, channels // groups)
    taps = np.matmul(lines, weight.reshape(groups, channels // groups, -1))
    taps = taps.reshape(groups, batch, *places, features // groups, *window.kernel)
    taps = taps.transpose(1, 0, n + 2, *range(2, n + 2), *range(n + 3, 2 * n + 3))
    taps = taps.reshape(batch, features, *places, *window.kernel)
    sizes = _transposed_sizes(Type("f32", x.shape), window, output_pad)
    return _with_bias(add_windows(taps, window, [evaluate(size, {}) for size in sizes]), bias)


def _transpose_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value, bias: Value | None, /, **attrs: Any
) -> list[Value | None]:
    names = ("kernel", "stride", "pad", "dilation", "groups")
    fixed = {name: attrs[name] for name in names}
    dx = b(CONV, g, weight, features=x.type.shape[1], bias=False, **fixed)
    return [dx, _weight_gradient(b, g, x, weight, **fixed), _bias_gradient(b, g, bias)]


CONV_TRANSPOSE = Op(
    "conv_transpose",
    inputs=("x",),
    weights=("weight", "bias?"),
    config={
        **{name: config for name, config in _CONFIG.items() if name not in ("groups", "bias")},
        "output_pad": Config("ints", 0, doc="further elements at the end; below the stride"),
        "groups": _CONFIG["groups"],
        "bias": _CONFIG["bias"],
    },
    params=_transpose_params,
    infer=_transpose_infer,
    eval=_transpose_eval,
    grad=_transpose_grad,
    rounding="sum",
    layer=True,
    layout="channels",
    samples=(
        {"x": (2, 3, 4, 5), "features": 5, "kernel": 3, "stride": 2, "pad": 1},
        {"x": (2, 3, 4, 5), "features": 2, "kernel": 3, "stride": 2, "pad": 1, "output_pad": 1},
        {"x": (2, 4, 3, 5), "features": 6, "kernel": (2, 3), "groups": 2, "stride": (1, 3),
         "dilation": (2, 1), "pad": ((1, 0), (0, 2)), "output_pad": (0, 2), "bias": False},
        {"x": (2, 3, 7), "features": 4, "kernel": 4, "stride": 3},
        {"x": (1, 2, 3, 2, 4), "features": 3, "kernel": 2, "stride": 2},
    ),
    doc="The adjoint of a convolution, of size (size - 1) * stride - low - high +"
    " dilation * (kernel - 1) + 1 + output_pad; pad cuts the result. weight is (channels,"
    " features / groups, *kernel).",
)  # fmt: skip

CONVOLUTION = (CONV, CONV_TRANSPOSE)
