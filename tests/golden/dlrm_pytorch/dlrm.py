"""DLRM: a recommender as DLRM (Naumov et al. 2019): what is known in numbers and in categories
meets by dot products. All categories share one table, and the numbers of its rows.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Tower(nn.Module):
    """Linear layers with relu after each: (B, N) -> (B, widths[-1])."""

    def __init__(self, N: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        numbers = N
        for width in widths:
            self.layers.append(nn.Linear(numbers, width))
            numbers = width

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.layers:
            h = torch.relu(layer(h))
        return h


class DLRM(nn.Module):
    """Dense (B, numbers), sparse (B, categories) -> click (B,)."""

    def __init__(
        self,
        numbers: int = 13,
        categories: int = 26,
        rows: int = 1000000,
        width: int = 64,
        bottom: tuple[int, ...] = (512, 256),
        top: tuple[int, ...] = (512, 256),
    ) -> None:
        super().__init__()
        self.tower1 = Tower(numbers, bottom)
        self.linear1 = nn.Linear(bottom[-1], width)
        self.embedding = nn.Embedding(rows, width)
        self.tower2 = Tower(categories * categories + 2 * categories + width + 1, top)
        self.linear2 = nn.Linear(top[-1], 1)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        known = torch.relu(self.linear1(self.tower1(dense)))
        features = torch.cat([known.unsqueeze(1), self.embedding(sparse)], dim=1)
        dots = features @ features.mT
        h = torch.cat([known, dots.flatten(1)], dim=-1)
        return torch.sigmoid(self.linear2(self.tower2(h)).squeeze(1))


def build(weights: str | Path | None = None, **config: Any) -> DLRM:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = DLRM(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
