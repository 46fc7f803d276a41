"""Attention and dropout in torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def sdpa(
    q: Any, k: Any, v: Any, mask: Any, bias: Any, causal: bool, scale: float | None,
    grouped: bool = False,
) -> torch.Tensor:  # fmt: skip
    if grouped:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    stack = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (x.expand(*stack, *x.shape[-2:]) for x in (q, k, v))
    t, s = q.shape[-2], k.shape[-2]
    allowed = torch.ones(t, s, dtype=torch.bool)
    if causal:
        allowed = allowed.tril(s - t)
    if mask is not None:
        allowed = allowed & mask
    given = allowed
    if bias is not None:
        given = bias.masked_fill(~allowed, -1e30)
    y = F.scaled_dot_product_attention(q, k, v, given, scale=scale)
    return torch.where(allowed.any(-1, keepdim=True), y, 0.0)


def attention(
    x: Any, context: Any, keep: Any, mask: Any, /, *weights: Any, heads: int, causal: bool,
    scale: float | None, **_: Any,
) -> torch.Tensor:  # fmt: skip
    """Head by head."""
    source = x if context is None else context
    q, k, v = (F.linear(y, weights[i], weights[i + 4]) for i, y in enumerate((x, source, source)))
    allowed = torch.ones(x.shape[0], heads, x.shape[1], source.shape[1], dtype=torch.bool)
    if keep is not None:
        allowed = allowed & keep[:, None, None, :]
    if mask is not None:
        allowed = allowed & mask
    parts = zip(*(y.chunk(heads, -1) for y in (q, k, v)), strict=True)
    seen = [sdpa(*part, allowed[:, i], None, causal, scale) for i, part in enumerate(parts)]
    return F.linear(torch.cat(seen, -1), weights[3], weights[7])


def dropout(x: Any, keep: Any, rate: float, training: bool) -> torch.Tensor:
    return x * keep / (1 - rate) if training and rate else x * 1


ATTENTION = {"sdpa": sdpa, "attention": attention, "dropout": dropout}
