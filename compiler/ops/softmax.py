"""Softmax, its logarithm, and the gated linear unit: activations along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op, require_divides
from .activation import SIGMOID, sigmoid
from .broadcast import require_floating
from .elementwise import DIV, MUL, STOP_GRADIENT, SUB
from .function import EXP, LOG
from .reduce import MAX, SUM

_AXIS = {"axis": Config("axis", -1, doc="the axis along which")}
_SAMPLES: Sequence[Mapping[str, Any]] = (
    {"x": (5, 7)},
    {"x": (2, 3, 5), "axis": 1},
    {"x": (3,), "axis": 0},
    {"x": [[0.0, -120.0, 1.0], [100.0, 100.0, 100.0], [-float("inf"), 0.0, 500.0]]},
)


def _shifted(x: Any, axis: int) -> Any:
    return x - np.max(x, axis, keepdims=True)


def _softmax(x: Any, axis: int) -> Any:
    powers = np.exp(_shifted(x, axis))
    return powers / np.sum(powers, axis, keepdims=True)


def log_softmax(x: Any, axis: int) -> Any:
    shifted = _shifted(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis, keepdims=True))


def _shift(b: Build, x: Value, axis: int, *, stop: bool = True) -> Value:
    """x less its maximum, which changes neither result nor gradient, whether `stop` or not."""
    top = b(MAX, b(STOP_GRADIENT, x) if stop else x, axes=(axis,), keep=True)
    result: Value = b(SUB, x, top)
    return result


def _softmax_body(b: Build, x: Value, axis: int) -> Value:
    return _ratio(b, _shift(b, x, axis), axis)


def _softmax_plain(b: Build, x: Value, axis: int) -> Value:
    return _ratio(b, _shift(b, x, axis, stop=False), axis)


def _ratio(b: Build, x: Value, axis: int) -> Value:
    """exp(x) by its sum."""
    powers = b(EXP, x)
    result: Value = b(DIV, powers, b(SUM, powers, axes=(axis,), keep=True))
    return result


def _softmax_grad(b: Build, g: Value, y: Value, x: Value, axis: int) -> list[Value]:
    weighted = b(MUL, g, y)
    return [b(SUB, weighted, b(MUL, y, b(SUM, weighted, axes=(axis,), keep=True)))]


def _log_softmax_body(b: Build, x: Value, axis: int) -> Value:
    return _log_ratio(b, _shift(b, x, axis), axis)


def _log_softmax_plain(b: Build, x: Value, axis: int) -> Value:
    return _log_ratio(b, _shift(b, x, axis, stop=False), axis)


def _log_ratio(b: Build, shifted: Value, axis: int) -> Value:
    total = b(SUM, b(EXP, shifted), axes=(axis,), keep=True)
    result: Value = b(SUB, shifted, b(LOG, total))
    return result


def _log_softmax_grad(b: Build, g: Value, y: Value, x: Value, axis: int) -> list[Value]:
    return [b(SUB, g, b(MUL, b(EXP, y), b(SUM, g, axes=(axis,), keep=True)))]


def _infer(name: str) -> Any:
    def infer(x: Type, axis: int) -> Type:
        require_floating(name, x)
        return x

    return infer


SOFTMAX = Op(
    "softmax",
    inputs=("x",),
    config=_AXIS,
    infer=_infer("softmax"),
    eval=_softmax,
    body=_softmax_body,
    patterns=(_softmax_plain,),
    grad=_softmax_grad,
    rounding="body",
    layout="axes",
    samples=tuple(_SAMPLES),
    doc="exp(x) divided by its sum along the axis; NaN where a whole row is -inf.",
)
LOG_SOFTMAX = Op(
    "log_softmax",
    inputs=("x",),
    config=_AXIS,
    infer=_infer("log_softmax"),
    eval=log_softmax,
    body=_log_softmax_body,
    patterns=(_log_softmax_plain,),
    grad=_log_softmax_grad,
    rounding="body",
    layout="axes",
    samples=tuple(_SAMPLES),
    doc="x - logsumexp(x) along the axis, accurate where softmax underflows.",
)


def _glu_infer(x: Type, axis: int) -> Type:
    require_floating("glu", x)
    half = require_divides(2, x.shape[axis], f"glu halves axis {axis} of {x}, which is odd")
    return x.with_(shape=(*x.shape[:axis], half, *x.shape[axis + 1 :]))


def _glu(x: Any, axis: int) -> Any:
    a, gate = np.split(x, 2, axis)
    return a * sigmoid(gate)


def _glu_body(b: Build, x: Value, axis: int) -> Value:
    from .join import SPLIT

    a, gate = b(SPLIT, x, parts=2, axis=axis)
    result: Value = b(MUL, a, b(SIGMOID, gate))
    return result


GLU = Op(
    "glu",
    inputs=("x",),
    config=_AXIS,
    infer=_glu_infer,
    eval=_glu,
    body=_glu_body,
    grad=BODY,
    layout="axes",
    samples=({"x": (3, 10)}, {"x": (2, 6, 5), "axis": 1}, {"x": [3.0, -2.0, 100.0, -100.0]}),
    doc="The first half along the axis times the sigmoid of the second half.",
)

SOFTMAXES = (SOFTMAX, LOG_SOFTMAX, GLU)
