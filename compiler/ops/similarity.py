"""Norms by other powers, how alike two vectors are, and a form that is linear in each of two."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Init, Type, Value
from ..op import BODY, Build, Config, Op, Param, TypeMismatch, require_equal
from .broadcast import broadcast, kept, require_floating, require_same_dtype
from .compare import EQUAL, ISINF, LOGICAL_OR
from .elementwise import ADD, DIV, MAXIMUM, MUL, STOP_GRADIENT, WHERE
from .function import ABS, POW, SIGN, SQRT, SQUARE
from .linear import MATMUL, fan_uniform, require_linear, require_weight
from .reduce import (
    CONFIG,
    MAX,
    SAMPLES,
    SCALAR,
    SUM,
    Axes,
    all_axes,
    extreme_grad,
    reduced,
    reduction,
)
from .shape import RESHAPE, SQUEEZE, TRANSPOSE, UNSQUEEZE, require_known

_ZEROS = {"x": [[0.0, 0.0, 0.0], [3.0, 0.0, -4.0], [1.0, 1.0, 0.0]], "axes": (1,)}

L1_NORM = reduction(
    "l1_norm",
    lambda x, axes, keep: np.sum(np.abs(x), axes, keepdims=keep),
    lambda b, g, y, x, axes, keep: b(MUL, kept(b, g, axes, keep), b(SIGN, x)),
    body=lambda b, x, axes, keep: b(SUM, b(ABS, x), axes=axes, keep=keep),
    samples=(*SAMPLES, *SCALAR, _ZEROS),
    rounding="sum",
    kinks="its derivative by an element that is 0 is 0",
    doc="The sum of absolute values.",
)
MAX_NORM = reduction(
    "max_norm",
    lambda x, axes, keep: np.max(np.abs(x), axes, keepdims=keep),
    lambda b, g, y, x, axes, keep: b(MUL, b(SIGN, x), extreme_grad(b, g, y, b(ABS, x), axes, keep)),
    body=lambda b, x, axes, keep: b(MAX, b(ABS, x), axes=axes, keep=keep),
    samples=(*SAMPLES, *SCALAR, _ZEROS, {"x": [[1.0, -2.0, 2.0]], "axes": (1,)}),
    rounding="exact",
    kinks="elements that share the largest absolute value share its gradient evenly",
    doc="The largest absolute value.",
)

# -------------------------------------------------------------------------------- other powers


def _lp_infer(x: Type, power: float, axes: Axes, keep: bool) -> Type:
    require_floating("lp_norm", x)
    if not power >= 1 or power == float("inf"):
        message = f"lp_norm takes a power of at least 1, and gets {power}"
        raise TypeMismatch(message, "value", help="max_norm is the one of infinite power")
    return reduced(x, axes, keep)


def _lp_eval(x: Any, power: float, axes: Axes, keep: bool) -> Any:
    size = np.abs(x)
    unit = np.max(size, axes, keepdims=True)
    unit = np.where((unit == 0) | np.isinf(unit), 1, unit).astype(x.dtype)
    y = np.sum((size / unit) ** power, axes, keepdims=True) ** (1 / power) * unit
    return y if keep else np.squeeze(y, tuple(range(x.ndim)) if axes is None else axes)


def _lp_body(b: Build, x: Value, power: float, axes: Axes, keep: bool) -> Value:
    """In units of the largest element, so that no power over- or underflows."""
    size = b(ABS, x)

    def unit(keep: bool) -> Value:
        largest = b(STOP_GRADIENT, b(MAX, size, axes=axes, keep=keep))
        none = b(LOGICAL_OR, b(EQUAL, largest, 0.0), b(ISINF, largest))
        result: Value = b(WHERE, none, 1.0, largest)
        return result

    total = b(SUM, b(POW, b(DIV, size, unit(True)), power), axes=axes, keep=keep)
    flat = b(EQUAL, total, 0.0)
    root = b(POW, b(WHERE, flat, 1.0, total), 1 / power)
    result: Value = b(WHERE, flat, 0.0, b(MUL, root, unit(keep)))
    return result


def _lp_grad(
    b: Build, g: Value, y: Value, x: Value, power: float, axes: Axes, keep: bool
) -> list[Value]:
    gone = all_axes(x.type, axes)
    norm = kept(b, y, gone, keep)
    flat = b(EQUAL, norm, 0.0)
    share = b(POW, b(DIV, b(ABS, x), b(WHERE, flat, 1.0, norm)), power - 1)
    slope = b(MUL, b(SIGN, x), share)
    return [b(MUL, b(WHERE, flat, 0.0, kept(b, g, gone, keep)), slope)]


LP_NORM = Op(
    "lp_norm",
    inputs=("x",),
    config={"power": Config("float", doc="at least 1"), **CONFIG},
    infer=_lp_infer,
    eval=_lp_eval,
    body=_lp_body,
    grad=_lp_grad,
    rounding="body",
    layout="axes",
    kinks="its derivative by an element that is 0 is 0",
    samples=(
        *({"power": 3.0, **sample} for sample in (*SAMPLES, *SCALAR)),
        {"power": 1.5, **_ZEROS},
        {"power": 20.0, "x": [[1e-10, 2e-10, 0.0], [1e10, -2e10, 3e10]], "axes": (1,)},
    ),
    doc="The sum of |x|^power, to the power of 1 / power.",
)

# ------------------------------------------------------------------------------------ likeness


def _cosine_infer(a: Type, b: Type, axis: int, eps: float) -> Type:
    require_floating("cosine_similarity", a, b)
    require_same_dtype("cosine_similarity", a, b)
    if a.rank != b.rank or a.rank == 0:
        raise TypeMismatch(f"cosine_similarity takes tensors of as many axes, and gets {a} and {b}")
    return reduced(broadcast(a, b), (axis,), False)


def _unit_array(x: Any, axis: int, eps: float) -> Any:
    return x / np.maximum(np.sqrt(np.sum(np.square(x), axis, keepdims=True)), eps)


def _unit(b: Build, x: Value, axis: int, eps: float) -> Value:
    """x divided by its length or eps; the root is of what is never 0."""
    square = b(SUM, b(SQUARE, x), axes=(axis,), keep=True)
    result: Value = b(DIV, x, b(SQRT, b(MAXIMUM, square, float(f"{eps * eps:.15g}"))))
    return result


def cosine(b: Build, u: Value, v: Value, axis: int, eps: float) -> Value:
    """The cosine of the angle between two tensors along an axis."""
    product = b(MUL, _unit(b, u, axis, eps), _unit(b, v, axis, eps))
    result: Value = b(SUM, product, axes=(axis,))
    return result


def cosine_array(u: Any, v: Any, axis: int, eps: float) -> Any:
    """The same of arrays."""
    return np.sum(_unit_array(u, axis, eps) * _unit_array(v, axis, eps), axis)


EPS = Config("float", 1e-8, doc="the least length that is divided by")

COSINE_SIMILARITY = Op(
    "cosine_similarity",
    inputs=("a", "b"),
    config={"axis": Config("axis", -1, doc="the axis of the vectors"), "eps": EPS},
    infer=_cosine_infer,
    eval=cosine_array,
    body=cosine,
    grad=BODY,
    rounding="body",
    layout="axes",
    kinks="where a length is eps, half of the derivative through it is taken",
    samples=(
        {"a": (5, 7), "b": (5, 7)},
        {"a": (2, 3, 5), "b": (2, 3, 5), "axis": 1},
        {"a": (4, 1, 5), "b": (1, 3, 5)},
        {"a": [[3.0, 4.0], [1e3, -1e3]], "b": [[4.0, 3.0], [2.0, 2.0]], "eps": 1e-3},
    ),
    doc="The cosine of the angle between vectors along an axis: their product, each divided by its"
    " length, or by eps where that is shorter.",
)

# ------------------------------------------------------------------------------------ bilinear


def _bilinear_infer(
    a: Type, b: Type, weight: Type, bias: Type | None, /, features: Dim, **_: Any
) -> Type:
    _require_alike(a, b)
    require_weight("bilinear", weight, (features, a.shape[-1], b.shape[-1]))
    if bias is not None:
        require_weight("bilinear", bias, (features,), "bias")
    return Type(a.dtype, (*a.shape[:-1], features), (*a.labels[:-1], None))


def _require_alike(a: Type, b: Type) -> None:
    """Raises unless two tensors have the same axes but for the last."""
    require_linear("bilinear", a)
    require_linear("bilinear", b)
    require_same_dtype("bilinear", a, b)
    message = f"bilinear takes tensors that are alike but for the last axis, and gets {a} and {b}"
    if a.rank != b.rank:
        raise TypeMismatch(message)
    for first, second in zip(a.shape[:-1], b.shape[:-1], strict=True):
        require_equal(first, second, message)


def _bilinear_params(a: Type, b: Type, features: Dim, bias: bool) -> dict[str, Param]:
    _require_alike(a, b)
    n, m = a.shape[-1], b.shape[-1]
    require_known("bilinear", features, n, m)
    init: Init = fan_uniform(n)
    params = {"weight": Param(Type(a.dtype, (features, n, m)), init)}
    if bias:
        params["bias"] = Param(Type(a.dtype, (features,)), init)
    return params


def _bilinear_eval(a: Any, b: Any, weight: Any, bias: Any, /, **_: Any) -> Any:
    y = np.einsum("...i,oij,...j->...o", a, weight, b)
    return y if bias is None else y + bias


def _bilinear_body(
    b: Build, u: Value, v: Value, weight: Value, bias: Value | None, /, **_: Any
) -> Value:
    """u times all matrices at once, and each of the results times v."""
    features, n, m = weight.type.shape
    wide = b(RESHAPE, b(TRANSPOSE, weight, axes=(1, 0, 2)), shape=(n, features * m))
    rows = b(RESHAPE, b(MATMUL, u, wide), shape=(*u.type.shape[:-1], features, m))
    column = b(UNSQUEEZE, v, axes=(v.type.rank,))
    y: Value = b(SQUEEZE, b(MATMUL, rows, column), axes=(u.type.rank,))
    return y if bias is None else b(ADD, y, bias)


BILINEAR = Op(
    "bilinear",
    inputs=("a", "b"),
    weights=("weight", "bias?"),
    config={
        "features": Config("size", doc="size of the last axis of the result"),
        "bias": Config("bool", True),
    },
    params=_bilinear_params,
    infer=_bilinear_infer,
    eval=_bilinear_eval,
    body=_bilinear_body,
    grad=BODY,
    rounding="sum",
    layer=True,
    samples=(
        {"a": (4, 3), "b": (4, 2), "features": 5},
        {"a": (2, 4, 3), "b": (2, 4, 5), "features": 2, "bias": False},
        {"a": (2, 7, 1, 3), "b": (2, 7, 1, 4), "features": 1},
    ),
    doc="For each feature, a @ weight @ b of the last axes, plus a bias. weight is (features, size"
    " of a, size of b), and starts, like the bias, uniform within 1 / sqrt(size of a).",
)

NORMS = (L1_NORM, MAX_NORM, LP_NORM)
SIMILARITY = (COSINE_SIMILARITY, BILINEAR)
