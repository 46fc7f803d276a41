"""ConvNeXt (Liu et al. 2022); these depths and widths make the tiny one.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Norm(nn.Module):
    """Layer norm over the channels of an image: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(C, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depthwise convolution, then two linear layers at each place, on channels last.

    (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, C: int, drop: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((C,), 1e-6))
        self.conv = nn.Conv2d(C, C, 7, padding=3, groups=C)
        self.layer_norm = nn.LayerNorm(C, eps=1e-6)
        self.linear1 = nn.Linear(C, 4 * C)
        self.linear2 = nn.Linear(4 * C, C)
        self.drop_path = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        h = self.linear2(F.gelu(self.linear1(self.layer_norm(h.permute(0, 2, 3, 1)))))
        h = (self.scale * h).permute(0, 3, 1, 2)
        return x + h * self.drop_path(h.new_ones(h.shape[0], 1, 1, 1))


class ConvNeXt(nn.Module):
    """Image (B, 3, H >= 4, W >= 4) -> logits (B, classes)."""

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
        classes: int = 1000,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 4, stride=4)
        self.norm = Norm(widths[0])
        self.blocks = nn.Sequential(*[Block(widths[0], drop) for _ in range(depths[0])])
        self.layers = nn.Sequential()
        C = widths[0]
        for depth, width in zip(depths[1:], widths[1:], strict=True):
            self.layers.extend([Norm(C), nn.Conv2d(C, width, 2, stride=2)])
            for _ in range(depth):
                self.layers.append(Block(width, drop))
            C = width
        self.layer_norm = nn.LayerNorm(C, eps=1e-6)
        self.linear = nn.Linear(C, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = self.norm(self.conv(image))
        return self.linear(self.layer_norm(self.layers(self.blocks(h)).mean(dim=(2, 3))))


def build(weights: str | Path | None = None, **config: Any) -> ConvNeXt:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = ConvNeXt(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
