"""WaveNet (van den Oord et al. 2016): of each sample of sound, its class by those before.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Gated(nn.Module):
    """A causal convolution with holes, half of which gates the other half.

    x (B, C, L) -> y (B, C, L), skip (B, C, L).
    """

    def __init__(self, C: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(C, 2 * C, 2, dilation=dilation)
        self.skip = nn.Conv1d(C, C, 1)
        self.mix = nn.Conv1d(C, C, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        content, gate = self.conv(F.pad(x, (self.dilation, 0))).chunk(2, dim=1)
        h = torch.tanh(content) * torch.sigmoid(gate)
        skip = self.skip(h)
        y = x + self.mix(h)
        return y, skip


class WaveNet(nn.Module):
    """Sound (B, L) -> logits (B, classes, L)."""

    def __init__(
        self, classes: int = 256, width: int = 64, layers: int = 30, cycle: int = 10
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.layers = nn.ModuleList([Gated(width, 2 ** (i % cycle)) for i in range(layers)])
        self.conv1 = nn.Conv1d(width, width, 1)
        self.conv2 = nn.Conv1d(width, classes, 1)

    def forward(self, sound: Tensor) -> Tensor:
        h = self.embedding(sound).mT
        skips = []
        for layer in self.layers:
            h, skip = layer(h)
            skips.append(skip)
        h2 = torch.stack(skips)
        return self.conv2(torch.relu(self.conv1(torch.relu(h + h2.sum(dim=0)))))


def build(weights: str | Path | None = None, **config: int) -> WaveNet:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = WaveNet(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
