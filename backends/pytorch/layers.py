"""How PyTorch constructs the ops that are modules, with every default that frameworks disagree on."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number


def _given(p: Parts, name: str, default: object) -> Expr | None:
    """The attribute, or None where it is what PyTorch takes by itself."""
    return None if is_literal(p[name], default) else p[name]


def _size(p: Parts, axis: int) -> Expr:
    """A size of the first input, in the names of the constructor."""
    return p.place(literal(p.x.type.shape[axis]))


def _rank(p: Parts) -> int:
    return p.x.type.rank - 2


def _conv(p: Parts) -> Expr:
    dims = _rank(p)
    return p.fill(
        f"nn.Conv{dims}d({{C}}, {{features}}, {{kernel}}, stride={{stride}}, padding={{pad}}, "
        "dilation={dilation}, groups={groups}, bias={bias})",
        C=_size(p, 1), stride=_given(p, "stride", 1), pad=_pad(p), bias=_given(p, "bias", True),
        dilation=_given(p, "dilation", 1), groups=_given(p, "groups", 1),
    )  # fmt: skip


def _pad(p: Parts) -> Expr | None:
    return _given(p, "pad", 0)


def _conv_transpose(p: Parts) -> Expr:
    dims = _rank(p)
    return p.fill(
        f"nn.ConvTranspose{dims}d({{C}}, {{features}}, {{kernel}}, stride={{stride}}, padding={{pad}}, "
        "output_padding={out}, groups={groups}, bias={bias}, dilation={dilation})",
        C=_size(p, 1), stride=_given(p, "stride", 1), pad=_pad(p), bias=_given(p, "bias", True),
        out=_given(p, "output_pad", 0), groups=_given(p, "groups", 1),
        dilation=_given(p, "dilation", 1),
    )  # fmt: skip


def _linear(p: Parts) -> Expr:
    return p.fill(
        "nn.Linear({C}, {features}, bias={bias})", C=_size(p, -1), bias=_given(p, "bias", True)
    )


def _batch_norm(p: Parts) -> Expr:
    dims = {2: 1, 3: 1, 4: 2, 5: 3}[p.x.type.rank]
    axis = 1 if p.x.type.rank > 2 else -1
    return p.fill(
        f"nn.BatchNorm{dims}d({{C}}, eps={{eps}}, momentum={{momentum}})", C=_size(p, axis)
    )


def _layer_norm(p: Parts) -> Expr:
    return p.fill("nn.LayerNorm({C}, eps={eps})", C=_size(p, -1))


def _rms_norm(p: Parts) -> Expr:
    return p.fill("nn.RMSNorm({C}, eps={eps})", C=_size(p, -1))


def _group_norm(p: Parts) -> Expr:
    return p.fill("nn.GroupNorm({groups}, {C}, eps={eps})", C=_size(p, 1))


def _prelu(p: Parts) -> Expr:
    (weight,) = p.apply.weights.values()
    return p.fill("nn.PReLU({n})", n=p.place(literal(weight.shape[0])))


def _dropout(p: Parts) -> Expr:
    return p.fill("nn.Dropout({rate})")


def _attention(p: Parts) -> Expr:
    return p.fill("Attention({C}, {heads})", C=_size(p, -1))


LAYERS: Mapping[str, Rule] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear,
    "embedding": "nn.Embedding({count}, {width})",
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "group_norm": _group_norm, "prelu": _prelu, "dropout": _dropout, "attention": _attention,
}  # fmt: skip
"""Constructors by op."""

FUNCTIONS: Mapping[str, Rule] = {
    "relu": "nn.ReLU()", "gelu": "nn.GELU()", "silu": "nn.SiLU()", "sigmoid": "nn.Sigmoid()",
    "tanh": "nn.Tanh()", "relu6": "nn.ReLU6()",
}  # fmt: skip
"""Modules of ops without weights, for chains."""

__all__ = ["FUNCTIONS", "LAYERS", "number"]
