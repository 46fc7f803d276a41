"""Noise: what is fresh at every call in training, and absent in inference."""

from __future__ import annotations

from typing import Any

from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_equal
from .broadcast import require_floating
from .elementwise import CAST, DIV, MUL


def _infer(x: Type, keep: Type | None, rate: float, **_: Any) -> Type:
    require_floating("dropout", x)
    if not 0 <= rate < 1:
        raise TypeMismatch(f"dropout takes a rate from 0 to below 1, and gets {rate}", "value")
    if keep is not None:
        message = f"dropout of {x} takes a mask of its shape, and gets {keep}"
        if keep.rank != x.rank or keep.dtype not in ("bool", x.dtype):
            raise TypeMismatch(message)
        for size, wanted in zip(keep.shape, x.shape, strict=True):
            require_equal(size, wanted, message)
    return x


def _drops(keep: Any, rate: float, training: bool | None) -> bool:
    """Whether elements are dropped; raises where that needs a mask that is not there."""
    if training is None:
        raise ValueError("dropout in a graph whose mode is not resolved")
    if not training or rate == 0:
        return False
    if keep is None:
        raise ValueError("dropout in training takes its noise as the input keep")
    return True


def _eval(x: Any, keep: Any, rate: float, training: bool | None) -> Any:
    if not _drops(keep, rate, training):
        return x
    return x * keep.astype(x.dtype) / x.dtype.type(1 - rate)


def _dropped(b: Build, x: Value, keep: Value | None, rate: float, training: bool | None) -> Value:
    if not _drops(keep, rate, training) or keep is None:
        return x
    mask = b(CAST, keep, dtype=x.type.dtype) if keep.type.dtype == "bool" else keep
    result: Value = b(DIV, b(MUL, x, mask), 1 - rate)
    return result


def _grad(
    b: Build, g: Value, y: Value, x: Value, keep: Value | None, rate: float, training: bool | None
) -> list[Value | None]:
    return [_dropped(b, g, keep, rate, training), None]


DROPOUT = Op(
    "dropout",
    inputs=("x", "keep?"),
    config={
        "rate": Config("float", 0.5, doc="the share of elements that become 0; below 1"),
        "training": Config("bool", None, doc="set by the mode; never written"),
    },
    infer=_infer,
    eval=_eval,
    body=_dropped,
    grad=_grad,
    layer=True,
    effect="random",
    layout="any",
    samples=(
        {"x": (3, 5), "rate": 0.3, "training": False},
        {"x": (3, 5), "keep": ((3, 5), "bool"), "rate": 0.3, "training": True},
        {"x": (3, 5), "rate": 0.0, "training": True},
    ),
    doc="In training, sets elements to 0 at random and divides the others by 1 - rate; otherwise x."
    " `keep`, true where an element stays, takes the place of chance.",
)
