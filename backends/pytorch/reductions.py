"""What PyTorch reduces, and what it computes along an axis."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import tree
from .dtypes import dtype


def axis(p: Parts, name: str = "axis") -> Expr:
    """An axis, the last one as -1."""
    value = p.value(name)
    last = value is not None and value == p.x.type.rank - 1 and value > 0
    found: Expr = literal(-1) if last else p[name]
    return found


def _along(name: str) -> Rule:
    return lambda p: p.fill(f"F.{name}({{x}}, dim={{axis}})", axis=axis(p))


def axes(p: Parts, every: bool = False) -> Expr | None:
    """`1`, `-1` or `(0, 2)`; None for all axes, unless `every` or `keep` needs them in full."""
    given = p.value("axes")
    if given is None and p["axes"] is None:
        full = every or p.unless("keep", False) is not None
        return literal(tuple(range(p.x.type.rank))) if full else None
    if isinstance(given, tuple) and len(given) == 1:
        return literal(-1 if given[0] == p.x.type.rank - 1 > 0 else given[0])
    found: Expr = p["axes"]
    return found


def _reduce(name: str, *, every: bool = False, whole: bool = False) -> Rule:
    """A method that reduces; `whole` says that it makes i64 of other integers."""

    def rule(p: Parts) -> Expr:
        narrow = whole and not p.x.type.floating and p.x.type.dtype != "i64"
        return p.fill(
            f"{{x}}.{name}(dim={{dim}}, keepdim={{keep}}, dtype={{dtype}})",
            dim=axes(p, every), keep=p.unless("keep", False),
            dtype=dtype(p.x.type.dtype) if narrow else None,
        )  # fmt: skip

    return rule


def _spread(p: Parts) -> Expr:
    return p.fill(
        f"{{x}}.{p.op.name}(dim={{dim}}, correction={{correction}}, keepdim={{keep}})",
        dim=axes(p), keep=p.unless("keep", False),
    )  # fmt: skip


def _l2_norm(p: Parts) -> Expr:
    return p.fill(
        "torch.linalg.vector_norm({x}, dim={dim}, keepdim={keep})",
        dim=axes(p), keep=p.unless("keep", False),
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


REDUCTIONS: Mapping[str, Rule] = {
    "sum": _reduce("sum", whole=True), "mean": _reduce("mean"), "prod": _prod,
    "max": _reduce("amax"), "min": _reduce("amin"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _reduce("logsumexp", every=True), "l2_norm": _l2_norm,
    "var": _spread, "std": _spread, "argmax": _arg, "argmin": _arg, "cumsum": _cumsum,
    "softmax": _along("softmax"), "log_softmax": _along("log_softmax"), "glu": _along("glu"),
}  # fmt: skip
"""By the name of the op."""
