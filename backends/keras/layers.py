"""How Keras makes and applies the ops that are layers, and which nodes they say exactly."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node, Value
from ...compiler.ops.draw import NOISE
from ...compiler.ops.window import Window
from ...compiler.program import Apply
from ..source.masks import is_masked
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, tree
from .attention import own
from .conv_transpose import conv_transpose
from .images import resizes
from .places import PLACED
from .recurrent import KINDS, recurrent
from .rules import INSIDE, RULES
from .shapes import Pieces, transposed
from .starts import DEPTHWISE, STARTED, started, width
from .windows import around, each, ints, none, ones, pairs, rank, short

# -------------------------------------------------------------------------------------- windows


def _same(p: Parts, rows: Sequence[tuple[Expr, Expr]]) -> bool:
    """Whether this is what Keras calls "same" at stride 1: the odd element at the end."""
    kernels = [number(k) for k in each(p["kernel"], rank(p))]
    dilations = [number(d) for d in each(p["dilation"], rank(p))]
    strides = [number(s) for s in each(p["stride"], rank(p))]
    if set(strides) != {1} or None in (*kernels, *dilations):
        return False
    wanted = [d * (k - 1) for k, d in zip(kernels, dilations, strict=True)]
    found = [(number(low), number(high)) for low, high in rows]
    return found == [(total // 2, total - total // 2) for total in wanted]


def _padding(p: Parts, apart: bool) -> tuple[Expr | None, Sequence[tuple[Expr, Expr]]]:
    """(the `padding` argument, zeros to put around before): "same" where that is exact.

    `apart`: the stride is applied to the result, so that "same" of it means something else.
    """
    count = rank(p)
    if is_literal(p["pad"], "same"):
        if not apart:
            return literal("same"), ()
        attrs = {k: p.fixed(k) for k in ("kernel", "stride", "dilation")}
        window = Window.of(p.x.type.shape[2:], pad="same", **attrs)
        rows = [(literal(low), literal(high)) for low, high in window.pads]
    else:
        rows = pairs(p["pad"], count)
    if none(rows):
        return None, ()
    return (literal("same"), ()) if _same(p, rows) else (None, rows)


def _zeros(p: Parts, rows: Sequence[tuple[Expr, Expr]]) -> Expr:
    """The image with zeros around it."""
    template = f"keras.layers.ZeroPadding{rank(p)}D({{rows}})({{x}})"
    return p.fill(template, rows=around(rows)) if rows else p.fill("{x}")


def depthwise(apply: Apply) -> bool:
    """Whether each channel has a group of its own, and Keras a layer for that."""
    x = apply.inputs[0]
    assert x is not None
    count = x.type.rank - 2
    stride, dilation = each(apply.attrs["stride"], count), each(apply.attrs["dilation"], count)
    if count > 2 or not (ones(stride) or ones(dilation)) or len({*map(ast.dump, stride)}) > 1:
        return False
    groups, features = apply.attrs["groups"], apply.attrs["features"]
    channels = literal(x.type.shape[1])
    if is_literal(groups, 1) or ast.dump(groups) != ast.dump(channels):
        return False
    numbers = number(features), number(groups)
    return ast.dump(features) == ast.dump(groups) or None not in numbers


def _conv(p: Parts) -> Expr:
    count = rank(p)
    stride, dilation = each(p["stride"], count), each(p["dilation"], count)
    apart = not ones(stride) and not ones(dilation)
    padding, rows = _padding(p, apart)
    x = _zeros(p, rows)
    kind, own, start = f"Conv{count}D", "{features}, {kernel}", STARTED
    multiplier: Expr | None = None
    if depthwise(p.apply):
        kind, own, start = f"DepthwiseConv{count}D", "{kernel}", DEPTHWISE
        features, groups = number(p["features"]), number(p["groups"])
        multiplier = literal(features // groups) if features != groups else None
    made = p.fill(
        f"keras.layers.{kind}({own}, strides={{stride}}, padding={{padding}}, "
        "depth_multiplier={m}, dilation_rate={dilation}, groups={groups}, use_bias={bias}, "
        f"{start}, name={{name}})({{x}})",
        kernel=ints(p, "kernel"), padding=padding, x=x, m=multiplier,
        stride=None if ones(stride) or apart else short(stride),
        dilation=None if ones(dilation) else short(dilation),
        groups=p.unless("groups", 1) if kind.startswith("Conv") else None,
        bias=p.unless("bias", True), **started(p, kernel=kind.startswith("Conv")),
    )  # fmt: skip
    return _strided(made, stride) if apart else made


def _strided(x: Expr, stride: Sequence[Expr]) -> Expr:
    """Every so many elements: Keras has no convolution with both a stride and a dilation."""
    index: list[Expr] = [ast.Slice(), *(ast.Slice(None, None, s) for s in stride)]
    return ast.Subscript(x, ast.Tuple(index, ast.Load()), ast.Load())


def _pool(kind: str) -> Rule:
    def rule(p: Parts) -> Expr:
        count = rank(p)
        kernel = each(p["kernel"], count)
        stride = kernel if p["stride"] is None else each(p["stride"], count)
        same = [ast.dump(k) for k in kernel] == [ast.dump(s) for s in stride]
        padding, x = _pool_padding(p, kind)
        return p.fill(
            f"keras.layers.{kind}Pooling{count}D({{kernel}}, strides={{stride}}, "
            "padding={padding})({x})",
            kernel=short(kernel), stride=None if same else short(stride), padding=padding, x=x,
        )  # fmt: skip

    return rule


def _pool_padding(p: Parts, kind: str) -> tuple[Expr | None, Expr]:
    """As for a convolution, but around a maximum there is minus infinity.

    Zeros do where nothing is below: they may win only over a zero, which gets no gradient either.
    """
    count = rank(p)
    if is_literal(p["pad"], "same"):
        return literal("same"), p["x"]
    rows = pairs(p["pad"], count)
    if none(rows):
        return None, p["x"]
    if _odd(p, rows):
        return literal("same"), p["x"]
    if kind == "Average" or (isinstance(p, Pieces) and p.x in p.rectified):
        return None, p.fill(f"keras.layers.ZeroPadding{count}D({{r}})({{x}})", r=around(rows))
    zero = (literal(0), literal(0))
    whole = [ast.Tuple(list(row), ast.Load()) for row in (zero, *rows, zero)]
    return None, p.fill("keras.ops.pad({x}, (*{rows},), constant_values=float('-inf'))", rows=whole)


def _odd(p: Parts, rows: Sequence[tuple[Expr, Expr]]) -> bool:
    """Whether Keras' "same" of a stride of 1 pads like this, and does not count its padding."""
    if p["stride"] is None or not ones(each(p["stride"], rank(p))):
        return False
    kernels = [number(k) for k in each(p["kernel"], rank(p))]
    found = [(number(low), number(high)) for low, high in rows]
    plain = None not in kernels and found == [((k - 1) // 2, k // 2) for k in kernels]
    return plain and not p.apply.values.get("count_pad", False)


# ---------------------------------------------------------------------------------------- norms


def _centre(p: Parts) -> dict[str, Expr | None]:
    """`center=False` and `scale=False` where weights are absent."""
    parts = p.apply.weights
    return {
        "scale": None if "weight" in parts else literal(False),
        "center": None if "bias" in parts else literal(False),
    }


def _batch_norm(p: Parts) -> Expr:
    """The language's momentum is the share of the new statistics, Keras' that of the old."""
    momentum = p.value("momentum")
    kept = tree("1 - {m}", m=p["momentum"])
    if momentum is not None:
        kept = literal(round(1 - momentum, 12))
    return p.fill("keras.layers.BatchNormalization(axis={axis}, momentum={kept}, epsilon={eps}, "
                  "center={center}, scale={scale}, name={name})({x})",
                  kept=kept, axis=_channels(p), **_centre(p))  # fmt: skip


def _channels(p: Parts) -> Expr | None:
    """The axis of the channels where it is not the last."""
    return None if p.x.order or p.x.type.rank == 2 else literal(1)


def _axes(p: Parts) -> Expr | None:
    """The axes of a norm, counted from the end; None for the last."""
    axes = [axis - p.x.type.rank for axis in p.apply.values["axes"]]
    return None if axes == [-1] else literal(axes[0] if len(axes) == 1 else axes)


def _layer_norm(p: Parts) -> Expr:
    return p.fill("keras.layers.LayerNormalization(axis={axis}, epsilon={eps}, center={center}, "
                  "scale={scale}, name={name})({x})", axis=_axes(p), **_centre(p))  # fmt: skip


def _rms_norm(p: Parts) -> Expr:
    return p.fill("keras.layers.RMSNormalization(axis={axis}, epsilon={eps}, name={name})({x})",
                  axis=_axes(p))  # fmt: skip


def _group_norm(p: Parts) -> Expr:
    groups = p["groups"] if p.op.name == "group_norm" else literal(-1)
    return p.fill("keras.layers.GroupNormalization({n}, axis={axis}, epsilon={eps}, "
                  "center={center}, scale={scale}, name={name})({x})",
                  n=groups, axis=_channels(p), **_centre(p))  # fmt: skip


# -------------------------------------------------------------------------------------- others


def _linear(p: Parts) -> Expr:
    return p.fill(
        f"keras.layers.Dense({{features}}, use_bias={{bias}}, {STARTED}, name={{name}})({{x}})",
        bias=p.unless("bias", True), **started(p),
    )  # fmt: skip


def _embedding(kind: str) -> str:
    return (f"keras.layers.{kind}({{count}}, {{width}}, embeddings_initializer="
            "keras.initializers.RandomNormal(stddev=1), name={name})({index})")  # fmt: skip


REVERSIBLE: Rule = _embedding("ReversibleEmbedding")
"""An embedding whose weight also gives the logits; `name` is a part where it is used."""


def _prelu(p: Parts) -> Expr:
    """One slope a channel, or one for all."""
    last = p.x.type.rank if is_literal(p["per_channel"], False) else p.x.type.rank - 1
    shared = list(range(1, last))
    return p.fill(
        "keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes={shared}, name={name})"
        "({x})",
        shared=literal(shared) if shared else None,
    )


def _attention(p: Parts) -> Expr:
    context = p["context"] if p["context"] is not None else p["x"]
    bias = p.unless("bias", True)
    if own(p.apply):
        return p.fill(
            "Attention({heads}, use_bias={bias}, causal={causal}, scale={scale}, name={name})("
            "{x}, {context}, keep={keep}, attention_mask={mask})",
            context=context, bias=bias, causal=p.unless("causal", False),
        )  # fmt: skip
    size = width(p)
    start = tree("uniform({size})", size=size)
    return p.fill(
        f"keras.layers.MultiHeadAttention({{heads}}, {{width}} // {{heads}}, use_bias={{bias}}, "
        f"{STARTED}, name={{name}})({{x}}, {{context}}, use_causal_mask={{causal}})",
        width=size, context=context, bias=bias, causal=p.unless("causal", False),
        kernel_start=start, bias_start=start if bias is None else None,
    )  # fmt: skip


def _conv_by(p: Parts) -> Expr:
    """A convolution by a tensor: (out, in, *kernel) as (*kernel, in, out)."""
    count = rank(p)
    stride, dilation = each(p["stride"], count), each(p["dilation"], count)
    apart = not ones(stride) and not ones(dilation)
    padding, rows = _padding(p, apart)
    x = p["x"]
    if rows:
        zero = (literal(0), literal(0))
        whole = [ast.Tuple(list(row), ast.Load()) for row in (zero, *rows, zero)]
        x = p.fill("keras.ops.pad({x}, (*{rows},))", rows=whole)
    y = p.fill(
        "keras.ops.conv({x}, {kernel}, {stride}, padding={padding}, dilation_rate={dilation}, "
        "data_format='channels_last')",
        x=x, kernel=transposed(p["weight"], (*range(2, count + 2), 1, 0)), padding=padding,
        stride=literal(1) if apart else short(stride),
        dilation=None if ones(dilation) else short(dilation),
    )  # fmt: skip
    y = _strided(y, stride) if apart else y
    return y if p["bias_tensor"] is None else tree("{y} + {b}", y=y, b=p["bias_tensor"])


def _channel_dropout(p: Parts) -> Expr:
    if not p.x.order:
        shape = literal((None, None, *(1,) * rank(p)))
        return p.fill("keras.layers.Dropout({rate}, {shape}, name={name})({x})", shape=shape)
    return p.fill(f"keras.layers.SpatialDropout{rank(p)}D({{rate}}, name={{name}})({{x}})")


def _drop_path(p: Parts) -> Expr:
    shape = literal((None, *(1,) * (p.x.type.rank - 1)))
    return p.fill("keras.layers.Dropout({rate}, {shape}, name={name})({x})", shape=shape)


TENSORS: Mapping[str, Rule] = {**RULES, "conv": _conv_by}
"""Ops on tensors alone, as they are written outside layers."""

WITHIN: Mapping[str, Rule] = {**INSIDE, "conv": _conv_by}
"""The same inside a layer's `call`."""

CONVENTIONS = frozenset(
    {"use_bias", "center", "scale", "kernel_initializer", "momentum", "epsilon"}
)
"""Arguments that are the same for all layers of a kind."""

LAYERS: Mapping[str, Rule] = {
    "conv": _conv, "conv_transpose": conv_transpose, "linear": _linear,
    "embedding": _embedding("Embedding"),
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "group_norm": _group_norm, "instance_norm": _group_norm, "prelu": _prelu,
    "dropout": "keras.layers.Dropout({rate}, name={name})({x})",
    "channel_dropout": _channel_dropout, "drop_path": _drop_path, "attention": _attention,
    **dict.fromkeys(KINDS, recurrent),
}  # fmt: skip
"""Layers with a name."""

POOLS: Mapping[str, Rule] = {"max_pool": _pool("Max"), "avg_pool": _pool("Average")}
"""Layers without weights."""


# ------------------------------------------------------------------------------------ exactness


def native(node: Node) -> bool:
    """Whether Keras has exactly this; the rest is written out in smaller ops."""
    name, attrs = node.op.name, node.attrs
    if node.op is NOISE or is_masked(node):
        return attrs.get("training") is None
    if name == "while":
        return attrs["bound"] is None  # on JAX, while_loop has no reverse mode
    if name in POOLS:
        return _pools(node)
    if name == "resize":
        return resizes(node)
    if name in PLACED:
        return PLACED[name](node)
    if name in ("var", "std"):
        return bool(attrs["correction"] == 0)
    if name not in LAYERS or (node.layer is None and name in TENSORS):
        return name in TENSORS
    if node.layer is None:
        return False
    match name:
        case "attention":
            return attrs["kv_heads"] is None
        case "embedding":
            return attrs["padding"] is None and not _still(node.values[0])
        case "rms_norm":
            return bool(attrs["affine"]) and _at_the_end(node)
        case "layer_norm":
            return _at_the_end(node)
        case "group_norm" | "instance_norm":
            return bool(attrs["affine"]) or isinstance(node.values[0].type.shape[1], int)
        case "dropout" | "channel_dropout" | "drop_path":
            return node.inputs[1] is None
    return True


def _still(value: Value) -> bool:
    """Whether a tensor depends on no input; no layer of a Keras model may be applied to it."""
    return value.node is not None and all(map(_still, value.node.values))


def _at_the_end(node: Node) -> bool:
    """Whether a norm is over the last axes."""
    x = node.inputs[0]
    assert x is not None
    axes = tuple(node.attrs["axes"])
    return axes == tuple(range(x.type.rank - len(axes), x.type.rank))


def _pools(node: Node) -> bool:
    """Keras pools have no dilation and no ceiling, and count no padding that they make."""
    attrs, x = node.attrs, node.inputs[0]
    assert x is not None
    dilation = attrs.get("dilation", 1)
    plain = dilation == 1 or (isinstance(dilation, tuple) and set(dilation) == {1})
    if attrs["ceil"] or not plain:
        return False
    if node.op.name == "max_pool":
        return True
    if attrs["pad"] == "same":
        return not attrs["count_pad"] or _unpadded(node)
    window = Window.of(x.type.shape[2:], attrs["kernel"], attrs["stride"], attrs["pad"])
    same = set(window.stride) == {1} and all(
        pair == ((k - 1) // 2, k // 2) for pair, k in zip(window.pads, window.kernel, strict=True)
    )
    return attrs["count_pad"] or same or _unpadded(node)


def _unpadded(node: Node) -> bool:
    attrs, x = node.attrs, node.inputs[0]
    assert x is not None
    window = Window.of(x.type.shape[2:], attrs["kernel"], attrs["stride"], attrs["pad"])
    return all(side == 0 for pair in window.pads for side in pair)


__all__ = [
    "CONVENTIONS",
    "LAYERS",
    "POOLS",
    "REVERSIBLE",
    "TENSORS",
    "WITHIN",
    "depthwise",
    "native",
]
