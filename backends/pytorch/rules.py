"""How PyTorch writes each op: a template, or a function for the ones that need thought.

What stands here is exactly the op; whatever PyTorch has only in part is left to `native`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.computation import number as written
from ..source.masks import masked
from ..source.parts import Parts, Rule, exponent
from ..source.tree import number, real
from .attention import sdpa
from .dtypes import dtype
from .images import IMAGES
from .places import PLACES
from .positions import POSITIONS
from .reductions import REDUCTIONS
from .rotary import rotary
from .shapes import SHAPES, elements
from .windows import WINDOWS


def _inferred(name: str, values: Expr) -> Expr | None:
    """The dtype to make a tensor with; None where PyTorch takes it by itself."""
    return None if name in ("f32", "bool", "i64") and values is not None else dtype(name)


def _constant(p: Parts) -> Expr:
    """A constant that is needed as a tensor."""
    kind = p.apply.outputs[0].type
    value = p["value"] if kind.rank else written(p.apply, p.place)
    if kind.rank and kind.floating:
        value = _floats(p.apply.values["value"].tolist())
    return p.fill(
        "torch.tensor({value}, dtype={dtype}, device={device})",
        value=value, dtype=_inferred(kind.dtype, value), device=p.device,
    )  # fmt: skip


def _floats(value: object) -> Expr:
    """Nested lists of floats; what has no literal is `float("inf")`."""
    if isinstance(value, list):
        return ast.List([_floats(v) for v in value], ast.Load())
    assert isinstance(value, (int, float))
    return real(value)


def _iota(p: Parts) -> Expr:
    name = p.fixed("dtype")
    return p.fill(
        "torch.arange({size}, dtype={dtype}, device={device})",
        dtype=None if name == "i64" else dtype(name), device=p.device,
    )  # fmt: skip


def _noise(p: Parts) -> Expr:
    name = {"normal": "randn", "uniform": "rand"}[p.fixed("distribution")]
    shape = elements(p["shape"]) or [p["shape"]]
    return p.fill(f"torch.{name}(*{{shape}}, device={{device}})", shape=shape, device=p.device)


def _cast(p: Parts) -> Expr:
    return p.fill("{x}.to({dtype})", dtype=dtype(p.fixed("dtype")))


# ------------------------------------------------------------------------------ element by element


def _binary(operator: str) -> Rule:
    return f"{{a}} {operator} {{b}}"


def _unary(name: str) -> Rule:
    return f"{name}({{x}})"


def _pow(p: Parts) -> Expr:
    return p.fill("{a} ** {n}", n=exponent(p))


def _floor_div(p: Parts) -> Expr:
    """`//` of floats has no gradient in PyTorch, not even zero."""
    if not p.x.type.floating:
        return p.fill("{a} // {b}")
    if p.is_number("a"):
        return p.fill("torch.floor({a} / {b})")
    return p.fill('torch.div({a}, {b}, rounding_mode="floor")')


def _extreme(name: str, bound: str) -> Rule:
    """`torch.maximum` takes tensors alone."""

    def rule(p: Parts) -> Expr:
        for side, other in (("a", "b"), ("b", "a")):
            if p.is_number(side):
                return p.fill(f"{{{other}}}.clamp({bound}={{{side}}})")
        return p.fill(f"torch.{name}({{a}}, {{b}})")

    return rule


def _clamp(p: Parts) -> Expr:
    return p.fill("{x}.clamp(min={low}, max={high})", low=_end(p, "min"), high=_end(p, "max"))


def _end(p: Parts, name: str) -> Expr | None:
    value = p.value(name)
    whole = value is not None and not p.x.type.floating
    found: Expr | None = literal(int(value)) if whole else p[name]
    return found


def _elu(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        alpha = None if number(p["alpha"]) == 1 else p["alpha"]
        return p.fill(f"F.{name}({{x}}, {{alpha}})", alpha=alpha)

    return rule


def _gelu(p: Parts) -> Expr:
    return p.fill("F.gelu({x}, approximate={a})", a=p.unless("approximate", "none"))


# ----------------------------------------------------------------------------------------- losses


def _loss(name: str, first: str = "x", more: str = "") -> Rule:
    template = f"F.{name}({{{first}}}, {{target}}, {more}reduction={{reduction}})"
    return lambda p: p.fill(template, reduction=p.unless("reduction", "mean"))


def _kl_div(p: Parts) -> Expr:
    """PyTorch warns of its own mean."""
    if p.fixed("reduction") == "mean":
        return p.fill('F.kl_div({log_prob}, {target}, reduction="none").mean()')
    return p.fill("F.kl_div({log_prob}, {target}, reduction={reduction})")


# ------------------------------------------------------------------------------------------ noise


def _dropout(p: Parts) -> Expr:
    """By a mask, or by chance: of a number for each example where whole examples are dropped."""
    if p["keep"] is not None:
        return masked(p, "self.training")
    if p.op.name == "channel_dropout":
        return p.fill(f"F.dropout{p.x.type.rank - 2}d({{x}}, {{rate}}, self.training)")
    if p.op.name == "dropout":
        return p.fill("F.dropout({x}, {rate}, self.training)")
    ones = [literal(1)] * (p.x.type.rank - 1)
    template = "{x} * F.dropout({x}.new_ones({x}.shape[0], *{ones}), {rate}, self.training)"
    return p.fill(template, ones=ones)


RULES: Mapping[str, Rule] = {
    "constant": _constant, "iota": _iota, "noise": _noise, "cast": _cast,
    "identity": "{x}", "relayout": "{x}", "stop_gradient": "{x}.detach()",
    "add": _binary("+"), "sub": _binary("-"), "mul": _binary("*"), "div": _binary("/"),
    "mod": _binary("%"), "matmul": _binary("@"), "pow": _pow, "floor_div": _floor_div,
    "neg": "-{x}", "equal": _binary("=="), "not_equal": _binary("!="), "less": _binary("<"),
    "less_equal": _binary("<="), "greater": _binary(">"), "greater_equal": _binary(">="),
    "logical_and": _binary("&"), "logical_or": _binary("|"), "logical_xor": _binary("^"),
    "logical_not": "~{x}",
    "maximum": _extreme("maximum", "min"), "minimum": _extreme("minimum", "max"),
    "clamp": _clamp, "where": "torch.where({condition}, {a}, {b})",
    **{name: _unary(f"torch.{name}") for name in (
        "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square",
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "floor", "ceil",
        "round", "relu", "sigmoid", "tanh", "isnan", "isinf")},
    **{name: _unary(f"F.{name}") for name in (
        "relu6", "silu", "mish", "softplus", "softsign", "selu")},
    "hard_sigmoid": _unary("F.hardsigmoid"), "hard_swish": _unary("F.hardswish"),
    "hard_tanh": _unary("F.hardtanh"), "elu": _elu("elu"), "celu": _elu("celu"),
    "leaky_relu": "F.leaky_relu({x}, {slope})", "gelu": _gelu, "prelu": "F.prelu({x}, {weight})",
    "mse": _loss("mse_loss"), "mae": _loss("l1_loss"),
    "huber": _loss("huber_loss", more="delta={delta}, "),
    "bce_with_logits": _loss("binary_cross_entropy_with_logits", "logits"),
    "kl_div": _kl_div, "linear": "F.linear({x}, {weight}, {bias_tensor})",
    "bilinear": "F.bilinear({a}, {b}, {weight}, {bias_tensor})", "sdpa": sdpa, "rotary": rotary,
    "dropout": _dropout, "channel_dropout": _dropout, "drop_path": _dropout,
    "log_sigmoid": _unary("F.logsigmoid"), "tanh_shrink": _unary("F.tanhshrink"),
    "threshold": "F.threshold({x}, {bound}, {value})", "hard_shrink": "F.hardshrink({x}, {bound})",
    "soft_shrink": "F.softshrink({x}, {bound})",
    **REDUCTIONS, **POSITIONS, **PLACES, **SHAPES, **WINDOWS, **IMAGES,
}  # fmt: skip
"""What PyTorch writes for an op, by its name."""
