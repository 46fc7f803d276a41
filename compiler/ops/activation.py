"""Activations: functions of one tensor, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..array import np
from ..graph import Init, Type, Value
from ..op import BODY, Build, Config, Marker, Op, Param, TypeMismatch
from .broadcast import require_floating
from .compare import GREATER, GREATER_EQUAL, LESS, LOGICAL_AND
from .elementwise import ADD, CLAMP, DIV, MAXIMUM, MUL, NEG, SUB, WHERE
from .erf import erfc
from .function import ABS, ERF, EXP, EXPM1, LOG1P, TANH
from .shape import RESHAPE, require_known

Samples = Sequence[Mapping[str, Any]]

SHAPES: Samples = ({"x": (3, 5)}, {"x": (2, 3, 7)}, {"x": ()})
WIDE: Samples = ({"x": [-100.0, -20.0, -1e-8, 1e-8, 20.0, 100.0]},)
EDGES: Samples = ({"x": [-3.0, -1.0, 0.0, 1.0, 3.0, 6.0]}, {"x": ((61,), "f32", -9.0, 9.0)})
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def activation(
    name: str,
    eval: Callable[..., Any],
    body: Callable[..., Any] | None,
    grad: Callable[..., Any] | Marker = BODY,
    *,
    config: Mapping[str, Config] | None = None,
    samples: Samples = (*SHAPES, *WIDE),
    rounding: str = "elementwise",
    kinks: str = "",
    nonzero: str = "",
    doc: str,
) -> Op:
    """An op on `x`; grad(b, g, y, x, **attrs) builds the gradient of x.

    `nonzero` is the attribute that must not be 0.
    """

    def infer(x: Type, **attrs: Any) -> Type:
        require_floating(name, x)
        if nonzero and attrs[nonzero] == 0:
            raise TypeMismatch(f"{name} divides by {nonzero}, which is 0", "value")
        return x

    def rule(b: Build, g: Value, y: Value, x: Value, **attrs: Any) -> list[Value]:
        assert callable(grad)
        return [grad(b, g, y, x, **attrs)]

    return Op(
        name, ("x",), infer, eval, config=config or {}, body=body,
        grad=rule if callable(grad) else grad, samples=tuple(samples), layout="any",
        rounding=rounding, kinks=kinks, doc=doc,
    )  # fmt: skip


def _inside(b: Build, g: Value, x: Value, low: float, high: float) -> Value:
    """`g` where low < x < high, else 0."""
    between = b(LOGICAL_AND, b(GREATER, x, low), b(LESS, x, high))
    result: Value = b(WHERE, between, g, 0.0)
    return result


def _below(b: Build, x: Value) -> Value:
    """x where it is not positive, else 0: keeps the branch that is not taken finite."""
    result: Value = b(WHERE, b(GREATER, x, 0.0), 0.0, x)
    return result


# ----------------------------------------------------------------------------- straight lines

RELU = activation(
    "relu",
    lambda x: np.maximum(x, 0),
    lambda b, x: b(MAXIMUM, x, 0.0),
    lambda b, g, y, x: b(WHERE, b(GREATER, x, 0.0), g, 0.0),
    samples=(*SHAPES, *EDGES),
    rounding="exact",
    kinks="its derivative at 0 is 0",
    doc="max(x, 0).",
)
RELU6 = activation(
    "relu6",
    lambda x: np.clip(x, 0, 6),
    lambda b, x: b(CLAMP, x, min=0.0, max=6.0),
    lambda b, g, y, x: _inside(b, g, x, 0.0, 6.0),
    samples=(*SHAPES, *EDGES),
    rounding="exact",
    kinks="its derivative at 0 and 6 is 0",
    doc="min(max(x, 0), 6).",
)
LEAKY_RELU = activation(
    "leaky_relu",
    lambda x, slope: np.where(x > 0, x, slope * x),
    lambda b, x, slope: b(WHERE, b(GREATER, x, 0.0), x, b(MUL, x, slope)),
    config={"slope": Config("float", 0.01, doc="the slope for negative x")},
    samples=(*SHAPES, *EDGES, {"x": (3, 5), "slope": 0.3}, {"x": (3, 5), "slope": 2.0}),
    kinks="its derivative at 0 is the slope",
    doc="x where it is positive, else slope * x.",
)
HARD_TANH = activation(
    "hard_tanh",
    lambda x: np.clip(x, -1, 1),
    lambda b, x: b(CLAMP, x, min=-1.0, max=1.0),
    lambda b, g, y, x: _inside(b, g, x, -1.0, 1.0),
    samples=(*SHAPES, *EDGES),
    rounding="exact",
    kinks="its derivative at -1 and 1 is 0",
    doc="min(max(x, -1), 1).",
)
HARD_SIGMOID = activation(
    "hard_sigmoid",
    lambda x: np.clip(x + 3, 0, 6) / 6,
    lambda b, x: b(DIV, b(CLAMP, b(ADD, x, 3.0), min=0.0, max=6.0), 6.0),
    lambda b, g, y, x: _inside(b, b(DIV, g, 6.0), x, -3.0, 3.0),
    samples=(*SHAPES, *EDGES),
    rounding="body",
    kinks="its derivative at -3 and 3 is 0",
    doc="min(max(x + 3, 0), 6) / 6.",
)


def _hard_swish_grad(b: Build, g: Value, y: Value, x: Value) -> Value:
    slope = b(WHERE, b(GREATER, x, -3.0), b(ADD, b(DIV, x, 3.0), 0.5), 0.0)
    result: Value = b(MUL, g, b(WHERE, b(GREATER_EQUAL, x, 3.0), 1.0, slope))
    return result


HARD_SWISH = activation(
    "hard_swish",
    lambda x: x * (np.clip(x + 3, 0, 6) / 6),
    lambda b, x: b(MUL, x, b(HARD_SIGMOID, x)),
    _hard_swish_grad,
    samples=(*SHAPES, *EDGES),
    rounding="body",
    kinks="its derivative at -3 is 0, at 3 it is 1",
    doc="x * hard_sigmoid(x).",
)

# ------------------------------------------------------------------------------- exponentials


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of an array, without overflow."""
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + power), power / (1 + power))


