"""MoE: a language model of a mixture of experts, of the size of Mixtral's layers (Jiang et al.
2024).

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal multi-head self-attention over (B, T, D)."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D, bias=False)
        self.key = nn.Linear(D, D, bias=False)
        self.value = nn.Linear(D, D, bias=False)
        self.output = nn.Linear(D, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).flatten(-2))


class SwiGLU(nn.Module):
    """The gated feed-forward part of Llama (Shazeer 2020): silu(gate) * up, without biases.

    (B, T, D) -> (B, T, D).
    """

    def __init__(self, D: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(D, hidden, bias=False)
        self.up = nn.Linear(D, hidden, bias=False)
        self.down = nn.Linear(hidden, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.gate(x))
        return self.down(gate * self.up(x))


class Experts(nn.Module):
    """The `chosen` experts that a router scores highest for each position, weighed by their
    scores; `load` is 1 where all are used alike, and grows with how unevenly they are
    (Fedus et al. 2021).

    x (B, T, D) -> y (B, T, D), load ().
    """

    def __init__(self, D: int, experts: int, chosen: int, hidden: int) -> None:
        super().__init__()
        if chosen > experts:
            raise ValueError(f"{chosen} of {experts} experts")
        self.experts_ = experts
        self.chosen = chosen
        self.router = nn.Linear(D, experts, bias=False)
        self.experts = nn.ModuleList([SwiGLU(D, hidden) for _ in range(experts)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.router(x)
        index = scores.argsort(dim=-1, descending=True, stable=True).to(torch.int32)
        index = index[:, :, : self.chosen]
        best = scores.gather(-1, index.long())
        picked = torch.arange(self.experts_, dtype=torch.int32, device=x.device)
        picked = (index.unsqueeze(-1) == picked).to(torch.get_default_dtype())
        share = (F.softmax(best, dim=-1).unsqueeze(-1) * picked).sum(dim=2)
        found = [expert(x) for expert in self.experts]
        y = (share.unsqueeze(-1) * torch.stack(found, dim=2)).sum(dim=2)
        used = picked.sum(dim=2).mean(dim=(0, 1)) / self.chosen
        load = self.experts_ * (used * F.softmax(scores, dim=-1).mean(dim=(0, 1))).sum()
        return y, load


class Layer(nn.Module):
    """Pre-norm transformer layer with experts: x (B, T, D) -> y (B, T, D), load ()."""

    def __init__(self, D: int, heads: int, experts: int, chosen: int, hidden: int) -> None:
        super().__init__()
        self.rms_norm1 = nn.RMSNorm(D, eps=1e-5)
        self.attention = Attention(D, heads)
        self.rms_norm2 = nn.RMSNorm(D, eps=1e-5)
        self.experts = Experts(D, experts, chosen, hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x + self.attention(self.rms_norm1(x))
        found, load = self.experts(self.rms_norm2(h))
        y = h + found
        return y, load


class MoE(nn.Module):
    """Ids (B, T <= 4096) -> logits (B, T, vocab), load ()."""

    def __init__(
        self,
        vocab: int = 32000,
        length: int = 4096,
        D: int = 1024,
        layers: int = 16,
        heads: int = 16,
        experts: int = 8,
        chosen: int = 2,
        hidden: int = 3584,
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(length, D).normal_(std=0.02))
        self.embedding = nn.Embedding(vocab, D)
        self.layers = nn.ModuleList(
            [Layer(D, heads, experts, chosen, hidden) for _ in range(layers)]
        )
        self.rms_norm = nn.RMSNorm(D, eps=1e-5)
        self.linear = nn.Linear(D, vocab, bias=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        h = self.embedding(ids) + self.position[: ids.shape[1]]
        loads = []
        for layer in self.layers:
            h, load = layer(h)
            loads.append(load)
        logits = self.linear(self.rms_norm(h))
        return logits, torch.stack(loads).mean()


def build(weights: str | Path | None = None, **config: int) -> MoE:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = MoE(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
