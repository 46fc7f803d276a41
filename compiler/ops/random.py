"""Noise: what is fresh at every call in training, and absent in inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..diagnose import MlcError
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_equal
from .broadcast import require_floating, unbroadcast
from .elementwise import CAST, DIV, MUL
from .shape import listed
from .window import require_spatial

Shape = tuple[Dim, ...]


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
    if training is None and keep is not None and rate != 0:
        text = "a dropout that is given its mask, in source that leaves the mode open"
        raise MlcError(
            "unsupported", text, b.span, help="multiply by the mask, or leave `keep` out"
        )
    if not _drops(keep, rate, training) or keep is None:
        return x
    mask = b(CAST, keep, dtype=x.type.dtype) if keep.type.dtype == "bool" else keep
    result: Value = b(DIV, b(MUL, x, mask), 1 - rate)
    return result


def _grad(
    b: Build, g: Value, y: Value, x: Value, keep: Value | None, rate: float, training: bool | None
) -> list[Value | None]:
    slope = None
    if keep is not None and keep.type.floating and _drops(keep, rate, training):
        slope = unbroadcast(b, b(DIV, b(MUL, g, x), 1 - rate), keep)
    return [_dropped(b, g, keep, rate, training), slope]


def _dropping(
    name: str, wanted: Callable[[Type], Shape], samples: tuple[Any, ...], what: str
) -> Op:
    """An op that drops parts of `x`; `wanted` gives the shape of a mask that has one bit each."""

    def infer(x: Type, keep: Type | None, rate: float, **_: Any) -> Type:
        require_floating(name, x)
        shape = wanted(x)
        if not 0 <= rate < 1:
            raise TypeMismatch(f"{name} takes a rate from 0 to below 1, and gets {rate}", "value")
        if keep is not None:
            message = f"{name} of {x} takes a mask of its shape, and gets {keep}"
            if shape != x.shape:
                message = f"{name} of {x} takes a mask {listed(shape)}, and gets {keep}"
            if keep.rank != x.rank or keep.dtype not in ("bool", x.dtype):
                raise TypeMismatch(message)
            for size, known in zip(keep.shape, shape, strict=True):
                require_equal(size, known, message)
        return x

    return Op(
        name,
        inputs=("x", "keep?"),
        config={
            "rate": Config("float", 0.5, doc="the share that becomes 0; below 1"),
            "training": Config("bool", None, doc="set by the mode; never written"),
        },
        infer=infer,
        eval=_eval,
        body=_dropped,
        grad=_grad,
        layer=True,
        effect="random",
        layout="any",
        samples=samples,
        doc=f"In training, sets {what} to 0 at random and divides the others by 1 - rate;"
        " otherwise x. `keep`, true for what stays, takes the place of chance.",
    )


def _channels(x: Type) -> Shape:
    require_spatial("channel_dropout", x)
    return (*x.shape[:2], *(1,) * (x.rank - 2))


def _examples(x: Type) -> Shape:
    if x.rank < 2:
        raise TypeMismatch(f"drop_path takes (batch, ...), and gets {x}")
    return (x.shape[0], *(1,) * (x.rank - 1))


def _elements(x: Type) -> Shape:
    return x.shape


MASKS: Mapping[str, Callable[[Type], Shape]] = {
    "dropout": _elements,
    "channel_dropout": _channels,
    "drop_path": _examples,
}
"""Op -> the shape of its mask for an input."""

DROPOUT = _dropping(
    "dropout",
    _elements,
    (
        {"x": (3, 5), "rate": 0.3, "training": False},
        {"x": (3, 5), "keep": ((3, 5), "bool"), "rate": 0.3, "training": True},
        {"x": (3, 5), "rate": 0.0, "training": True},
    ),
    "elements",
)
CHANNEL_DROPOUT = _dropping(
    "channel_dropout",
    _channels,
    (
        {"x": (3, 5, 4), "rate": 0.3, "training": False},
        {"x": (2, 5, 3, 4), "keep": ((2, 5, 1, 1), "bool"), "rate": 0.3, "training": True},
        {"x": (3, 5, 4), "rate": 0.0, "training": True},
    ),
    "whole channels (axis 1)",
)
DROP_PATH = _dropping(
    "drop_path",
    _examples,
    (
        {"x": (3, 5), "rate": 0.3, "training": False},
        {"x": (7, 3, 4), "keep": ((7, 1, 1), "bool"), "rate": 0.3, "training": True},
        {"x": (3, 4), "keep": ((3, 1), "f32", 0.0, 1.0), "rate": 0.3, "training": True},
        {"x": (3, 5, 2, 2), "rate": 0.0, "training": True},
    ),
    "whole examples (axis 0), as stochastic depth does,",
)

RANDOM = (DROPOUT, CHANNEL_DROPOUT, DROP_PATH)
