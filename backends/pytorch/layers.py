"""How PyTorch constructs and applies layers, with every default that frameworks disagree on."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import number, real
from . import recurrent
from .dtypes import long
from .reductions import axis
from .shapes import elements
from .windows import cropped, cropping, padded, padding, pooling, spatial, taps


def _size(p: Parts, axis: int) -> Expr:
    """A size of the first input, in the names of the constructor."""
    return p.place(literal(p.x.type.shape[axis]))


def _bias(p: Parts) -> Expr | None:
    return p.unless("bias", True)


# ------------------------------------------------------------------------------------------ layers


def _conv(p: Parts) -> Expr:
    return p.fill(
        f"nn.Conv{spatial(p)}d({{C}}, {{features}}, {{kernel}}, stride={{stride}}, "
        "padding={pad}, dilation={dilation}, groups={groups}, bias={bias})",
        **{**taps(p), "C": _size(p, 1), "bias": _bias(p)},
    )


def _conv_transpose(p: Parts) -> Expr:
    pad, _ = cropping(p)
    return p.fill(
        f"nn.ConvTranspose{spatial(p)}d({{C}}, {{features}}, {{kernel}}, stride={{stride}}, "
        "padding={pad}, output_padding={out}, groups={groups}, bias={bias}, dilation={dilation})",
        **{**taps(p), "C": _size(p, 1), "pad": pad, "bias": _bias(p),
           "out": p.unless("output_pad", 0)},
    )  # fmt: skip


def _linear(p: Parts) -> Expr:
    return p.fill("nn.Linear({C}, {features}, bias={bias})", C=_size(p, -1), bias=_bias(p))


def _bilinear(p: Parts) -> Expr:
    other = p.var("b")
    assert other is not None
    return p.fill(
        "nn.Bilinear({n}, {m}, {features}, bias={bias})",
        n=_size(p, -1), m=p.place(literal(other.type.shape[-1])), bias=_bias(p),
    )  # fmt: skip


def _batch_norm(p: Parts) -> Expr:
    dims = {2: 1, 3: 1, 4: 2, 5: 3}[p.x.type.rank]
    return p.fill(
        f"nn.BatchNorm{dims}d({{C}}, eps={{eps}}, momentum={{momentum}}, affine={{affine}})",
        C=_size(p, 1), affine=p.unless("affine", True),
    )  # fmt: skip


def _over_axes(kind: str, bias: bool) -> Rule:
    """A norm over the last axes, which share one weight."""

    def rule(p: Parts) -> Expr:
        axes = p.fixed("axes")
        sizes = [_size(p, axis) for axis in axes]
        shape = sizes[0] if len(sizes) == 1 else ast.Tuple(sizes, ast.Load())
        return p.fill(
            f"nn.{kind}({{shape}}, eps={{eps}}, elementwise_affine={{affine}}, bias={{bias}})",
            shape=shape, affine=p.unless("affine", True), bias=_bias(p) if bias else None,
        )  # fmt: skip

    return rule


def _group_norm(p: Parts) -> Expr:
    return p.fill(
        "nn.GroupNorm({groups}, {C}, eps={eps}, affine={affine})",
        C=_size(p, 1), affine=p.unless("affine", True),
    )  # fmt: skip


def _instance_norm(p: Parts) -> Expr:
    """The only norm of PyTorch that has no weight unless told."""
    return p.fill(
        f"nn.InstanceNorm{spatial(p)}d({{C}}, eps={{eps}}, affine={{affine}})",
        C=_size(p, 1), affine=p.unless("affine", False),
    )  # fmt: skip


def _prelu(p: Parts) -> Expr:
    (weight,) = p.apply.weights.values()
    size = weight.shape[0]
    return p.fill("nn.PReLU({n})", n=None if size == 1 else p.place(literal(size)))


def _embedding_bag(p: Parts) -> Expr:
    mode = p.unless("mode", "mean")
    return p.fill("nn.EmbeddingBag({count}, {width}, mode={mode})", mode=mode)


LAYERS: Mapping[str, Rule] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear,
    "bilinear": _bilinear,
    "embedding": "nn.Embedding({count}, {width}, padding_idx={padding})", "batch_norm": _batch_norm,
    "layer_norm": _over_axes("LayerNorm", True), "rms_norm": _over_axes("RMSNorm", False),
    "group_norm": _group_norm, "instance_norm": _instance_norm, "prelu": _prelu,
    "embedding_bag": _embedding_bag,
    "dropout": "nn.Dropout({rate})", "drop_path": "nn.Dropout({rate})",
    "channel_dropout": lambda p: p.fill(f"nn.Dropout{spatial(p)}d({{rate}})"),
    **recurrent.MADE,
}  # fmt: skip
"""Constructors by op; that of `attention` belongs to the file's own class."""


def _apply_conv(p: Parts) -> Expr:
    return p.fill("{name}({x})", x=padded(p, p["x"]))