def _sigmoid_grad(b: Build, g: Value, y: Value, x: Value) -> Value:
    result: Value = b(MUL, g, b(MUL, y, b(SUB, 1.0, y)))
    return result


def _softplus_body(b: Build, x: Value) -> Value:
    rest = b(LOG1P, b(EXP, b(NEG, b(ABS, x))))
    result: Value = b(ADD, b(MAXIMUM, x, 0.0), rest)
    return result


def _elu_body(b: Build, x: Value, alpha: float) -> Value:
    curve = b(MUL, b(EXPM1, _below(b, x)), alpha)
    result: Value = b(WHERE, b(GREATER, x, 0.0), x, curve)
    return result


def _celu_body(b: Build, x: Value, alpha: float) -> Value:
    curve = b(MUL, b(EXPM1, b(DIV, _below(b, x), alpha)), alpha)
    result: Value = b(WHERE, b(GREATER, x, 0.0), x, curve)
    return result


def _elu(x: Any, alpha: float) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


SIGMOID: Op = activation(
    "sigmoid",
    sigmoid,
    lambda b, x: b(DIV, 1.0, b(ADD, b(EXP, b(NEG, x)), 1.0)),
    _sigmoid_grad,
    samples=(*SHAPES, {"x": [-80.0, -20.0, -1e-8, 1e-8, 20.0, 100.0]}),
    doc="1 / (1 + exp(-x)).",
)
SILU = activation(
    "silu",
    lambda x: x * sigmoid(x),
    lambda b, x: b(MUL, x, b(SIGMOID, x)),
    samples=(*SHAPES, {"x": [-80.0, -20.0, -1e-8, 1e-8, 20.0, 100.0]}),
    doc="x * sigmoid(x), also called swish.",
)
SOFTPLUS = activation(
    "softplus",
    _softplus,
    _softplus_body,
    lambda b, g, y, x: b(MUL, g, b(SIGMOID, x)),
    samples=(*SHAPES, {"x": [-80.0, -20.0, -1e-8, 1e-8, 20.0, 100.0]}),
    doc="log(1 + exp(x)); x for large x.",
)
MISH = activation(
    "mish",
    lambda x: x * np.tanh(_softplus(x)),
    lambda b, x: b(MUL, x, b(TANH, b(SOFTPLUS, x))),
    samples=(*SHAPES, {"x": [-80.0, -20.0, -1e-8, 1e-8, 20.0, 100.0]}),
    doc="x * tanh(softplus(x)).",
)
SOFTSIGN = activation(
    "softsign",
    lambda x: x / (1 + np.abs(x)),
    lambda b, x: b(DIV, x, b(ADD, b(ABS, x), 1.0)),
    doc="x / (1 + |x|).",
)
ELU = activation(
    "elu",
    _elu,
    _elu_body,
    config={"alpha": Config("float", 1.0, doc="minus the limit for small x")},
    samples=(*SHAPES, *WIDE, {"x": [0.0, -1.0, 1.0], "alpha": 0.7}),
    kinks="its derivative at 0 is alpha",
    doc="x where it is positive, else alpha * (exp(x) - 1).",
)
CELU = activation(
    "celu",
    lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    _celu_body,
    config={"alpha": Config("float", 1.0, doc="minus the limit for small x")},
    samples=(*SHAPES, *WIDE, {"x": [0.0, -1.0, 1.0], "alpha": 0.7}),
    nonzero="alpha",
    doc="x where it is positive, else alpha * (exp(x / alpha) - 1).",
)
SELU = activation(
    "selu",
    lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    lambda b, x: b(MUL, _elu_body(b, x, _SELU_ALPHA), _SELU_SCALE),
    kinks="its derivative at 0 is scale * alpha = 1.758",
    samples=(*SHAPES, *WIDE, *EDGES),
    doc="1.0507 * elu(x, 1.6733), which keeps mean 0 and variance 1 through a deep network.",
)

