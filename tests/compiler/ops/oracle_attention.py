"""Attention and dropout in torch."""

from __future__ import annotations

import math
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


def attention_shares(
    q: Any, k: Any, mask: Any, bias: Any, causal: bool, scale: float | None
) -> torch.Tensor:
    """The values are the unit vectors."""
    every = torch.eye(k.shape[-2], dtype=q.dtype)
    return sdpa(q, k, every, mask, bias, causal, scale)


def attention(
    x: Any, context: Any, keep: Any, mask: Any, /, *weights: Any, heads: int, causal: bool,
    kv_heads: int | None, scale: float | None, **_: Any,
) -> torch.Tensor:  # fmt: skip
    """Head by head."""
    source = x if context is None else context
    q, k, v = (F.linear(y, weights[i], weights[i + 4]) for i, y in enumerate((x, source, source)))
    allowed = torch.ones(x.shape[0], heads, x.shape[1], source.shape[1], dtype=torch.bool)
    if keep is not None:
        allowed = allowed & keep[:, None, None, :]
    if mask is not None:
        allowed = allowed & mask
    k, v = (
        y.unflatten(-1, (kv_heads or heads, -1)).repeat_interleave(heads // (kv_heads or heads), -2)
        for y in (k, v)
    )
    parts = zip(q.chunk(heads, -1), k.unbind(-2), v.unbind(-2), strict=True)
    seen = [sdpa(*part, allowed[:, i], None, causal, scale) for i, part in enumerate(parts)]
    return F.linear(torch.cat(seen, -1), weights[3], weights[7])


def dropout(x: Any, keep: Any, rate: float, training: bool) -> torch.Tensor:
    return x * keep / (1 - rate) if training and rate else x * 1


def rotary(x: Any, positions: Any, base: float, width: int | None, pairing: str) -> torch.Tensor:
    """By complex numbers."""
    width = x.shape[-1] if width is None else width
    at = torch.arange(x.shape[-2]) if positions is None else positions
    frequency = 1 / base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    turn = torch.polar(torch.ones(()).double(), at[..., None] * frequency)
    while at.ndim == 2 and turn.ndim < x.ndim:
        turn = turn.unsqueeze(1)
    turned, rest = x[..., :width], x[..., width:]
    if pairing == "half":
        pairs = torch.stack(turned.chunk(2, -1), -1)
    else:
        pairs = turned.unflatten(-1, (-1, 2))
    y = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    y = torch.cat(y.unbind(-1), -1) if pairing == "half" else y.flatten(-2)
    return torch.cat([y, rest], -1)


def alibi(heads: int, queries: int, keys: int, dtype: str) -> torch.Tensor:
    """Slopes as in the published code."""

    def powers(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    whole = 2 ** math.floor(math.log2(heads))
    slopes = powers(whole) + powers(2 * whole)[0::2][: heads - whole]
    apart = torch.arange(keys) - torch.arange(keys - queries, keys)[:, None]
    return torch.tensor(slopes, dtype=torch.float64)[:, None, None] * -apart.abs()


def relative_buckets(
    queries: int, keys: int, buckets: int, farthest: int, causal: bool
) -> torch.Tensor:
    """As in the published code, a hair above where logarithms meet a bucket's start."""
    relative = torch.arange(keys) - torch.arange(keys - queries, keys)[:, None]
    found = torch.zeros_like(relative)
    if causal:
        relative = -torch.clamp(relative, max=0)
    else:
        buckets //= 2
        found += (relative > 0).long() * buckets
        relative = relative.abs()
    exact = buckets // 2
    ratio = torch.log(relative.double() / exact) / math.log(farthest / exact)
    large = exact + (ratio * (buckets - exact) + 1e-9).floor()
    large = large.nan_to_num(0, neginf=0).clamp(max=buckets - 1).long()
    return (found + torch.where(relative < exact, relative, large)).int()


def window_offsets(window: Any) -> torch.Tensor:
    """As in the published code."""
    sizes = (window,) if isinstance(window, int) else window
    grid = torch.stack(torch.meshgrid(*map(torch.arange, sizes), indexing="ij")).flatten(1)
    apart = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0).contiguous()
    for i, size in enumerate(sizes):
        apart[:, :, i] += size - 1
        for j in range(i):
            apart[:, :, j] *= 2 * size - 1
    return apart.sum(-1).int()


ATTENTION = {
    "sdpa": sdpa,
    "attention": attention,
    "attention_shares": attention_shares,
    "dropout": dropout,
    "channel_dropout": dropout,
    "drop_path": dropout,
    "normal": lambda noise, mean, deviation: torch.addcmul(mean, noise, deviation),
    "uniform": lambda noise, low, high: torch.lerp(
        torch.full_like(noise, low), torch.full_like(noise, high), noise
    ),
    "bernoulli": torch.lt,
    "rotary": rotary,
    "alibi": alibi,
    "relative_buckets": relative_buckets,
    "window_offsets": window_offsets,
}