def _apply_transpose(p: Parts) -> Expr:
    return cropped(p, p.fill("{name}({x})"))


def _apply_embedding(p: Parts) -> Expr:
    narrow = p.x.type.dtype not in ("i32", "i64")
    return p.fill("{name}({index})", index=long(p, "index") if narrow else p["index"])


def _apply_bag(p: Parts) -> Expr:
    narrow = p.x.type.dtype not in ("i32", "i64")
    return p.fill("{name}({index}, per_sample_weights={share})",
                  index=long(p, "index") if narrow else p["index"])  # fmt: skip


def _apply_path(p: Parts) -> Expr:
    """Drops of a number for each example; an example whose number is gone is gone."""
    ones = [literal(1)] * (p.x.type.rank - 1)
    return p.fill("{x} * {name}({x}.new_ones({x}.shape[0], *{ones}))", ones=ones)


APPLIED: Mapping[str, Rule | None] = {
    **dict.fromkeys(LAYERS), "conv": _apply_conv, "conv_transpose": _apply_transpose,
    "bilinear": "{name}({a}, {b})",
    "embedding": _apply_embedding, "embedding_bag": _apply_bag, "drop_path": _apply_path,
    **recurrent.APPLIED,
}  # fmt: skip
"""How layers are applied, None for just `f(x)`."""


# ------------------------------------------------------------------- modules of ops without weights


def _axis(name: str) -> Rule:
    return lambda p: p.fill(f"nn.{name}(dim={{axis}})", axis=axis(p))


def _alpha(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"nn.{name}({{a}})", a=None if number(p["alpha"]) == 1 else p["alpha"])

    return rule


def _max_pool(p: Parts) -> Expr:
    return p.fill(
        f"nn.MaxPool{spatial(p)}d({{kernel}}, stride={{stride}}, padding={{pad}}, "
        "dilation={dilation}, ceil_mode={ceil})",
        **pooling(p),
    )


def _avg_pool(p: Parts) -> Expr:
    return p.fill(
        f"nn.AvgPool{spatial(p)}d({{kernel}}, stride={{stride}}, padding={{pad}}, "
        "ceil_mode={ceil}, count_include_pad={count})",
        **pooling(p),
    )


def _flatten(p: Parts) -> Expr:
    last = p.fixed("end") in (-1, p.x.type.rank - 1)
    return p.fill(
        "nn.Flatten({start}, {end})",
        start=None if last and p.fixed("start") == 1 else p["start"], end=None if last else p["end"]
    )  # fmt: skip


def _gelu(p: Parts) -> Expr:
    return p.fill("nn.GELU(approximate={a})", a=p.unless("approximate", "none"))


MODULES: Mapping[str, Rule] = {
    **{op: f"nn.{name}()" for op, name in {
        "relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "mish": "Mish", "sigmoid": "Sigmoid",
        "tanh": "Tanh", "softplus": "Softplus", "softsign": "Softsign", "selu": "SELU",
        "hard_sigmoid": "Hardsigmoid", "hard_swish": "Hardswish", "hard_tanh": "Hardtanh",
        "identity": "Identity"}.items()},
    "gelu": _gelu, "elu": _alpha("ELU"), "celu": _alpha("CELU"),
    "log_sigmoid": "nn.LogSigmoid()", "tanh_shrink": "nn.Tanhshrink()",
    "threshold": "nn.Threshold({bound}, {value})", "hard_shrink": "nn.Hardshrink({bound})",
    "soft_shrink": "nn.Softshrink({bound})", "pixel_shuffle": "nn.PixelShuffle({factor})",
    "pixel_unshuffle": "nn.PixelUnshuffle({factor})",
    "leaky_relu": "nn.LeakyReLU({slope})", "softmax": _axis("Softmax"),
    "log_softmax": _axis("LogSoftmax"), "glu": _axis("GLU"),
    "max_pool": _max_pool, "avg_pool": _avg_pool, "flatten": _flatten,
}  # fmt: skip
"""Modules of ops without weights, for linear branches that become one `nn.Sequential`."""


def around(p: Parts) -> tuple[Expr | None, Expr | None]:
    """The modules that a stage of an `nn.Sequential` needs before and after itself."""
    if p.op.name == "conv_transpose":
        _, cut = cropping(p)
        return None, _pad_module(p, cut, 0.0)
    if p.op.name in ("conv", "max_pool", "avg_pool"):
        _, before = padding(p)
        return _pad_module(p, before, float("-inf") if p.op.name == "max_pool" else 0.0), None
    return None, None


def _pad_module(p: Parts, pads: Expr | None, value: float) -> Expr | None:
    if pads is None or all(number(end) == 0 for end in elements(pads)):
        return None
    return p.fill(f"nn.ConstantPad{spatial(p)}d({{pads}}, {{value}})", pads=pads, value=real(value))
