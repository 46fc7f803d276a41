"""How PyTorch writes each op: a template, or a function for the ones that need thought.

What stands here is exactly the op; whatever PyTorch has only in part is left to `native`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.computation import number as written
from ..source.parts import Parts, Rule
from ..source.tree import number, real, tree
from .attention import sdpa
from .shapes import SHAPES
from .windows import WINDOWS

DTYPES: Mapping[str, str] = {
    "bool": "torch.bool", "u8": "torch.uint8", "i8": "torch.int8", "i16": "torch.int16",
    "i32": "torch.int32", "i64": "torch.int64", "f16": "torch.float16",
    "bf16": "torch.bfloat16", "f32": "torch.get_default_dtype()", "f64": "torch.float64",
}  # fmt: skip
"""Dtypes as PyTorch names them; the default float follows PyTorch's default."""


def dtype(name: str) -> Expr:
    """The dtype as a tree."""
    return tree(DTYPES[name])


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


def _cast(p: Parts) -> Expr:
    return p.fill("{x}.to({dtype})", dtype=dtype(p.fixed("dtype")))


# ------------------------------------------------------------------------------ element by element


def _binary(operator: str) -> Rule:
    return f"{{a}} {operator} {{b}}"


def _unary(name: str) -> Rule:
    return f"{name}({{x}})"


def _pow(p: Parts) -> Expr:
    """`x**2` for `x**2.0`."""
    power = number(p["b"])
    whole = isinstance(power, float) and power.is_integer() and p.is_number("b")
    return p.fill("{a} ** {n}", n=literal(int(power)) if whole else p["b"])


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


# ------------------------------------------------------------------------------------- over axes


def axis(p: Parts, name: str = "axis") -> Expr:
    """An axis, the last one as -1."""
    value = p.value(name)
    last = value is not None and value == p.x.type.rank - 1 and value > 0
    found: Expr = literal(-1) if last else p[name]
    return found


def _along(name: str) -> Rule:
    return lambda p: p.fill(f"F.{name}({{x}}, dim={{axis}})", axis=axis(p))


def _axes(p: Parts, every: bool = False) -> Expr | None:
    """`1`, `-1` or `(0, 2)`; None for all axes, unless `every` or `keep` needs them in full."""
    axes = p.value("axes")
    if axes is None and p["axes"] is None:
        full = every or p.unless("keep", False) is not None
        return literal(tuple(range(p.x.type.rank))) if full else None
    if isinstance(axes, tuple) and len(axes) == 1:
        return literal(-1 if axes[0] == p.x.type.rank - 1 > 0 else axes[0])
    found: Expr = p["axes"]
    return found


def _reduce(name: str, *, every: bool = False, whole: bool = False) -> Rule:
    """A method that reduces; `whole` says that it makes i64 of other integers."""

    def rule(p: Parts) -> Expr:
        narrow = whole and not p.x.type.floating and p.x.type.dtype != "i64"
        return p.fill(
            f"{{x}}.{name}(dim={{dim}}, keepdim={{keep}}, dtype={{dtype}})",
            dim=_axes(p, every), keep=p.unless("keep", False),
            dtype=dtype(p.x.type.dtype) if narrow else None,
        )  # fmt: skip

    return rule


def _spread(p: Parts) -> Expr:
    return p.fill(
        f"{{x}}.{p.op.name}(dim={{dim}}, correction={{correction}}, keepdim={{keep}})",
        dim=_axes(p), keep=p.unless("keep", False),
    )  # fmt: skip


def _l2_norm(p: Parts) -> Expr:
    return p.fill(
        "torch.linalg.vector_norm({x}, dim={dim}, keepdim={keep})",
        dim=_axes(p), keep=p.unless("keep", False),
    )  # fmt: skip


def _prod(p: Parts) -> Expr:
    """PyTorch multiplies along one axis, or all of them."""
    axes, keep = p.fixed("axes"), p.unless("keep", False)
    floating, wide = p.x.type.floating, p.x.type.dtype == "i64"
    kind = None if floating or wide else dtype(p.x.type.dtype)
    if axes is None and keep is None:
        return p.fill("{x}.prod(dtype={dtype})", dtype=kind)
    result: Expr = p["x"]
    for one in sorted(range(p.x.type.rank) if axes is None else axes, reverse=True):
        result = tree("{x}.prod(dim={dim}, keepdim={keep}, dtype={dtype})",
                      x=result, dim=literal(one), keep=keep, dtype=kind)  # fmt: skip
    return result


def _arg(p: Parts) -> Expr:
    return p.fill(
        f"{{x}}.{p.op.name}(dim={{dim}}, keepdim={{keep}}).to(torch.int32)",
        dim=axis(p), keep=p.unless("keep", False),
    )  # fmt: skip