# --------------------------------------------------------------------------------------- gelu


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "none":
        return x * (erfc(-x * math.sqrt(0.5)) / 2)
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
    return x * sigmoid(2 * inner)


def _gelu_body(b: Build, x: Value, approximate: str) -> Value:
    if approximate == "none":
        curve = b(ERF, b(MUL, x, math.sqrt(0.5)))
    else:
        cube = b(MUL, b(MUL, x, b(MUL, x, x)), 0.044715)
        curve = b(TANH, b(MUL, b(ADD, x, cube), math.sqrt(2.0 / math.pi)))
    result: Value = b(MUL, b(MUL, x, 0.5), b(ADD, curve, 1.0))
    return result


GELU = activation(
    "gelu",
    _gelu,
    _gelu_body,
    config={
        "approximate": Config(
            "str", "none", ("none", "tanh"), "how the normal distribution is computed"
        )
    },
    samples=(
        *SHAPES,
        {"x": ((61,), "f32", -9.0, 9.0)},
        {"x": ((61,), "f32", -9.0, 9.0), "approximate": "tanh"},
        {"x": [-100.0, 0.0, 100.0]},
        {"x": [-100.0, 0.0, 100.0], "approximate": "tanh"},
    ),
    rounding="body",
    doc="x times the probability that a standard normal number is at most x: by erf, or by a tanh "
    "that is off by up to 5e-4.",
)

# -------------------------------------------------------------------------------------- prelu


def _prelu_params(x: Type, per_channel: bool) -> dict[str, Param]:
    if per_channel and x.rank < 2:
        raise TypeMismatch(f"prelu by channel takes axes [batch, channel, ...], and gets {x}")
    size = x.shape[1] if per_channel else 1
    require_known("prelu", size)
    return {"weight": Param(Type(x.dtype, (size,)), Init("constant", (0.25,)))}


def _prelu_infer(x: Type, weight: Type, per_channel: bool) -> Type:
    require_floating("prelu", x)
    return x


def _prelu(x: Any, weight: Any, per_channel: bool) -> Any:
    if per_channel:
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x > 0, x, weight * x)


def _prelu_body(b: Build, x: Value, weight: Value, per_channel: bool) -> Value:
    spatial = x.type.rank - 2 if per_channel else 0
    if spatial:
        weight = b(RESHAPE, weight, shape=(x.type.shape[1], *(1,) * spatial))
    elif x.type.rank == 0:
        weight = b(RESHAPE, weight, shape=())
    result: Value = b(WHERE, b(GREATER, x, 0.0), x, b(MUL, weight, x))
    return result


PRELU = Op(
    "prelu",
    inputs=("x",),
    weights=("weight",),
    config={"per_channel": Config("bool", False, doc="a slope for each channel (axis 1)")},
    params=_prelu_params,
    infer=_prelu_infer,
    eval=_prelu,
    body=_prelu_body,
    grad=BODY,
    layer=True,
    layout="channels",
    kinks="its derivative at 0 is the slope",
    samples=(
        {"x": (2, 3, 5)},
        {"x": (2, 3, 5, 7), "per_channel": True},
        {"x": (2, 3), "per_channel": True},
    ),
    doc="x where it is positive, else weight * x: one learnt slope, or one a channel; from 0.25.",
)

ACTIVATION = (
    RELU, RELU6, LEAKY_RELU, PRELU, ELU, SELU, CELU, GELU, SILU, MISH, SOFTPLUS, SOFTSIGN, SIGMOID,
    HARD_SIGMOID, HARD_SWISH, HARD_TANH,
)  # fmt: skip
