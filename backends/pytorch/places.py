"""How PyTorch puts elements in order, moves and replaces them, and counts."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import number, tree
from .dtypes import dtype, long
from .reductions import axes, axis


def _order(p: Parts, template: str) -> Expr:
    """Stable, so that the first of equal elements comes first."""
    return p.fill(template, axis=axis(p), down=p.unless("descending", False))


def _argsort(p: Parts) -> Expr:
    return _order(p, "{x}.argsort(dim={axis}, descending={down}, stable=True).to(torch.int32)")


def _sort(p: Parts) -> Expr:
    return _order(p, "{x}.sort(dim={axis}, descending={down}, stable=True).values")


def _scatter(p: Parts) -> Expr:
    return p.fill("{x}.scatter({axis}, {i}, {updates})", axis=axis(p), i=long(p, "index"))


def _scatter_max(p: Parts) -> Expr:
    template = '{x}.scatter_reduce({axis}, {i}, {updates}, "amax")'
    return p.fill(template, axis=axis(p), i=long(p, "index"))


def _dynamic_update(p: Parts) -> Expr:
    update = p.var("update")
    assert update is not None
    at = p.fixed("axis")
    size = update.type.shape[at]
    count = (
        literal(size) if isinstance(size, int) else p.fill("{update}.shape[{axis}]", axis=axis(p))
    )
    places = tree("torch.arange({n}, device={device})", n=count, device=p.device)
    return p.fill(
        "{x}.index_copy({axis}, {start} + {places}, {update})", axis=axis(p), places=places
    )


def _roll(p: Parts) -> Expr:
    return p.fill("{x}.roll({shift}, {axes})", shift=_one(p["shift"]), axes=_one(p["axes"]))


def _one(axes: Expr) -> Expr:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def _range(p: Parts) -> Expr:
    name = p.fixed("dtype")
    return p.fill(
        "torch.arange({start}, {end}, {step}, dtype={dtype}, device={device})",
        step=p.unless("step", 1), dtype=None if name == "i64" else dtype(name), device=p.device,
    )  # fmt: skip


def _cumprod(p: Parts) -> Expr:
    narrow = not p.x.type.floating and p.x.type.dtype != "i64"
    kind = dtype(p.x.type.dtype) if narrow else None
    return p.fill("{x}.cumprod(dim={axis}, dtype={dtype})", axis=axis(p), dtype=kind)


# ------------------------------------------------------------------------------- norms and losses


def _norm(power: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(
            f"torch.linalg.vector_norm({{x}}, {power}, dim={{dim}}, keepdim={{keep}})",
            dim=axes(p), keep=p.unless("keep", False),
        )  # fmt: skip

    return rule


def _cosine(p: Parts) -> Expr:
    return p.fill(
        "F.cosine_similarity({a}, {b}, dim={dim}, eps={eps})",
        dim=axis(p), eps=p.unless("eps", 1e-8),
    )  # fmt: skip


def classes_first(p: Parts, name: str) -> Expr:
    """A tensor with its classes on axis 1, where PyTorch wants them."""
    found: Expr = p[name]
    if p.x.type.rank > 1 and p.fixed("axis") != 1:
        return tree("{x}.movedim({axis}, 1)", x=found, axis=axis(p))
    return found


def _soft_cross_entropy(p: Parts) -> Expr:
    return p.fill(
        "F.cross_entropy({logits}, {target}, reduction={reduction}, label_smoothing={smoothing})",
        logits=classes_first(p, "logits"), target=classes_first(p, "target"),
        reduction=p.unless("reduction", "mean"), smoothing=p.unless("smoothing", 0.0),
    )  # fmt: skip


def _nll_loss(p: Parts) -> Expr:
    return p.fill(
        "F.nll_loss({log_prob}, {label}, reduction={reduction})",
        log_prob=classes_first(p, "log_prob"), label=long(p, "label"),
        reduction=p.unless("reduction", "mean"),
    )  # fmt: skip


def _triplet(p: Parts) -> Expr:
    """PyTorch's vectors are along the last axis."""
    names = ("anchor", "positive", "negative")
    last = p.fixed("axis") == p.x.type.rank - 1
    rows = [p[n] if last else tree("{x}.movedim({a}, -1)", x=p[n], a=axis(p)) for n in names]
    return p.fill(
        "F.triplet_margin_loss(*{rows}, margin={margin}, eps={eps}, reduction={reduction})",
        rows=rows, margin=p.unless("margin", 1.0), eps=p.unless("eps", 1e-6),
        reduction=p.unless("reduction", "mean"),
    )  # fmt: skip


# ------------------------------------------------------------------------- functions of two tensors


def _pair(template: str) -> Rule:
    """A function that takes tensors alone."""

    def rule(p: Parts) -> Expr:
        a, b = p["a"], p["b"]
        if p.is_number("a"):
            a = p.fill("torch.full_like({b}, {a})")
        if p.is_number("b"):
            b = p.fill("torch.full_like({a}, {b})")
        return p.fill(template, a=a, b=b)

    return rule


PLACES: Mapping[str, Rule] = {
    "argsort": _argsort, "sort": _sort, "scatter": _scatter, "scatter_max": _scatter_max,
    "dynamic_update": _dynamic_update, "roll": _roll, "arange": _range, "cumprod": _cumprod,
    "bitwise_and": "{a} & {b}", "bitwise_or": "{a} | {b}", "bitwise_xor": "{a} ^ {b}",
    "bitwise_not": "~{x}", "shift_left": "{a} << {b}", "shift_right": "{a} >> {b}",
    "einsum": "torch.einsum({spec}, *{xs})", "cosine_similarity": _cosine,
    "l1_norm": _norm("1"), "max_norm": _norm('float("inf")'), "lp_norm": _norm("{power}"),
    "soft_cross_entropy": _soft_cross_entropy, "nll_loss": _nll_loss, "triplet_loss": _triplet,
    "trunc_div": _pair('torch.div({a}, {b}, rounding_mode="trunc")'),
    **{name: _pair(f"torch.{name}({{a}}, {{b}})") for name in (
        "fmod", "atan2", "logaddexp", "xlogy")},
    **{name: f"torch.{name}({{x}})" for name in (
        "trunc", "isfinite", "asinh", "acosh", "atanh", "exp2", "log2", "log10")},
}  # fmt: skip
"""By the name of the op."""
