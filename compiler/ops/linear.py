"""Products of matrices."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Init, Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_equal
from .broadcast import (
    broadcast,
    require_floating,
    require_numeric,
    require_same_dtype,
    unbroadcast,
)
from .elementwise import ADD, MUL
from .shape import RESHAPE, TRANSPOSE, UNSQUEEZE, product, require_known


def _matmul_infer(a: Type, b: Type) -> Type:
    require_numeric("matmul", a, b)
    require_same_dtype("matmul", a, b)
    for t in (a, b):
        if t.rank < 2:
            raise TypeMismatch(
                f"matmul takes matrices, or stacks of them, and gets {t}",
                help="write unsqueeze to make a row (1, n) or a column (n, 1) of a vector",
            )
    message = f"matmul of {a} and {b}: {a.shape[-1]} columns, and {b.shape[-2]} rows"
    require_equal(a.shape[-1], b.shape[-2], message)
    stacks = (Type(t.dtype, t.shape[:-2], t.labels[:-2]) for t in (a, b))
    stack = broadcast(*stacks)
    return Type(
        a.dtype,
        (*stack.shape, a.shape[-2], b.shape[-1]),
        (*stack.labels, a.labels[-2], b.labels[-1]),
    )


def _matmul_grad(b: Build, g: Value, y: Value, u: Value, v: Value) -> list[Value]:
    du = unbroadcast(b, b(MATMUL, g, b(TRANSPOSE, v)), u)
    if v.type.rank == 2:
        return [du, b(MATMUL, b(TRANSPOSE, rows(b, u)), rows(b, g))]
    return [du, unbroadcast(b, b(MATMUL, b(TRANSPOSE, u), g), v)]


def rows(b: Build, x: Value) -> Value:
    """`x` as one matrix: all axes but the last merged."""
    if x.type.rank == 2:
        return x
    shape = (product(x.type.shape[:-1]), x.type.shape[-1])
    result: Value = b(RESHAPE, x, shape=shape)
    return result


MATMUL = Op(
    "matmul",
    inputs=("a", "b"),
    infer=_matmul_infer,
    eval=lambda a, b: np.matmul(a, b),
    grad=_matmul_grad,
    rounding="sum",
    samples=(
        {"a": (3, 5), "b": (5, 2)},
        {"a": (2, 3, 5), "b": (5, 7)},
        {"a": (2, 1, 3, 5), "b": (4, 5, 2)},
        {"a": (3, 5), "b": (2, 5, 7)},
        {"a": ((3, 5), "i32"), "b": ((5, 2), "i32")},
    ),
    doc="The product of matrices (the last two axes); the axes before them broadcast.",
)

# --------------------------------------------------------------------------------------- linear


def require_weight(op: str, weight: Type, shape: tuple[Dim, ...], name: str = "weight") -> None:
    """Raises unless the type of a weight has this shape."""
    message = f"{op} takes a {name} of shape [{', '.join(map(str, shape))}], and gets {weight}"
    if weight.rank != len(shape):
        raise TypeMismatch(message)
    for size, wanted in zip(weight.shape, shape, strict=True):
        require_equal(size, wanted, message)


def _linear_infer(x: Type, weight: Type, bias: Type | None, /, features: Dim, **_: Any) -> Type:
    require_linear("linear", x)
    require_weight("linear", weight, (features, x.shape[-1]))
    if bias is not None:
        require_weight("linear", bias, (features,), "bias")
    return Type(x.dtype, (*x.shape[:-1], features), (*x.labels[:-1], None))


def require_linear(op: str, x: Type) -> None:
    """Raises unless `x` is a float tensor with a last axis and at least one before it."""
    require_floating(op, x)
    if x.rank < 2:
        raise TypeMismatch(
            f"{op} works on the last axis of at least two, and gets {x}",
            help="write unsqueeze(0) first",
        )


def _linear_params(x: Type, features: Dim, bias: bool) -> dict[str, Param]:
    require_linear("linear", x)
    return linear_params("", x.dtype, x.shape[-1], features, bias)


def fan_uniform(fan: Dim) -> Init:
    """U(-1/sqrt(fan), 1/sqrt(fan)); without the number where a class has only a name for it."""
    return Init("fan_uniform", (float(fan),) if isinstance(fan, int) else ())


def linear_params(
    prefix: str, dtype: str, inputs: Dim, features: Dim, bias: bool
) -> dict[str, Param]:
    """The weight (features, inputs) and the bias of a linear map, started as PyTorch does."""
    require_known("linear", inputs, features)
    init = fan_uniform(inputs)
    params = {f"{prefix}weight": Param(Type(dtype, (features, inputs)), init)}
    if bias:
        params[f"{prefix}bias"] = Param(Type(dtype, (features,)), init)
    return params


def _linear_eval(x: Any, weight: Any, bias: Any, /, **_: Any) -> Any:
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


def _linear_body(b: Build, x: Value, weight: Value, bias: Value | None, /, **_: Any) -> Value:
    y: Value = b(MATMUL, x, b(TRANSPOSE, weight))
    return y if bias is None else b(ADD, y, bias)


def _linear_grad(
    b: Build, g: Value, y: Value, x: Value, weight: Value, bias: Value | None, /, **_: Any
) -> list[Value | None]:
    flat = rows(b, g)
    return [
        b(MATMUL, g, weight),
        b(MATMUL, b(TRANSPOSE, flat), rows(b, x)),
        None if bias is None else unbroadcast(b, g, bias),
    ]


LINEAR = Op(
    "linear",
    inputs=("x",),
    weights=("weight", "bias?"),
    config={
        "features": Config("size", doc="size of the last axis of the result"),
        "bias": Config("bool", True),
    },
    params=_linear_params,
    infer=_linear_infer,
    eval=_linear_eval,
    body=_linear_body,
    grad=_linear_grad,
    rounding="sum",
    layer=True,
    samples=(
        {"x": (4, 3), "features": 5},
        {"x": (2, 4, 3), "features": 5, "bias": False},
        {"x": (2, 7, 1, 3), "features": 2},
    ),
    doc="x @ transpose(weight) + bias on the last axis. Both start uniform within"
    " 1 / sqrt(size of the last axis of x).",
)


def _outer_infer(a: Type, b: Type) -> Type:
    require_numeric("outer", a, b)
    require_same_dtype("outer", a, b)
    if a.rank < 1 or b.rank < 1:
        raise TypeMismatch(f"outer takes vectors, or stacks of them, and gets {a} and {b}")
    column = Type(a.dtype, (*a.shape, 1), (*a.labels, None))
    row = Type(b.dtype, (*b.shape[:-1], 1, b.shape[-1]), (*b.labels[:-1], None, b.labels[-1]))
    return broadcast(column, row)


OUTER = Op(
    "outer",
    inputs=("a", "b"),
    infer=_outer_infer,
    eval=lambda a, b: a[..., :, None] * b[..., None, :],
    body=lambda b, u, v: b(MUL, b(UNSQUEEZE, u, axes=(-1,)), b(UNSQUEEZE, v, axes=(-2,))),
    samples=({"a": (3,), "b": (5,)}, {"a": (2, 3), "b": (2, 5)}, {"a": (7, 3), "b": (5,)}),
    doc="Every element of a times every element of b (their last axes); axes before broadcast.",
)

LINEAR_ALGEBRA = (MATMUL, LINEAR, OUTER)
