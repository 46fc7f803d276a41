"""ResNet: deep residual networks (He et al. 2015), with the stride of a bottleneck on its 3x3
convolution.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """(B, C, H, W) -> (B, 4 * width, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, C: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, width, 1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.batch_norm3 = nn.BatchNorm2d(4 * width, eps=1e-5, momentum=0.1)
        self.skip: nn.Module = nn.Identity()
        if C != 4 * width or stride != 1:
            self.skip = nn.Sequential(
                nn.Conv2d(C, 4 * width, 1, stride=stride, bias=False),
                nn.BatchNorm2d(4 * width, eps=1e-5, momentum=0.1),
            )

    def forward(self, x: Tensor) -> Tensor:
        main = torch.relu(self.batch_norm1(self.conv1(x)))
        main = self.batch_norm3(self.conv3(torch.relu(self.batch_norm2(self.conv2(main)))))
        return torch.relu(main + self.skip(x))


class Basic(nn.Module):
    """(B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, C: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, width, 3, stride=stride, padding=1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)
        self.skip: nn.Module = nn.Identity()
        if C != width or stride != 1:
            self.skip = nn.Sequential(
                nn.Conv2d(C, width, 1, stride=stride, bias=False),
                nn.BatchNorm2d(width, eps=1e-5, momentum=0.1),
            )

    def forward(self, x: Tensor) -> Tensor:
        main = self.batch_norm2(self.conv2(torch.relu(self.batch_norm1(self.conv1(x)))))
        return torch.relu(main + self.skip(x))


class ResNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, depth: int = 50, classes: int = 1000) -> None:
        super().__init__()
        if depth not in [18, 34, 50, 101]:
            raise ValueError(f"there is no ResNet-{depth}")
        self.conv = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.batch_norm = nn.BatchNorm2d(64, eps=1e-5, momentum=0.1)
        self.blocks = nn.Sequential()
        C = 64
        for width, count, stride in zip(
            [64, 128, 256, 512],
            [2, 2, 2, 2] if depth == 18 else [3, 4, 23 if depth == 101 else 6, 3],
            [1, 2, 2, 2],
            strict=True,
        ):
            if depth < 50:
                self.blocks.append(Basic(C, width, stride))
            else:
                self.blocks.append(Bottleneck(C, width, stride))
            for _ in range(count - 1):
                if depth < 50:
                    self.blocks.append(Basic(width, width))
                else:
                    self.blocks.append(Bottleneck(4 * width, width))
            C = width if depth < 50 else 4 * width
        self.linear = nn.Linear(C, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = self.conv(image)
        h = F.max_pool2d(torch.relu(self.batch_norm(h)), 3, stride=2, padding=1)
        return self.linear(self.blocks(h).mean(dim=(2, 3)))


def build(weights: str | Path | None = None, **config: int) -> ResNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = ResNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
