"""LeNet-5 with batch normalisation and dropout, for handwritten digits.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class LeNet(nn.Module):
    """Image (B, 1, 28, 28) -> logits (B, classes)."""

    def __init__(self, classes: int = 10, drop: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.batch_norm1 = nn.BatchNorm2d(6, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.batch_norm2 = nn.BatchNorm2d(16, eps=1e-5, momentum=0.1)
        self.linear1 = nn.Linear(400, 120)
        self.dropout = nn.Dropout(drop)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = torch.relu(self.batch_norm1(self.conv1(image)))
        h = F.max_pool2d(torch.relu(self.batch_norm2(self.conv2(F.max_pool2d(h, 2)))), 2)
        h = self.linear1(h.flatten(1))
        return self.linear3(torch.relu(self.linear2(self.dropout(torch.relu(h)))))


def build(weights: str | Path | None = None, **config: Any) -> LeNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = LeNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
