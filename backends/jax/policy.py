"""What numbers an emitted model computes with: as they come, or as a TPU's matrix unit takes them.

For TPUs products of matrices and convolutions take bfloat16. Parameters, statistics of norms,
softmax, and whatever else sums stay in float32. Flax layers are told by their `dtype`; where the
file itself multiplies or sums, it casts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...compiler.expr import Expr
from ...compiler.program import Apply, Var
from ..source.parts import Parts
from ..source.tree import is_literal, tree
from .stacks import Stack

NARROW, WIDE = "{x}.astype(jnp.bfloat16)", "{x}.astype(jnp.float32)"

LAYERS = frozenset({"linear", "conv", "conv_transpose", "attention"})
"""Layers that multiply matrices, and take a `dtype`."""

CASTS: Mapping[str, tuple[str, int | None]] = {
    "matmul": (NARROW, None), "einsum": (NARROW, None),
    **dict.fromkeys(("linear", "conv", "conv_transpose"), (NARROW, 2)), "resize": (NARROW, 1),
    **dict.fromkeys(("sum", "mean", "prod", "var", "std", "logsumexp"), (WIDE, 1)),
    **dict.fromkeys(("cumsum", "cumprod", "softmax", "log_softmax"), (WIDE, 1)),
    **dict.fromkeys(("avg_pool", "scatter_add"), (WIDE, 1)),
}  # fmt: skip
"""By op, to what its first tensors are cast, and how many of them: None for all."""


@dataclass(frozen=True)
class Policy:
    """How emitted code computes: `narrow` is in bfloat16 where the matrix unit is used, `stacks`
    are the loops that are scanned."""

    narrow: bool = False
    stacks: frozenset[Stack] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """What the file defines besides what every file does."""
        own = {"apply", "export", "narrow"} if self.narrow else set()
        return frozenset({*own, *(("Stack", "Zipped") if self.stacks else ())})

    def cast(self, parts: Parts) -> Parts:
        """An op's tensors in the precision in which it is to be computed."""
        apply = parts.apply
        if not self.narrow or apply.op.name not in CASTS or _repeats(apply):
            return parts
        template, count = CASTS[apply.op.name]
        found = {v for v in apply.inputs[:count] if v is not None and v.type.dtype == "f32"}
        plain = parts.ref

        def ref(var: Var) -> Expr:
            return tree(template, x=plain(var)) if var in found else plain(var)

        return Parts(apply, ref, parts.place, parts.name, parts.numbers, parts.device)

    def layer(self, apply: Apply, made: Expr) -> Expr:
        """The call that makes a layer, told to multiply in bfloat16."""
        if not isinstance(made, ast.Call):
            return made
        given = {keyword.arg: keyword.value for keyword in made.keywords}
        biased = not ("use_bias" in given and is_literal(given["use_bias"], False))
        more = self.layer_arguments(apply.op.name, biased=biased)
        last = len(made.keywords) - 1  # `rngs`
        made.keywords[last:last] = [
            ast.keyword(name, tree(value)) for name, value in more.items() if name not in given
        ]
        return made

    def layer_arguments(self, op: str, *, biased: bool = True) -> dict[str, str]:
        """What a layer is told of precision; its bias stays in float32."""
        if not self.narrow or op not in LAYERS:
            return {}
        told, names = {"dtype": "jnp.bfloat16"}, ["promote_dtype"]
        if op == "attention":
            told = {"attention_fn": "attend", **told}
            names = ["qkv_promote_dtype", "out_promote_dtype"]
        return told | (dict.fromkeys(names, "narrow") if biased else {})

    def leaving(self, x: Expr, dtype: str) -> Expr:
        """What leaves the model, or stays in it until the next call: floats in float32."""
        return tree(WIDE, x=x) if self.narrow and dtype == "f32" else x


NAMED = re.compile(r"promote_dtype=narrow\b")
NARROWED = '''def narrow(arrays: tuple, *, dtype: jnp.dtype, **_) -> tuple:
    """What a layer multiplies, in `dtype`; its bias, whose gradient is a sum, in float32."""
    x, kernel, bias = arrays
    return x.astype(dtype), kernel.astype(dtype), bias
'''
"""What layers are told to cast by, in place of Flax' own, which narrows the bias as well."""

PLAIN = Policy()


def _repeats(apply: Apply) -> bool:
    """Whether it is a resize that only repeats elements, and multiplies nothing."""
    return apply.op.name == "resize" and apply.values.get("mode") == "nearest"