def _cumsum(p: Parts) -> Expr:
    narrow = not p.x.type.floating and p.x.type.dtype != "i64"
    kind = dtype(p.x.type.dtype) if narrow else None
    return p.fill("{x}.cumsum(dim={axis}, dtype={dtype})", axis=axis(p), dtype=kind)


# ----------------------------------------------------------------------------------------- losses


def _loss(name: str, first: str = "x", more: str = "") -> Rule:
    template = f"F.{name}({{{first}}}, {{target}}, {more}reduction={{reduction}})"
    return lambda p: p.fill(template, reduction=p.unless("reduction", "mean"))


def _kl_div(p: Parts) -> Expr:
    """PyTorch warns of its own mean."""
    if p.fixed("reduction") == "mean":
        return p.fill('F.kl_div({log_prob}, {target}, reduction="none").mean()')
    return p.fill("F.kl_div({log_prob}, {target}, reduction={reduction})")


def _cross_entropy(p: Parts) -> Expr:
    """PyTorch has the classes on axis 1, and wants labels of 64 bits."""
    at, rank = p.fixed("axis"), p.x.type.rank
    logits = p["logits"]
    if rank > 1 and at != 1:
        logits = tree("{x}.movedim({axis}, 1)", x=logits, axis=axis(p))
    return p.fill(
        "F.cross_entropy({logits}, {label}, reduction={reduction})",
        logits=logits, label=long(p, "label"), reduction=p.unless("reduction", "mean"),
    )  # fmt: skip


def long(p: Parts, name: str) -> Expr:
    """An index in 64 bits."""
    var = p.var(name)
    assert var is not None
    found: Expr = p[name] if var.type.dtype == "i64" else tree("{i}.long()", i=p[name])
    return found


# ------------------------------------------------------------------------------- taking by position


def _gather(p: Parts) -> Expr:
    """`x[:, index]`; a single index as one of a row, so that its value need not be known."""
    var = p.var("index")
    assert var is not None
    before: list[Expr] = [ast.Slice() for _ in range(p.fixed("axis"))]
    index = p["index"] if var.type.dtype in ("i32", "i64") else long(p, "index")
    if var.type.rank == 0:
        row = tree("{i}.unsqueeze(0)", i=index)
        return p.fill("{x}.index_select({axis}, {row}).squeeze({axis})", axis=axis(p), row=row)
    where = ast.Tuple([*before, index], ast.Load()) if before else index
    return ast.Subscript(p["x"], where, ast.Load())


def _dtype(p: Parts, name: str) -> str:
    var = p.var(name)
    assert var is not None
    return var.type.dtype


def _gather_elements(p: Parts) -> Expr:
    return p.fill("{x}.gather({axis}, {i})", axis=axis(p), i=long(p, "index"))


def _scatter_add(p: Parts) -> Expr:
    return p.fill("{x}.scatter_add({axis}, {i}, {updates})", axis=axis(p), i=long(p, "index"))


def _embedding(p: Parts) -> Expr:
    index = p["index"] if _dtype(p, "index") in ("i32", "i64") else long(p, "index")
    return p.fill("F.embedding({index}, {weight})", index=index)


def _prelu(p: Parts) -> Expr:
    return p.fill("F.prelu({x}, {weight})")


RULES: Mapping[str, Rule] = {
    "constant": _constant, "iota": _iota, "cast": _cast,
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
    "leaky_relu": "F.leaky_relu({x}, {slope})", "gelu": _gelu, "glu": _along("glu"),
    "prelu": _prelu, "softmax": _along("softmax"), "log_softmax": _along("log_softmax"),
    "sum": _reduce("sum", whole=True), "mean": _reduce("mean"), "prod": _prod,
    "max": _reduce("amax"), "min": _reduce("amin"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _reduce("logsumexp", every=True), "l2_norm": _l2_norm,
    "var": _spread, "std": _spread, "argmax": _arg, "argmin": _arg, "cumsum": _cumsum,
    "mse": _loss("mse_loss"), "mae": _loss("l1_loss"),
    "huber": _loss("huber_loss", more="delta={delta}, "),
    "bce_with_logits": _loss("binary_cross_entropy_with_logits", "logits"),
    "kl_div": _kl_div, "cross_entropy": _cross_entropy,
    "gather": _gather, "gather_elements": _gather_elements, "scatter_add": _scatter_add,
    "embedding": _embedding, "linear": "F.linear({x}, {weight}, {bias_tensor})",
    "sdpa": sdpa, "dropout": "F.dropout({x}, {rate}, self.training)", **SHAPES, **WINDOWS,
}  # fmt: skip
"""What PyTorch writes for an op, by its name."""
