"""BERT: an encoder of sentences as BERT has it (Devlin et al. 2018); `keep` is false where one is
padded.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention over (B, T, D).

    `keep` (B, T) is true where a position may be attended.
    """

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :])
        return self.output(y.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Post-norm transformer layer: x (B, T, D), keep (B, T) -> y (B, T, D)."""

    def __init__(self, D: int, heads: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.attention = Attention(D, heads)
        self.dropout1 = nn.Dropout(drop)
        self.layer_norm1 = nn.LayerNorm(D, eps=1e-12)
        self.linear1 = nn.Linear(D, hidden)
        self.linear2 = nn.Linear(hidden, D)
        self.dropout2 = nn.Dropout(drop)
        self.layer_norm2 = nn.LayerNorm(D, eps=1e-12)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        h = self.layer_norm1(x + self.dropout1(self.attention(x, keep)))
        return self.layer_norm2(h + self.dropout2(self.linear2(F.gelu(self.linear1(h)))))


class BERT(nn.Module):
    """Ids (B, T <= 512), segment (B, T), keep (B, T) -> hidden (B, T, D), pooled (B, D)."""

    def __init__(
        self,
        vocab: int = 30522,
        length: int = 512,
        D: int = 768,
        layers: int = 12,
        heads: int = 12,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(length, D).normal_(std=0.02))
        self.word = nn.Embedding(vocab, D)
        self.type_ = nn.Embedding(2, D)
        self.layer_norm = nn.LayerNorm(D, eps=1e-12)
        self.dropout = nn.Dropout(drop)
        self.layers = nn.ModuleList([Layer(D, heads, 4 * D, drop) for _ in range(layers)])
        self.pooler = nn.Linear(D, D)

    def forward(
        self, ids: Tensor, segment: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        B, T = ids.shape
        if keep is None:
            keep = torch.ones(B, T, dtype=torch.bool, device=ids.device)
        h = self.word(ids) + self.type_(segment) + self.position[:T]
        h = self.dropout(self.layer_norm(h))
        for layer in self.layers:
            h = layer(h, keep)
        pooled = torch.tanh(self.pooler(h[:, 0]))
        return h, pooled


def build(weights: str | Path | None = None, **config: Any) -> BERT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = BERT(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
