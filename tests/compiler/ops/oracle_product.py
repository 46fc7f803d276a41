"""Sums of products, norms of other powers, and losses of classes and of vectors, in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from tests.compiler.ops.oracle_reduce import over


def norm(power: float) -> Any:
    return over(lambda x, axes, keepdim: torch.linalg.vector_norm(x, power, axes, keepdim))


def classes_first(x: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.movedim(x, axis, 1) if x.ndim > 1 else x


def cross_entropy(
    x: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None, axis: int, reduction: str,
    smoothing: float, ignore: int | None,
) -> torch.Tensor:  # fmt: skip
    x, label = classes_first(x, axis), label.long()
    ignore = -100 if ignore is None else ignore
    own = weight if weight is None else weight.detach()
    found = F.cross_entropy(
        x, label, own, reduction=reduction, ignore_index=ignore, label_smoothing=smoothing
    )
    if weight is None:
        return found
    again = weighed(x, label, weight, reduction, smoothing, ignore)
    torch.testing.assert_close(again, found, rtol=1e-12, atol=1e-12)
    return again


def weighed(
    x: torch.Tensor, label: torch.Tensor, weight: torch.Tensor, reduction: str, smoothing: float,
    ignore: int,
) -> torch.Tensor:  # fmt: skip
    """The same again, as torch has no derivative by the weights of classes."""
    kept = (label != ignore).double()
    label = torch.where(label == ignore, 0, label)
    terms = -torch.log_softmax(x, 1).movedim(1, -1) * weight
    share = weight[label] * kept
    each = terms.gather(-1, label[..., None])[..., 0] * (1 - smoothing)
    each = (each + terms.sum(-1) * smoothing / len(weight)) * kept
    return each.sum() / share.sum() if reduction == "mean" else reduce(each, reduction)


def soft_cross_entropy(
    x: torch.Tensor, target: torch.Tensor, axis: int, reduction: str, smoothing: float
) -> torch.Tensor:
    x, target = classes_first(x, axis), classes_first(target, axis)
    return F.cross_entropy(x, target, reduction=reduction, label_smoothing=smoothing)


def nll_loss(x: torch.Tensor, label: torch.Tensor, axis: int, reduction: str) -> torch.Tensor:
    return F.nll_loss(classes_first(x, axis), label.long(), reduction=reduction)


def reduce(each: torch.Tensor, reduction: str) -> torch.Tensor:
    return {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction](each)


def hinge(x: torch.Tensor, target: torch.Tensor, margin: float, reduction: str) -> torch.Tensor:
    return reduce(F.relu(margin - x * target), reduction)


def cosine_loss(
    x: torch.Tensor, target: torch.Tensor, axis: int, eps: float, reduction: str
) -> torch.Tensor:
    return reduce(1 - F.cosine_similarity(x, target, axis, eps), reduction)


def triplet_loss(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float,
    axis: int, eps: float, reduction: str,
) -> torch.Tensor:  # fmt: skip
    rows = (x.movedim(axis, -1) for x in (anchor, positive, negative))
    return F.triplet_margin_loss(*rows, margin, 2.0, eps, reduction=reduction)


PRODUCT = {
    "einsum": lambda *xs, spec: torch.einsum(spec, *xs),
    "bilinear": lambda a, b, weight, bias, /, **_: F.bilinear(a, b, weight, bias),
    "l1_norm": norm(1),
    "max_norm": norm(float("inf")),
    "lp_norm": lambda x, power, axes, keep: norm(power)(x, axes, keep),
    "cosine_similarity": lambda a, b, axis, eps: F.cosine_similarity(a, b, axis, eps),
    "cross_entropy": cross_entropy,
    "soft_cross_entropy": soft_cross_entropy,
    "nll_loss": nll_loss,
    "hinge": hinge,
    "cosine_loss": cosine_loss,
    "triplet_loss": triplet_loss,
}
