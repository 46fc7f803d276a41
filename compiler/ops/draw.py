"""Noise that the model draws itself, by a `noise` line."""

from __future__ import annotations

from typing import Any, NoReturn

from ..dim import Dim
from ..expr import evaluate
from ..graph import Node, Type
from ..op import Config, Op

DISTRIBUTIONS = ("normal", "uniform")
"""What noise may be: standard normal, or uniform in 0 .. 1, 1 excluded."""


def _infer(shape: tuple[Dim, ...], distribution: str, key: str) -> Type:
    return Type("f32", tuple(shape))


def _eval(**_: Any) -> NoReturn:
    raise ValueError("what noise is drawn is not decided; `as_inputs` makes it an input")


NOISE = Op(
    "noise",
    inputs=(),
    config={
        "shape": Config("shape"),
        "distribution": Config("str", choices=DISTRIBUTIONS),
        "key": Config("key", doc="the path that tells this noise from all other"),
    },
    infer=_infer,
    eval=_eval,
    grad=None,
    rounding="exact",
    effect="random",
    doc="Noise that is fresh at every call, in both modes: no two nodes draw the same.",
)


def own_key(node: Node) -> str:
    """The key of a node within its scope: without the scope's path, and without a number."""
    written = node.exprs.get("key")
    found: str = node.attrs["key"] if written is None else evaluate(written, {})
    return found
