"""How Flax NNX constructs and applies layers, with every default that frameworks disagree on."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.shape import product
from ..source.masks import is_masked
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, tree
from . import recurrent
from .attention import attend, attention
from .images import resizes
from .places import PLACED
from .rules import RULES, pools
from .starts import biased, size
from .windows import each, reaches, spatial


def _unless(p: Parts, name: str, default: object) -> Expr | None:
    return None if is_literal(p[name], default) else p[name]


def _fan(p: Parts) -> Expr:
    """How many terms an output is a sum of, as PyTorch counts: all axes but the first."""
    return p.place(literal(product(p.apply.weights["weight"].shape[1:])))


def _linear(p: Parts) -> Expr:
    inputs = size(p, -1)
    return p.fill(
        "nnx.Linear({inputs}, {features}, use_bias={bias}, kernel_init=fan_uniform, "
        "bias_init={start}, rngs=rngs)",
        **{**biased(p, inputs), "inputs": inputs},
    )


def _conv(p: Parts) -> Expr:
    count = spatial(p.x.type)
    return p.fill(
        "nnx.Conv({inputs}, {features}, {kernel}, {stride}, padding={pad}, "
        "kernel_dilation={dilation}, feature_group_count={groups}, use_bias={bias}, "
        "kernel_init=fan_uniform, bias_init={start}, rngs=rngs)",
        **{
            **biased(p, _fan(p)), "inputs": size(p, 1), "kernel": each(p["kernel"], count),
            "stride": _unless(p, "stride", 1), "dilation": _unless(p, "dilation", 1),
            "groups": _unless(p, "groups", 1),
            "pad": literal("SAME") if is_literal(p["pad"], "same") else p["pad"],
        },
    )  # fmt: skip


def _conv_transpose(p: Parts) -> Expr:
    """NNX pads the stretched input: by what the kernel reaches beyond PyTorch's padding."""
    count = spatial(p.x.type)
    if not is_literal(p["groups"], 1):
        return p.fill(
            "nnx.Conv({inputs}, {features}, {kernel}, padding={rows}, input_dilation={stride}, "
            "kernel_dilation={dilation}, feature_group_count={groups}, use_bias={bias}, "
            "kernel_init=uniform({fan}), bias_init={start}, rngs=rngs)",
            **{
                **biased(p, _fan(p)), "inputs": size(p, 1), "kernel": each(p["kernel"], count),
                "rows": reaches(p), "dilation": _unless(p, "dilation", 1), "fan": _fan(p),
            },
        )  # fmt: skip
    return p.fill(
        "nnx.ConvTranspose({inputs}, {features}, {kernel}, {stride}, padding={rows}, "
        "kernel_dilation={dilation}, use_bias={bias}, transpose_kernel=True, "
        "kernel_init=fan_uniform, bias_init={start}, rngs=rngs)",
        **{
            **biased(p, _fan(p)), "inputs": size(p, 1), "kernel": each(p["kernel"], count),
            "stride": each(p["stride"], count), "rows": reaches(p),
            "dilation": None if is_literal(p["dilation"], 1) else each(p["dilation"], count),
        },
    )  # fmt: skip


def _norm(kind: str, axis: int, more: str = "") -> Rule:
    """A norm whose statistics are computed in two passes, which is exact far from zero too."""
    bias = "" if kind == "RMSNorm" else "use_bias={bias}, "
    template = (
        f"nnx.{kind}({{features}}, {more}epsilon={{eps}}, use_scale={{scale}}, {bias}"
        "use_fast_variance=False, rngs=rngs)"
    )

    def make(p: Parts) -> Expr:
        at = axis if p.x.type.rank > 1 else -1
        absent = {part: None if part in p.apply.weights else literal(False)
                  for part in ("weight", "bias")}  # fmt: skip
        kept = {"kept": _kept(p)} if kind == "BatchNorm" else {}
        return p.fill(
            template,
            **{"features": size(p, at), "scale": absent["weight"], "bias": absent["bias"], **kept},
        )

    return make


def _kept(p: Parts) -> Expr:
    """The language's momentum is the share of the new statistics, NNX' that of the old."""
    momentum = p.value("momentum")
    return (
        tree("1 - {m}", m=p["momentum"]) if momentum is None else literal(round(1 - momentum, 12))
    )


def _prelu(p: Parts) -> Expr:
    """NNX' own has one slope for all channels."""
    if not p.fixed("per_channel"):
        return tree("nnx.PReLU(0.25)")
    return p.fill("PReLU({features})", features=size(p, 1))


def _channel_dropout(p: Parts) -> Expr:
    rank = p.x.type.rank
    order = p.x.order or range(rank)
    shared = tuple(i for i, axis in enumerate(order) if axis > 1)
    return p.fill("nnx.Dropout({rate}, broadcast_dims={s}, rngs=rngs)", s=literal(shared))


def _drop_path(p: Parts) -> Expr:
    shared = tuple(range(1, p.x.type.rank))
    return p.fill("nnx.Dropout({rate}, broadcast_dims={s}, rngs=rngs)", s=literal(shared))


LAYERS: Mapping[str, Rule] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear,
    "embedding":
        "nnx.Embed({count}, {width}, embedding_init=nnx.initializers.normal(1), rngs=rngs)",
    "batch_norm": _norm("BatchNorm", 1, "momentum={kept}, "),
    "layer_norm": _norm("LayerNorm", -1), "rms_norm": _norm("RMSNorm", -1),
    "group_norm": _norm("GroupNorm", 1, "{groups}, "), "instance_norm": _norm("InstanceNorm", 1),
    "prelu": _prelu, "dropout": "nnx.Dropout({rate}, rngs=rngs)",
    "channel_dropout": _channel_dropout, "drop_path": _drop_path,
    "attention": attention, **dict.fromkeys(recurrent.NAMES, recurrent.made),
}  # fmt: skip
"""Constructors by op."""

CONVENTIONS = frozenset(
    {"use_bias", "use_scale", "kernel_init", "embedding_init", "epsilon", "momentum", "decode"}
    | {"use_fast_variance", "transpose_kernel", "dtype", "promote_dtype"}
)
"""Arguments that are the same for all layers of a kind."""

APPLIED: Mapping[str, Rule | None] = {
    **dict.fromkeys(LAYERS), "attention": attend,
    **dict.fromkeys(recurrent.NAMES, recurrent.applied),
}  # fmt: skip
"""How layers are applied, None for just `f(x)`."""


def native(node: Node) -> bool:
    """Whether a node stays as it is; the rest is written out in smaller ops."""
    name, attrs = node.op.name, node.attrs
    if name == "while":
        return attrs["bound"] is None  # jax.lax.while_loop has no reverse mode
    if name in ("max_pool", "avg_pool"):
        return pools(name, attrs)
    if name == "attention" and attrs["kv_heads"] is not None:
        return False
    if name == "embedding" and attrs["padding"] is not None:
        return False
    if name == "resize":
        return resizes(node)
    if name in PLACED:
        return PLACED[name](node)
    if name == "sdpa":
        return node.inputs[4] is None and not attrs["grouped"]
    if is_masked(node):
        return attrs["training"] is None
    if name not in LAYERS or node.layer is None:
        return name in RULES
    if name in ("layer_norm", "rms_norm", "group_norm", "instance_norm"):
        x = node.inputs[0]
        assert x is not None
        last = tuple(attrs.get("axes", (x.type.rank - 1,))) == (x.type.rank - 1,)
        return last and bool(node.layer.weights)
    return node.op.effect != "random" or node.inputs[1] is None
