"""TinyResNet: a residual network for small images.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    (B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
    """

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


class TinyResNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(16, eps=1e-5, momentum=0.1)
        self.blocks = nn.Sequential()
        C = 16
        for width, stride in [(16, 1), (32, 2), (64, 2)]:
            self.blocks.extend([Residual(C, width, stride), Residual(width, width)])
            C = width
        self.linear = nn.Linear(C, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = torch.relu(self.batch_norm(self.conv(image)))
        return self.linear(self.blocks(h).mean(dim=(2, 3)))


def build(weights: str | Path | None = None, **config: int) -> TinyResNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = TinyResNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
