"""Dtypes as PyTorch names them."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr
from ..source.parts import Parts
from ..source.tree import tree

DTYPES: Mapping[str, str] = {
    "bool": "torch.bool", "u8": "torch.uint8", "i8": "torch.int8", "i16": "torch.int16",
    "i32": "torch.int32", "i64": "torch.int64", "f16": "torch.float16",
    "bf16": "torch.bfloat16", "f32": "torch.get_default_dtype()", "f64": "torch.float64",
}  # fmt: skip
"""Dtypes as PyTorch names them; the default float follows PyTorch's default."""


def dtype(name: str) -> Expr:
    """The dtype as a tree."""
    return tree(DTYPES[name])


def long(p: Parts, name: str) -> Expr:
    """An index in 64 bits."""
    var = p.var(name)
    assert var is not None
    found: Expr = p[name] if var.type.dtype == "i64" else tree("{i}.long()", i=p[name])
    return found
