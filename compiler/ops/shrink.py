"""Activations that shrink, cut or gate: thresholds, log-sigmoid, and halves times halves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op, TypeMismatch, require_divides
from .activation import (
    EDGES,
    GELU,
    RELU,
    SHAPES,
    SIGMOID,
    SILU,
    SOFTPLUS,
    WIDE,
    activation,
    sigmoid,
)
from .broadcast import require_floating
from .compare import GREATER
from .elementwise import MUL, NEG, SUB, WHERE
from .erf import erfc
from .function import ABS, SIGN, TANH
from .join import SPLIT
from .softmax import SOFTMAX

_BOUND = {"bound": Config("float", 0.5, doc="how far from 0 elements become 0; at least 0")}


def _beyond(b: Build, x: Value, bound: float) -> Value:
    result: Value = b(GREATER, b(ABS, x), bound)
    return result


def _soft_shrink_body(b: Build, x: Value, bound: float) -> Value:
    rest = b(SUB, x, b(MUL, b(SIGN, x), bound))
    result: Value = b(WHERE, _beyond(b, x, bound), rest, 0.0)
    return result


LOG_SIGMOID = activation(
    "log_sigmoid",
    lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    lambda b, x: b(NEG, b(SOFTPLUS, b(NEG, x))),
    lambda b, g, y, x: b(MUL, g, b(SIGMOID, b(NEG, x))),
    samples=(*SHAPES, {"x": [-100.0, -20.0, -1e-8, 1e-8, 20.0, 80.0]}),
    doc="log(sigmoid(x)), without underflow.",
)
THRESHOLD = activation(
    "threshold",
    lambda x, bound, value: np.where(x > bound, x, np.asarray(value, x.dtype)),
    lambda b, x, bound, value: b(WHERE, b(GREATER, x, bound), x, value),
    config={
        "bound": Config("float", 0.0, doc="elements above it stay"),
        "value": Config("float", 0.0, doc="what the others become"),
    },
    samples=(*SHAPES, *EDGES, {"x": (3, 5), "bound": 0.3, "value": -2.0}),
    rounding="exact",
    kinks="its derivative at the bound is 0",
    doc="x where it is above `bound`, else `value`.",
)
HARD_SHRINK = activation(
    "hard_shrink",
    lambda x, bound: np.where(np.abs(x) > bound, x, 0).astype(x.dtype),
    lambda b, x, bound: b(WHERE, _beyond(b, x, bound), x, 0.0),
    config=_BOUND,
    samples=(*SHAPES, *EDGES, {"x": [-0.5, 0.5, 0.75, -0.25]}, {"x": (3, 5), "bound": 1.25}),
    rounding="exact",
    kinks="its derivative at the bounds is 0",
    doc="x where |x| is above `bound`, else 0.",
)
SOFT_SHRINK = activation(
    "soft_shrink",
    lambda x, bound: np.where(np.abs(x) > bound, x - np.sign(x) * bound, 0).astype(x.dtype),
    _soft_shrink_body,
    lambda b, g, y, x, bound: b(WHERE, _beyond(b, x, bound), g, 0.0),
    config=_BOUND,
    samples=(*SHAPES, *EDGES, {"x": [-0.5, 0.5, 0.75, -0.25]}, {"x": (3, 5), "bound": 1.25}),
    rounding="body",
    kinks="its derivative at the bounds is 0",
    doc="x moved towards 0 by `bound`, as far as 0.",
)
TANH_SHRINK = activation(
    "tanh_shrink",
    lambda x: x - np.tanh(x),
    lambda b, x: b(SUB, x, b(TANH, x)),
    samples=(*SHAPES, *WIDE),
    rounding="body",
    doc="x - tanh(x).",
)

# --------------------------------------------------------------------------------- along an axis

_AXIS = {"axis": Config("axis", -1, doc="the axis along which")}


def _softmin(x: Any, axis: int) -> Any:
    powers = np.exp(np.min(x, axis, keepdims=True) - x)
    return powers / np.sum(powers, axis, keepdims=True)


def _softmin_infer(x: Type, axis: int) -> Type:
    require_floating("softmin", x)
    return x


SOFTMIN = Op(
    "softmin",
    inputs=("x",),
    config=_AXIS,
    infer=_softmin_infer,
    eval=_softmin,
    body=lambda b, x, axis: b(SOFTMAX, b(NEG, x), axis=axis),
    rounding="body",
    layout="axes",
    samples=({"x": (5, 7)}, {"x": (2, 3, 5), "axis": 1}, {"x": [[0.0, 120.0], [-100.0, -100.0]]}),
    doc="exp(-x) divided by its sum along the axis.",
)


def _gated(name: str, eval: Callable[[Any], Any], gate: Op, kinks: str = "") -> Op:
    """The first half along an axis times an activation of the second."""

    def infer(x: Type, axis: int) -> Type:
        require_floating(name, x)
        if x.rank == 0:
            raise TypeMismatch(f"{name} halves an axis, and {x} has none")
        message = f"{name} halves axis {axis} of {x}, which is odd"
        half = require_divides(2, x.shape[axis], message)
        return x.with_(shape=(*x.shape[:axis], half, *x.shape[axis + 1 :]))

    def of_halves(x: Any, axis: int) -> Any:
        a, b = np.split(x, 2, axis)
        return a * eval(b)

    def body(b: Build, x: Value, axis: int) -> Value:
        first, second = b(SPLIT, x, parts=2, axis=axis)
        result: Value = b(MUL, first, b(gate, second))
        return result

    return Op(
        name, ("x",), infer, of_halves, config=_AXIS, body=body, grad=BODY, rounding="body",
        layout="axes", kinks=kinks,
        samples=({"x": (3, 10)}, {"x": (2, 6, 5), "axis": 1}, {"x": [3.0, -2.0, 100.0, -60.0]}),
        doc=f"The first half along the axis times the {gate.name} of the second half.",
    )  # fmt: skip


REGLU = _gated("reglu", lambda x: np.maximum(x, 0), RELU, "as relu")
GEGLU = _gated("geglu", lambda x: x * (erfc(-x * math.sqrt(0.5)) / 2), GELU)
SWIGLU = _gated("swiglu", lambda x: x * sigmoid(x), SILU)

SHRINK = (
    LOG_SIGMOID, THRESHOLD, HARD_SHRINK, SOFT_SHRINK, TANH_SHRINK, SOFTMIN, REGLU, GEGLU, SWIGLU,
)  # fmt: skip
