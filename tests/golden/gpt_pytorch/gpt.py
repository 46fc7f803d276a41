"""GPT: a decoder-only transformer with learned positions and a tied output embedding.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal multi-head self-attention over (B, T, D)."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, heads: int, drop: float = 0.1) -> None:
        super().__init__()
        if D % heads != 0:
            raise ValueError(f"width {D} does not divide into {heads} heads")
        self.layer_norm1 = nn.LayerNorm(D, eps=1e-5)
        self.attention = Attention(D, heads)
        self.dropout1 = nn.Dropout(drop)
        self.layer_norm2 = nn.LayerNorm(D, eps=1e-5)
        self.linear1 = nn.Linear(D, 4 * D)
        self.linear2 = nn.Linear(4 * D, D)
        self.dropout2 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.dropout1(self.attention(self.layer_norm1(x)))
        return h + self.dropout2(self.linear2(F.gelu(self.linear1(self.layer_norm2(h)))))


class GPT(nn.Module):
    """Ids (B, T <= 1024) -> logits (B, T, vocab)."""

    def __init__(self, vocab: int = 50257, D: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab, D)
        self.position = nn.Parameter(torch.empty(1024, D).normal_(std=0.02))
        self.layers = nn.Sequential(*[Layer(D, heads) for _ in range(layers)])
        self.layer_norm = nn.LayerNorm(D, eps=1e-5)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.token(ids) + self.position[: ids.shape[1]]
        return F.linear(self.layer_norm(self.layers(h)), self.token.weight)


def build(weights: str | Path | None = None, **config: int) -> GPT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = GPT(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
