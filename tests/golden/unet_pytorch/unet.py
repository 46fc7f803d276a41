"""UNet: U-Net (Ronneberger et al. 2015), with padding: a class for each pixel.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Pair(nn.Module):
    """Two 3x3 convolutions: (B, C, H, W) -> (B, width, H, W)."""

    def __init__(self, C: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, width, 3, padding=1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        return torch.relu(self.batch_norm2(self.conv2(torch.relu(self.batch_norm1(h)))))


class Up(nn.Module):
    """Twice the image, beside what the way down saw at this size.

    x (B, C, H, W), skip (B, D, 2 * H, 2 * W) -> y (B, width, 2 * H, 2 * W).
    """

    def __init__(self, C: int, D: int, width: int) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(C, width, 2, stride=2)
        self.pair = Pair(D + width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        h = self.conv_transpose(x)
        return self.pair(torch.cat([skip, h], dim=1))


class UNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes, H, W)."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512), classes: int = 2) -> None:
        super().__init__()
        self.blocks1 = nn.ModuleList()
        C = 3
        for width in widths:
            self.blocks1.append(Pair(C, width))
            C = width
        self.pair = Pair(C, 2 * widths[-1])
        self.blocks2 = nn.ModuleList()
        C_ = 2 * widths[-1]
        for i in range(len(widths)):
            self.blocks2.append(Up(C_, widths[-1 - i], widths[-1 - i]))
            C_ = widths[-1 - i]
        self.conv = nn.Conv2d(C_, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        h = image
        skips = []
        for blocks1 in self.blocks1:
            h2 = blocks1(h)
            skips.append(h2)
            h = F.max_pool2d(h2, 2)
        h = self.pair(h)
        for blocks2, skip in zip(self.blocks2, reversed(skips), strict=True):
            h = blocks2(h, skip)
        return self.conv(h)


def build(weights: str | Path | None = None, **config: Any) -> UNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = UNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
