"""MNIST: the two-layer network of every tutorial: handwritten digits to ten classes.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class MNIST(nn.Module):
    """Image (B, 28, 28) -> logits (B, classes)."""

    def __init__(self, classes: int = 10, width: int = 128) -> None:
        super().__init__()
        self.linear1 = nn.Linear(784, width)
        self.linear2 = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.linear2(torch.relu(self.linear1(image.flatten(1))))


def build(weights: str | Path | None = None, **config: int) -> MNIST:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = MNIST(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
