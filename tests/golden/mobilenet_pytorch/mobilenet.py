"""MobileNetV3 (Howard et al. 2019); these stages, of kernel, hidden width, width, whether channels
are weighed, whether it swishes, and stride, make the small one.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Activation(nn.Module):
    """A rectifier, or for the deeper half its smooth relative: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, swish: bool) -> None:
        super().__init__()
        self.swish = swish

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x) if self.swish else torch.relu(x)


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
        scale = F.hardsigmoid(self.conv2(torch.relu(self.conv1(scale))))
        return x * scale


class Inverted(nn.Module):
    """Widens, filters each channel by itself, weighs the channels, and narrows again.

    (B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, C: int, kernel: int, hidden: int, width: int, squeeze: bool, swish: bool, stride: int
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.width = width
        self.stride = stride
        if hidden != C:
            self.conv1 = nn.Conv2d(C, hidden, 1, bias=False)
            self.batch_norm1 = nn.BatchNorm2d(hidden, eps=0.001, momentum=0.01)
            self.activation1 = Activation(swish)
        self.conv2 = nn.Conv2d(
            hidden, hidden, kernel, stride=stride, padding=kernel // 2, groups=hidden, bias=False
        )
        self.batch_norm2 = nn.BatchNorm2d(hidden, eps=0.001, momentum=0.01)
        self.activation2 = Activation(swish)
        self.squeeze_excite: nn.Module = nn.Identity()
        if squeeze:
            self.squeeze_excite = SqueezeExcite(hidden, 8 * -(-hidden // 32))
        self.conv3 = nn.Conv2d(hidden, width, 1, bias=False)
        self.batch_norm3 = nn.BatchNorm2d(width, eps=0.001, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.hidden != x.shape[1]:
            h = self.activation1(self.batch_norm1(self.conv1(x)))
        else:
            h = x
        h = self.activation2(self.batch_norm2(self.conv2(h)))
        h = self.squeeze_excite(h)
        h = self.batch_norm3(self.conv3(h))
        return x + h if self.stride == 1 and x.shape[1] == self.width else h


class MobileNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, classes)."""

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, bool, bool, int], ...] = (
            (3, 16, 16, True, False, 2),
            (3, 72, 24, False, False, 2),
            (3, 88, 24, False, False, 1),
            (5, 96, 40, True, True, 2),
            (5, 240, 40, True, True, 1),
            (5, 240, 40, True, True, 1),
            (5, 120, 48, True, True, 1),
            (5, 144, 48, True, True, 1),
            (5, 288, 96, True, True, 2),
            (5, 576, 96, True, True, 1),
            (5, 576, 96, True, True, 1),
        ),
        stem: int = 16,
        head: int = 576,
        hidden: int = 1024,
        classes: int = 1000,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(stem, eps=0.001, momentum=0.01)
        self.blocks = nn.Sequential()
        C = stem
        for kernel, wide, width, squeeze, swish, stride in stages:
            self.blocks.append(Inverted(C, kernel, wide, width, squeeze, swish, stride))
            C = width
        self.conv2 = nn.Conv2d(C, head, 1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(head, eps=0.001, momentum=0.01)
        self.linear1 = nn.Linear(head, hidden)
        self.dropout = nn.Dropout(drop)
        self.linear2 = nn.Linear(hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = F.hardswish(self.batch_norm1(self.conv1(image)))
        h = F.hardswish(self.batch_norm2(self.conv2(self.blocks(h))))
        return self.linear2(self.dropout(F.hardswish(self.linear1(h.mean(dim=(2, 3))))))


def build(weights: str | Path | None = None, **config: Any) -> MobileNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = MobileNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
