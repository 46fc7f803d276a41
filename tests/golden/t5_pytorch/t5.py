"""T5: an encoder and decoder as T5 (Raffel et al. 2019), with one embedding for all of it; these
numbers make the small one. `keep` is false where a source is padded.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; `bias` is added to the scores, which are not scaled.

    x (B, T, D), bias (1, heads, T, T), mask (M, 1, R, T) -> y (B, T, D).
    """

    def __init__(self, D: int, heads: int, K: int) -> None:
        super().__init__()
        self.heads = heads
        self.K = K
        self.query = nn.Linear(D, heads * K, bias=False)
        self.key = nn.Linear(D, heads * K, bias=False)
        self.value = nn.Linear(D, heads * K, bias=False)
        self.output = nn.Linear(heads * K, D, bias=False)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        q = self.query(x).unflatten(2, (self.heads, self.K)).transpose(1, 2)
        k = self.key(x).unflatten(2, (self.heads, self.K)).transpose(1, 2)
        v = self.value(x).unflatten(2, (self.heads, self.K)).transpose(1, 2)
        h = F.scaled_dot_product_attention(
            q, k, v, attn_mask=torch.where(mask, bias, float("-inf")), scale=1.0
        )
        return self.output(h.transpose(1, 2).flatten(2))


class Feed(nn.Module):
    """Two linear layers without biases: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(D, hidden, bias=False)
        self.dropout = nn.Dropout(drop)
        self.linear2 = nn.Linear(hidden, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(torch.relu(self.linear1(x))))


class Encoder(nn.Module):
    """A layer that sees all of its sequence.

    x (B, S, D), bias (1, heads, S, S), mask (B, 1, 1, S) -> y (B, S, D).
    """

    def __init__(self, D: int, heads: int, K: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.rms_norm1 = nn.RMSNorm(D, eps=1e-6)
        self.self_attention = SelfAttention(D, heads, K)
        self.dropout1 = nn.Dropout(drop)
        self.rms_norm2 = nn.RMSNorm(D, eps=1e-6)
        self.feed = Feed(D, hidden, drop)
        self.dropout2 = nn.Dropout(drop)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        h = x + self.dropout1(self.self_attention(self.rms_norm1(x), bias, mask))
        return h + self.dropout2(self.feed(self.rms_norm2(h)))


class CrossAttention(nn.Module):
    """Attention to what the encoder made; `mask` is true where that may be seen.

    x (B, T, D), memory (B, S, D), mask (B, 1, 1, S) -> y (B, T, D).
    """

    def __init__(self, D: int, heads: int, K: int) -> None:
        super().__init__()
        self.heads = heads
        self.K = K
        self.query = nn.Linear(D, heads * K, bias=False)
        self.key = nn.Linear(D, heads * K, bias=False)
        self.value = nn.Linear(D, heads * K, bias=False)
        self.output = nn.Linear(heads * K, D, bias=False)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        q = self.query(x).unflatten(2, (self.heads, self.K)).transpose(1, 2)
        k = self.key(memory).unflatten(2, (self.heads, self.K)).transpose(1, 2)
        h = self.value(memory).unflatten(2, (self.heads, self.K))
        h = F.scaled_dot_product_attention(q, k, h.transpose(1, 2), attn_mask=mask, scale=1.0)
        return self.output(h.transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    """A layer that sees what stands before, and all of what the encoder made.

    x (B, T, D), memory (B, S, D), bias (1, heads, T, T), before (1, 1, T, T), mask (B, 1,
    1, S) -> y (B, T, D).
    """

    def __init__(self, D: int, heads: int, K: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.rms_norm1 = nn.RMSNorm(D, eps=1e-6)
        self.self_attention = SelfAttention(D, heads, K)
        self.dropout1 = nn.Dropout(drop)
        self.rms_norm2 = nn.RMSNorm(D, eps=1e-6)
        self.cross_attention = CrossAttention(D, heads, K)
        self.dropout2 = nn.Dropout(drop)
        self.rms_norm3 = nn.RMSNorm(D, eps=1e-6)
        self.feed = Feed(D, hidden, drop)
        self.dropout3 = nn.Dropout(drop)

    def forward(
        self, x: Tensor, memory: Tensor, bias: Tensor, before: Tensor, mask: Tensor
    ) -> Tensor:
        h = x + self.dropout1(self.self_attention(self.rms_norm1(x), bias, before))
        c = h + self.dropout2(self.cross_attention(self.rms_norm2(h), memory, mask))
        return c + self.dropout3(self.feed(self.rms_norm3(c)))


class T5(nn.Module):
    """Source (B, S), target (B, T), keep (B, S) -> logits (B, T, vocab)."""

    def __init__(
        self,
        vocab: int = 32128,
        D: int = 512,
        layers: int = 6,
        heads: int = 8,
        K: int = 64,
        hidden: int = 2048,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.D = D
        self.token = nn.Embedding(vocab, D)
        self.far = nn.Embedding(32, heads)
        self.dropout1 = nn.Dropout(drop)
        self.encoder = nn.ModuleList([Encoder(D, heads, K, hidden, drop) for _ in range(layers)])
        self.rms_norm1 = nn.RMSNorm(D, eps=1e-6)
        self.dropout2 = nn.Dropout(drop)
        self.past = nn.Embedding(32, heads)
        self.dropout3 = nn.Dropout(drop)
        self.decoder = nn.ModuleList([Decoder(D, heads, K, hidden, drop) for _ in range(layers)])
        self.rms_norm2 = nn.RMSNorm(D, eps=1e-6)
        self.dropout4 = nn.Dropout(drop)

    def forward(self, source: Tensor, target: Tensor, keep: Tensor | None = None) -> Tensor:
        B, S = source.shape
        if keep is None:
            keep = torch.ones(B, S, dtype=torch.bool, device=source.device)
        mask = keep[:, None, None]
        bias = torch.arange(S, dtype=torch.int32, device=source.device)
        bias = bias - bias.unsqueeze(-1)
        bias2 = torch.abs(bias)
        bias3 = bias2.clamp(max=8)
        bias4 = torch.tensor([12, 16, 23, 32, 46, 64, 91], dtype=torch.int32, device=source.device)
        bias2 = (bias2.unsqueeze(-1) >= bias4).to(torch.int32).sum(dim=-1, dtype=torch.int32)
        bias = (
            self.far(bias3 + bias2 + (bias > 0).to(torch.int32) * 16).permute(2, 0, 1).unsqueeze(0)
        )
        m = self.dropout1(self.token(source))
        for encoder in self.encoder:
            m = encoder(m, bias, mask)
        m = self.dropout2(self.rms_norm1(m))
        before = torch.arange(target.shape[1], dtype=torch.int32, device=source.device)
        before = (before.unsqueeze(-1) >= before)[None, None]
        bias = torch.arange(target.shape[1], dtype=torch.int32, device=source.device)
        bias = (-(bias - bias.unsqueeze(-1))).clamp(min=0)
        bias2 = bias.clamp(max=16)
        bias3 = torch.tensor(
            [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113],
            dtype=torch.int32,
            device=source.device,
        )
        bias = (bias.unsqueeze(-1) >= bias3).to(torch.int32)
        bias = self.past(bias2 + bias.sum(dim=-1, dtype=torch.int32)).permute(2, 0, 1).unsqueeze(0)
        h = self.dropout3(self.token(target))
        for decoder in self.decoder:
            h = decoder(h, m, bias, before, mask)
        h = self.dropout4(self.rms_norm2(h))
        return F.linear(h / self.D**0.5, self.token.weight)


def build(weights: str | Path | None = None, **config: Any) -> T5:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = T5(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
