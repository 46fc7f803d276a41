"""ViT: the vision transformer (Dosovitskiy et al. 2020): an image as a sentence of patches.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention over (B, T, D)."""

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
        y = F.scaled_dot_product_attention(q, k, v)
        return self.output(y.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""

    def __init__(self, D: int, heads: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(D, eps=1e-6)
        self.attention = Attention(D, heads)
        self.dropout1 = nn.Dropout(drop)
        self.layer_norm2 = nn.LayerNorm(D, eps=1e-6)
        self.linear1 = nn.Linear(D, hidden)
        self.dropout2 = nn.Dropout(drop)
        self.linear2 = nn.Linear(hidden, D)
        self.dropout3 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.dropout1(self.attention(self.layer_norm1(x)))
        h2 = self.layer_norm2(h)
        return h + self.dropout3(self.linear2(self.dropout2(F.gelu(self.linear1(h2)))))


class ViT(nn.Module):
    """Image (B, 3, size, size) -> logits (B, classes)."""

    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        D: int = 768,
        layers: int = 12,
        heads: int = 12,
        classes: int = 1000,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        if size % patch != 0:
            raise ValueError(f"patches of {patch} do not fill {size}")
        self.D = D
        self.start = nn.Parameter(torch.zeros(1, 1, D))
        self.position = nn.Parameter(
            torch.empty(1, size // patch * (size // patch) + 1, D).normal_(std=0.02)
        )
        self.conv = nn.Conv2d(3, D, patch, stride=patch)
        self.layers = nn.Sequential(*[Layer(D, heads, 4 * D, drop) for _ in range(layers)])
        self.layer_norm = nn.LayerNorm(D, eps=1e-6)
        self.linear = nn.Linear(D, classes)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.conv(image).permute(0, 2, 3, 1).flatten(1, 2)
        h = self.start.expand(image.shape[0], 1, self.D)
        h = torch.cat([h, tokens], dim=1) + self.position
        return self.linear(self.layer_norm(self.layers(h))[:, 0])


def build(weights: str | Path | None = None, **config: Any) -> ViT:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = ViT(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
