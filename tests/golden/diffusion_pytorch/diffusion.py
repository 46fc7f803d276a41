"""Denoiser: a small denoising network of a diffusion model (Ho et al. 2020): the noise in an image
at a time.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention over (B, T, D)."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.output(y.transpose(1, 2).flatten(-2))


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time, at frequencies that fall from 1 to 1 / 10000.

    time (B,) -> y (B, width).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(2 * (width // 2), 4 * width)
        self.linear2 = nn.Linear(4 * width, width)

    def forward(self, time: Tensor) -> Tensor:
        frequency = torch.arange(self.width // 2, dtype=torch.int32, device=time.device)
        frequency = frequency.to(torch.get_default_dtype())
        frequency = torch.exp(frequency * (-2 * 9.210340371976184 / self.width))
        angle = time.unsqueeze(-1) * frequency
        h = torch.sin(angle)
        return self.linear2(F.silu(self.linear1(torch.cat([h, torch.cos(angle)], dim=-1))))


class Residual(nn.Module):
    """A residual block whose channels are moved by what the time says.

    x (B, C, H, W), time (B, E) -> y (B, width, H, W).
    """

    def __init__(self, C: int, E: int, width: int, groups: int, drop: float) -> None:
        super().__init__()
        self.group_norm1 = nn.GroupNorm(groups, C, eps=1e-5)
        self.conv1 = nn.Conv2d(C, width, 3, padding=1)
        self.linear = nn.Linear(E, width)
        self.group_norm2 = nn.GroupNorm(groups, width, eps=1e-5)
        self.dropout = nn.Dropout(drop)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip: nn.Module = nn.Identity()
        if C != width:
            self.skip = nn.Conv2d(C, width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.group_norm1(x)))
        h = h + self.linear(F.silu(time))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.group_norm2(h))))
        return h + self.skip(x)


class Attention(nn.Module):
    """Attention of each place of an image to all: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, C: int, heads: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, C, eps=1e-5)
        self.attention = MultiHeadAttention(C, heads)

    def forward(self, x: Tensor) -> Tensor:
        h = self.attention(self.group_norm(x).permute(0, 2, 3, 1).flatten(1, 2))
        return x + h.unflatten(1, (x.shape[2], x.shape[3])).permute(0, 3, 1, 2)


class Denoiser(nn.Module):
    """Image (B, 3, H, W), time (B,) -> noise (B, 3, H, W)."""

    def __init__(
        self, width: int = 128, heads: int = 4, groups: int = 32, drop: float = 0.1
    ) -> None:
        super().__init__()
        self.time_embedding = TimeEmbedding(width)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.residual1 = Residual(width, width, width, groups, drop)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.residual2 = Residual(width, width, 2 * width, groups, drop)
        self.attention = Attention(2 * width, heads, groups)
        self.residual3 = Residual(2 * width, width, 2 * width, groups, drop)
        self.conv3 = nn.Conv2d(2 * width, width, 3, padding=1)
        self.residual4 = Residual(2 * width, width, width, groups, drop)
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.conv4 = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        t = self.time_embedding(time)
        high = self.residual1(self.conv1(image), t)
        low = self.attention(self.residual2(self.conv2(high), t))
        low = self.residual3(low, t)
        h = self.conv3(F.interpolate(low, scale_factor=2))
        h = self.residual4(torch.cat([h, high], dim=1), t)
        return self.conv4(F.silu(self.group_norm(h)))


def build(weights: str | Path | None = None, **config: Any) -> Denoiser:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = Denoiser(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
