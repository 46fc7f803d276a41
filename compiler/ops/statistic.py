"""Statistics over axes: logsumexp, the norm, variance and standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import np
from ..graph import Type, Value
from ..op import Build, Config, Op, require_at_most
from .broadcast import kept, number, require_floating
from .compare import EQUAL, ISINF
from .elementwise import ADD, DIV, MUL, STOP_GRADIENT, SUB, WHERE
from .function import EXP, LOG, SQRT, SQUARE
from .reduce import (
    CONFIG,
    MAX,
    MEAN,
    SAMPLES,
    SCALAR,
    SUM,
    Axes,
    all_axes,
    count,
    reduced,
    reduction,
)  # fmt: skip


def _logsumexp(x: Any, axes: Axes, keep: bool) -> Any:
    largest = np.max(x, axes, keepdims=True)
    largest = np.where(np.isinf(largest), np.zeros_like(largest), largest)
    y = np.log(np.sum(np.exp(x - largest), axes, keepdims=True)) + largest
    return y if keep else np.squeeze(y, tuple(range(x.ndim)) if axes is None else axes)


def _logsumexp_body(b: Build, x: Value, axes: Axes, keep: bool) -> Value:
    x_stopped = b(STOP_GRADIENT, x)

    def largest(keep: bool) -> Value:
        m = b(MAX, x_stopped, axes=axes, keep=keep)
        result: Value = b(WHERE, b(ISINF, m), 0.0, m)
        return result

    total = b(SUM, b(EXP, b(SUB, x, largest(True))), axes=axes, keep=keep)
    result: Value = b(ADD, b(LOG, total), largest(keep))
    return result


LOGSUMEXP = reduction(
    "logsumexp",
    _logsumexp,
    lambda b, g, y, x, axes, keep: b(
        MUL, kept(b, g, axes, keep), b(EXP, b(SUB, x, kept(b, y, axes, keep)))
    ),
    body=_logsumexp_body,
    samples=(
        *SAMPLES, *SCALAR,
        {"x": [[0.0, -120.0, 100.0], [-float("inf"), 0.0, 1.0], [-500.0, -501.0, -500.0]],
         "axes": (1,)},
    ),
    doc="log(sum(exp(x))), without overflow; -inf where every element is.",
)  # fmt: skip


def _l2_norm_grad(
    b: Build, g: Value, y: Value, x: Value, axes: tuple[int, ...], keep: bool
) -> Value:
    norm = kept(b, y, axes, keep)
    flat = b(EQUAL, norm, 0.0)
    direction = b(DIV, x, b(WHERE, flat, 1.0, norm))
    result: Value = b(MUL, b(WHERE, flat, 0.0, kept(b, g, axes, keep)), direction)
    return result


L2_NORM = reduction(
    "l2_norm",
    lambda x, axes, keep: np.sqrt(np.sum(np.square(x), axes, keepdims=keep)),
    _l2_norm_grad,
    body=lambda b, x, axes, keep: b(SQRT, b(SUM, b(SQUARE, x), axes=axes, keep=keep)),
    samples=(
        *SAMPLES, *SCALAR,
        {"x": [[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [1e-9, 1e-9, 0.0]], "axes": (1,)},
    ),
    kinks="its derivative at a vector of zeros is 0",
    doc="The square root of the sum of squares.",
)  # fmt: skip


def _deviations(b: Build, x: Value, axes: Axes) -> Value:
    result: Value = b(SUB, x, b(MEAN, x, axes=axes, keep=True))
    return result


def _var_body(b: Build, x: Value, axes: Axes, keep: bool, correction: int) -> Value:
    squares = b(SQUARE, _deviations(b, x, axes))
    if correction == 0:
        mean: Value = b(MEAN, squares, axes=axes, keep=keep)
        return mean
    freedom = number(b, count(x.type, axes) - correction, x)
    result: Value = b(DIV, b(SUM, squares, axes=axes, keep=keep), freedom)
    return result


def _var_grad(
    b: Build, g: Value, y: Value, x: Value, axes: Axes, keep: bool, correction: int
) -> list[Value]:
    freedom = number(b, count(x.type, axes) - correction, x)
    share = b(DIV, b(MUL, g, 2.0), freedom)
    share = kept(b, share, all_axes(x.type, axes), keep)
    return [b(MUL, share, _deviations(b, x, axes))]


def _std_grad(
    b: Build, g: Value, y: Value, x: Value, axes: Axes, keep: bool, correction: int
) -> list[Value]:
    flat = b(EQUAL, y, 0.0)
    freedom = number(b, count(x.type, axes) - correction, x)
    share = b(DIV, b(WHERE, flat, 0.0, g), b(MUL, b(WHERE, flat, 1.0, y), freedom))
    share = kept(b, share, all_axes(x.type, axes), keep)
    return [b(MUL, share, _deviations(b, x, axes))]


def _spread(
    name: str,
    eval: Callable[..., Any],
    body: Callable[..., Value],
    grad: Callable[..., Any],
    kinks: str,
    doc: str,
) -> Op:
    def infer(x: Type, axes: Axes, keep: bool, correction: int) -> Type:
        require_floating(name, x)
        n = count(x, axes)
        require_at_most(
            correction + 1, n, f"{name} with correction {correction} of {n} element(s) of {x}"
        )
        return reduced(x, axes, keep)

    doubt = Config("int", 0, doc="the sum of squares is divided by the number less this")
    return Op(
        name, ("x",), infer, eval, config={**CONFIG, "correction": doubt}, body=body, grad=grad,
        samples=(
            *SAMPLES,
            {"x": (5, 7), "axes": (1,), "correction": 1},
            {"x": [[2.0, 2.0, 2.0], [1000.0, 1000.5, 1001.0]], "axes": (1,), "correction": 1},
        ),
        layout="axes", rounding="body", kinks=kinks, doc=doc,
    )  # fmt: skip


VAR = _spread(
    "var",
    lambda x, axes, keep, correction: np.var(x, axes, ddof=correction, keepdims=keep),
    _var_body,
    _var_grad,
    "",
    "The mean square distance from the mean; divided by n, unless `correction` is given.",
)
STD = _spread(
    "std",
    lambda x, axes, keep, correction: np.std(x, axes, ddof=correction, keepdims=keep),
    lambda b, x, axes, keep, correction: b(SQRT, _var_body(b, x, axes, keep, correction)),
    _std_grad,
    "its derivative where all elements are equal is 0",
    "The square root of var.",
)

STATISTIC = (LOGSUMEXP, L2_NORM, VAR, STD)
