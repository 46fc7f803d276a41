"""DenseNet: densely connected networks (Huang et al. 2016); these counts make DenseNet-121.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Dense(nn.Module):
    """What a layer makes is laid beside all that the layers before it made.

    (B, C, H, W) -> (B, C + growth, H, W).
    """

    def __init__(self, C: int, growth: int) -> None:
        super().__init__()
        self.batch_norm1 = nn.BatchNorm2d(C, eps=1e-5, momentum=0.1)
        self.conv1 = nn.Conv2d(C, 4 * growth, 1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(4 * growth, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.batch_norm1(x)
        h = self.conv2(torch.relu(self.batch_norm2(self.conv1(torch.relu(h)))))
        return torch.cat([x, h], dim=1)


class Transition(nn.Module):
    """Half as many channels, and half the image.

    (B, C, H, W) -> (B, C // 2, H // 2, W // 2).
    """

    def __init__(self, C: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(C, eps=1e-5, momentum=0.1)
        self.conv = nn.Conv2d(C, C // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(torch.relu(self.batch_norm(x))), 2)


class DenseNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(
        self, counts: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2 * growth, 7, stride=2, padding=3, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(2 * growth, eps=1e-5, momentum=0.1)
        self.blocks1 = nn.Sequential()
        channels = 2 * growth
        for count in counts[:-1]:
            C = channels
            for _ in range(count):
                self.blocks1.append(Dense(C, growth))
                C = C + growth
            self.blocks1.append(Transition(C))
            channels = C // 2
        self.blocks2 = nn.Sequential()
        C = channels
        for _ in range(counts[-1]):
            self.blocks2.append(Dense(C, growth))
            C = C + growth
        self.batch_norm2 = nn.BatchNorm2d(C, eps=1e-5, momentum=0.1)
        self.linear = nn.Linear(C, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = self.conv(image)
        h = F.max_pool2d(torch.relu(self.batch_norm1(h)), 3, stride=2, padding=1)
        h = self.blocks1(h)
        return self.linear(torch.relu(self.batch_norm2(self.blocks2(h))).mean(dim=(2, 3)))


def build(weights: str | Path | None = None, **config: Any) -> DenseNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = DenseNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
