"""EfficientNet (Tan and Le 2019); these stages, of width, count, kernel, stride and ratio, make
B0.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, C: int, reduced: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, reduced, 1)
        self.conv2 = nn.Conv2d(reduced, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = x.mean(dim=(2, 3), keepdim=True)
        scale = torch.sigmoid(self.conv2(F.silu(self.conv1(scale))))
        return x * scale


class MBConv(nn.Module):
    """The inverted residual of MobileNetV2 with squeeze and excitation.

    (B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, C: int, width: int, kernel: int, stride: int, ratio: int, drop: float
    ) -> None:
        super().__init__()
        self.width = width
        self.stride = stride
        self.ratio = ratio
        if ratio > 1:
            self.conv1 = nn.Conv2d(C, ratio * C, 1, bias=False)
            self.batch_norm1 = nn.BatchNorm2d(ratio * C, eps=0.001, momentum=0.01)
        self.conv2 = nn.Conv2d(
            ratio * C,
            ratio * C,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=ratio * C,
            bias=False,
        )
        self.batch_norm2 = nn.BatchNorm2d(ratio * C, eps=0.001, momentum=0.01)
        self.squeeze_excite = SqueezeExcite(ratio * C, C // 4)
        self.conv3 = nn.Conv2d(ratio * C, width, 1, bias=False)
        self.batch_norm3 = nn.BatchNorm2d(width, eps=0.001, momentum=0.01)
        if stride == 1 and C == width:
            self.drop_path = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.batch_norm1(self.conv1(x))) if self.ratio > 1 else x
        h = self.conv2(h)
        h = self.batch_norm3(self.conv3(self.squeeze_excite(F.silu(self.batch_norm2(h)))))
        if self.stride == 1 and x.shape[1] == self.width:
            y = x + h * self.drop_path(h.new_ones(h.shape[0], 1, 1, 1))
        else:
            y = h
        return y


class EfficientNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = (
            (16, 1, 3, 1, 1),
            (24, 2, 3, 2, 6),
            (40, 2, 5, 2, 6),
            (80, 3, 3, 2, 6),
            (112, 3, 5, 1, 6),
            (192, 4, 5, 2, 6),
            (320, 1, 3, 1, 6),
        ),
        head: int = 1280,
        classes: int = 1000,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(32, eps=0.001, momentum=0.01)
        self.blocks = nn.Sequential()
        C = 32
        for width, count, kernel, stride, ratio in stages:
            self.blocks.append(MBConv(C, width, kernel, stride, ratio, drop))
            for _ in range(count - 1):
                self.blocks.append(MBConv(width, width, kernel, 1, ratio, drop))
            C = width
        self.conv2 = nn.Conv2d(C, head, 1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(head, eps=0.001, momentum=0.01)
        self.dropout = nn.Dropout(drop)
        self.linear = nn.Linear(head, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = F.silu(self.batch_norm1(self.conv1(image)))
        h = F.silu(self.batch_norm2(self.conv2(self.blocks(h))))
        return self.linear(self.dropout(h.mean(dim=(2, 3))))


def build(weights: str | Path | None = None, **config: Any) -> EfficientNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = EfficientNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
