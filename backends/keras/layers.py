"""How Keras constructs and applies the ops that are layers."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, tree


def _unless(p: Parts, name: str, default: object) -> Expr | None:
    return None if is_literal(p[name], default) else p[name]


def _rank(p: Parts) -> int:
    return p.x.type.rank - 2


def _padding(p: Parts) -> tuple[Expr | None, Expr]:
    """(the `padding` argument, the input): "same" where that is exact, else explicit zeros before."""
    pad, kernel = p.value("pad"), p.value("kernel")
    if pad == 0:
        return None, p["x"]
    plain = is_literal(p["stride"], 1) and is_literal(p["dilation"], 1)
    if plain and isinstance(pad, int) and isinstance(kernel, int) and 2 * pad == kernel - 1:
        return literal("same"), p["x"]
    dims = _rank(p)
    return None, p.fill(f"keras.layers.ZeroPadding{dims}D({{pad}})({{x}})")


def _conv(p: Parts) -> Expr:
    padding, x = _padding(p)
    dims = _rank(p)
    return p.fill(
        f"keras.layers.Conv{dims}D({{features}}, {{kernel}}, strides={{stride}}, padding={{padding}}, "
        "dilation_rate={dilation}, groups={groups}, use_bias={bias}, name={name})({x})",
        stride=_unless(p, "stride", 1), padding=padding, dilation=_unless(p, "dilation", 1),
        groups=_unless(p, "groups", 1), bias=_unless(p, "bias", True), x=x,
    )  # fmt: skip


def _linear(p: Parts) -> Expr:
    return p.fill("keras.layers.Dense({features}, use_bias={bias}, name={name})({x})",
                  bias=_unless(p, "bias", True))  # fmt: skip


def _batch_norm(p: Parts) -> Expr:
    """The language's momentum is the share of the new statistics, Keras' that of the old."""
    momentum = p.value("momentum")
    kept = tree("1 - {m}", m=p["momentum"])
    if momentum is not None:
        kept = literal(round(1 - momentum, 12))
    return p.fill("keras.layers.BatchNormalization(momentum={kept}, epsilon={eps}, name={name})({x})",
                  kept=kept)  # fmt: skip


def _layer_norm(p: Parts) -> Expr:
    return p.fill("keras.layers.LayerNormalization(epsilon={eps}, name={name})({x})")


def _rms_norm(p: Parts) -> Expr:
    return p.fill("keras.layers.RMSNormalization(epsilon={eps}, name={name})({x})")


def _group_norm(p: Parts) -> Expr:
    return p.fill("keras.layers.GroupNormalization({groups}, epsilon={eps}, name={name})({x})",
                  )  # fmt: skip


def _embedding(p: Parts) -> Expr:
    return p.fill("keras.layers.Embedding({count}, {width}, name={name})({x})")


REVERSIBLE: Rule = "keras.layers.ReversibleEmbedding({count}, {width}, name={name})({x})"
"""An embedding whose weight also gives the logits; `name` is a part where it is used."""


def _dropout(p: Parts) -> Expr:
    return p.fill("keras.layers.Dropout({rate}, name={name})({x})")


def _prelu(p: Parts) -> Expr:
    shared = list(range(1, p.x.type.rank - 1))
    return p.fill("keras.layers.PReLU(shared_axes={shared}, name={name})({x})",
                  shared=literal(shared) if shared else None)  # fmt: skip


def _attention(p: Parts) -> Expr:
    width = p.place(literal(p.x.type.shape[-1]))
    context = p["context"] if p["context"] is not None else p["x"]
    return p.fill(
        "keras.layers.MultiHeadAttention({heads}, {width} // {heads}, use_bias={bias}, name={name})("
        "{x}, {context}, key_mask={keep}, attention_mask={mask}, use_causal_mask={causal})",
        width=width, context=context, bias=_unless(p, "bias", True),
        mask=p["mask"], causal=None if is_literal(p["causal"], False) else p["causal"],
    )  # fmt: skip


def _pool(kind: str) -> Rule:
    def rule(p: Parts) -> Expr:
        dims, pad = _rank(p), p.value("pad")
        kernel, stride = p["kernel"], p["stride"]
        same_stride = stride is None or number(stride) == number(kernel)
        return p.fill(
            f"keras.layers.{kind}Pooling{dims}D({{kernel}}, strides={{stride}})({{x}})",
            stride=None if same_stride else stride,
            x=p["x"] if pad == 0 else padded(p),
        )  # fmt: skip

    return rule


def padded(p: Parts) -> Expr:
    """The image with minus infinity around it: what a max pool's padding means."""
    pad = p.value("pad")
    dims = _rank(p)
    pairs = [(pad, pad)] * dims if isinstance(pad, int) else list(pad)
    whole = [(0, 0), *[q if isinstance(q, tuple) else (q, q) for q in pairs], (0, 0)]
    return p.fill("keras.ops.pad({x}, {pads}, constant_values=float('-inf'))", pads=literal(whole))


LAYERS: Mapping[str, Rule] = {
    "conv": _conv, "linear": _linear, "embedding": _embedding, "batch_norm": _batch_norm,
    "layer_norm": _layer_norm, "rms_norm": _rms_norm, "group_norm": _group_norm,
    "dropout": _dropout, "prelu": _prelu, "attention": _attention,
}  # fmt: skip
"""Layers with a name."""

POOLS: Mapping[str, Rule] = {"max_pool": _pool("Max")}
"""Layers without weights."""

VARIABLES: Mapping[str, str] = {
    "weight": "kernel", "bias": "bias", "running_mean": "moving_mean",
    "running_var": "moving_variance",
}  # fmt: skip
"""What Keras calls the parts of a layer; norms call their weight `gamma` and their bias `beta`."""
