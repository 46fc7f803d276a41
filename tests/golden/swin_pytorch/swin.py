"""Swin: the Swin transformer (Liu et al. 2021); these depths and heads make the tiny one. Every
other layer moves its windows by half of one, if there are several.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class WindowAttention(nn.Module):
    """Attention within windows that are moved by `shift`, with a bias for each offset of two
    places. The windows at the end then hold places that are no neighbours: these do not see
    each other.

    (B, H, W, C) -> (B, H, W, C).
    """

    def __init__(self, C: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.shift = shift
        self.table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads).normal_(std=0.02))
        self.qkv = nn.Linear(C, 3 * C)
        self.output = nn.Linear(heads * (C // heads), C)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        place = torch.arange(self.window, dtype=torch.int32, device=x.device)
        line = (2 * self.window - 1) * place
        place = (line.unsqueeze(-1) + place).flatten()
        offset = place.unsqueeze(-1) - place + 2 * self.window * (self.window - 1)
        bias = self.table[offset].permute(2, 0, 1)
        h = x.roll((-self.shift, -self.shift), (1, 2)) if self.shift > 0 else x
        h = h.reshape(B, H // self.window, self.window, W // self.window, self.window, C)
        h = h.transpose(2, 3)
        h = h.reshape(B, H // self.window * (W // self.window), self.window * self.window, C)
        h = self.qkv(h).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q = h[0]
        k = h[1]
        v = h[2]
        if self.shift > 0:
            row = torch.arange(H, dtype=torch.int32, device=x.device)
            row = (row >= H - self.window).to(torch.int32) + (row >= H - self.shift).to(torch.int32)
            column = torch.arange(W, dtype=torch.int32, device=x.device)
            column2 = column >= W - self.window
            column = column2.to(torch.int32) + (column >= W - self.shift).to(torch.int32)
            region = 3 * row.unsqueeze(-1)
            region = (region + column).reshape(
                H // self.window, self.window, W // self.window, self.window
            )
            region = region.transpose(1, 2)
            region = region.reshape(
                H // self.window * (W // self.window), 1, self.window * self.window
            )
            near = region.unsqueeze(-1) == region.unsqueeze(2)
            h = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=torch.where(near, bias, float("-inf")),
                scale=1 / (C / self.heads) ** 0.5,
            )
        else:
            h = F.scaled_dot_product_attention(
                q, k, v, attn_mask=bias, scale=1 / (C / self.heads) ** 0.5
            )
        h = h.transpose(2, 3).flatten(3)
        h = self.output(h).reshape(B, H // self.window, W // self.window, self.window, -1, C)
        h = h.transpose(2, 3).reshape(B, H // self.window * self.window, -1, C)
        return h.roll((self.shift, self.shift), (1, 2)) if self.shift > 0 else h


class Layer(nn.Module):
    """Pre-norm transformer layer: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, C: int, heads: int, window: int, shift: int, drop: float) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(C, eps=1e-5)
        self.window_attention = WindowAttention(C, heads, window, shift)
        self.drop_path1 = nn.Dropout(drop)
        self.layer_norm2 = nn.LayerNorm(C, eps=1e-5)
        self.linear1 = nn.Linear(C, 4 * C)
        self.linear2 = nn.Linear(4 * C, C)
        self.drop_path2 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        h = self.window_attention(self.layer_norm1(x))
        h = x + h * self.drop_path1(h.new_ones(h.shape[0], 1, 1, 1))
        h2 = self.linear2(F.gelu(self.linear1(self.layer_norm2(h))))
        return h + h2 * self.drop_path2(h2.new_ones(h2.shape[0], 1, 1, 1))


class Merge(nn.Module):
    """Four places to one: (B, H, W, C) -> (B, H // 2, W // 2, 2 * C)."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(4 * C, eps=1e-5)
        self.linear = nn.Linear(4 * C, 2 * C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        h = x.reshape(B, H // 2, 2, W // 2, 2, C)
        return self.linear(self.layer_norm(h.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Swin(nn.Module):
    """Image (B, 3, size, size) -> logits (B, classes)."""

    def __init__(
        self,
        size: int = 224,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        patch: int = 4,
        width: int = 96,
        window: int = 7,
        classes: int = 1000,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        self.depths = depths
        self.conv = nn.Conv2d(3, width, patch, stride=patch)
        self.layer_norm1 = nn.LayerNorm(width, eps=1e-5)
        self.merge = nn.ModuleList()
        self.blocks = nn.ModuleList()
        c = width
        for stage, depth in enumerate(depths):
            if stage > 0:
                self.merge.append(Merge(c))
            else:
                self.merge.append(nn.Identity())
            for i in range(depth):
                self.blocks.append(
                    Layer(
                        2 * c if stage > 0 else c,
                        heads[stage],
                        window,
                        i % 2 * (window // 2 if size // (patch * 2**stage) > window else 0),
                        drop,
                    )
                )
            c = 2 * c if stage > 0 else c
        self.layer_norm2 = nn.LayerNorm(c, eps=1e-5)
        self.linear = nn.Linear(c, classes)

    def forward(self, image: Tensor) -> Tensor:
        h = self.layer_norm1(self.conv(image).permute(0, 2, 3, 1))
        blocks = iter(self.blocks)
        for depth, merge in zip(self.depths, self.merge, strict=True):
            h = merge(h)
            for _ in range(depth):
                h = next(blocks)(h)
        return self.linear(self.layer_norm2(h).mean(dim=(1, 2)))


def build(weights: str | Path | None = None, **config: Any) -> Swin:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = Swin(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
