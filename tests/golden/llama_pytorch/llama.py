"""Llama: a decoder as Llama is one (Touvron et al. 2023), of the size of TinyLlama: S tokens are
in the cache, T are new.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Angles(nn.Module):
    """Sines and cosines of the angles by which pairs of elements turn at each position.

    position (T,) -> cosine (T, width // 2), sine (T, width // 2).
    """

    def __init__(self, width: int, base: float = 10000.0) -> None:
        super().__init__()
        self.width = width
        self.base = base

    def forward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        frequency = torch.arange(self.width // 2, dtype=torch.int32, device=position.device)
        frequency = self.base ** (-(frequency.to(torch.get_default_dtype()) / (self.width / 2)))
        angle = position.to(torch.get_default_dtype()).unsqueeze(-1) * frequency
        return torch.cos(angle), torch.sin(angle)


class Rotary(nn.Module):
    """Turns the first half of the elements with the second (Su et al. 2021).

    x (B, N, T, K), cosine (T, K // 2), sine (T, K // 2) -> y (B, N, T, K).
    """

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cosine - b * sine, b * cosine + a * sine], dim=-1)


class Attention(nn.Module):
    """Attention of fewer heads of keys and values than of queries, to a cache and to what is
    new.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """

    def __init__(self, D: int, K: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.groups = groups
        self.query = nn.Linear(D, heads * K, bias=False)
        self.key = nn.Linear(D, groups * K, bias=False)
        self.value = nn.Linear(D, groups * K, bias=False)
        self.turn = Rotary()
        self.output = nn.Linear(heads * K, D, bias=False)

    def forward(
        self, x: Tensor, past_keys: Tensor, past_values: Tensor, cosine: Tensor, sine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        S = past_keys.shape[2]
        K = past_keys.shape[3]
        q = self.query(x).unflatten(2, (self.heads, K)).transpose(1, 2)
        k = self.key(x).unflatten(2, (self.groups, K)).transpose(1, 2)
        v = self.value(x).unflatten(2, (self.groups, K)).transpose(1, 2)
        keys = torch.cat([past_keys, self.turn(k, cosine, sine)], dim=2)
        values = torch.cat([past_values, v], dim=2)
        y = self.turn(q, cosine, sine)
        y = F.scaled_dot_product_attention(
            y,
            keys,
            values,
            attn_mask=torch.ones(
                x.shape[1], S + x.shape[1], dtype=torch.bool, device=y.device
            ).tril(S),
            scale=1.0 / K**0.5,
            enable_gqa=True,
        )
        y = self.output(y.transpose(1, 2).flatten(2))
        return y, keys, values


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


class Layer(nn.Module):
    """Pre-norm layer of a decoder, which hands its keys and values on.

    x (B, T, D), past_keys (B, groups, S, K), past_values (B, groups, S, K), cosine (T, K //
    2), sine (T, K // 2) -> y (B, T, D), keys (B, groups, S + T, K), values (B, groups, S +
    T, K).
    """

    def __init__(self, D: int, K: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.rms_norm1 = nn.RMSNorm(D, eps=1e-5)
        self.attention = Attention(D, K, heads, groups)
        self.rms_norm2 = nn.RMSNorm(D, eps=1e-5)
        self.swi_glu = SwiGLU(D, hidden)

    def forward(
        self, x: Tensor, past_keys: Tensor, past_values: Tensor, cosine: Tensor, sine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = self.rms_norm1(x)
        a, keys, values = self.attention(h, past_keys, past_values, cosine, sine)
        h = x + a
        y = h + self.swi_glu(self.rms_norm2(h))
        return y, keys, values


class Llama(nn.Module):
    """Ids (B, T), past_keys (layers, B, groups, S, K), past_values (layers, B, groups, S, K)
    -> logits (B, T, vocab), keys (layers, B, groups, S + T, K), values (layers, B, groups,
    S + T, K).
    """

    def __init__(
        self,
        vocab: int = 32000,
        D: int = 2048,
        layers: int = 22,
        heads: int = 32,
        groups: int = 4,
        K: int = 64,
        hidden: int = 5632,
    ) -> None:
        super().__init__()
        self.angles = Angles(K)
        self.embedding = nn.Embedding(vocab, D)
        self.layers = nn.ModuleList([Layer(D, K, heads, groups, hidden) for _ in range(layers)])
        self.rms_norm = nn.RMSNorm(D, eps=1e-5)
        self.linear = nn.Linear(D, vocab, bias=False)

    def forward(
        self, ids: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.arange(past_keys.shape[3] + ids.shape[1], dtype=torch.int32, device=ids.device)
        cosine, sine = self.angles(h[past_keys.shape[3] :])
        h = self.embedding(ids)
        all_keys = []
        all_values = []
        for i, layer in enumerate(self.layers):
            h, k, v = layer(h, past_keys[i], past_values[i], cosine, sine)
            all_keys.append(k)
            all_values.append(v)
        keys = torch.stack(all_keys)
        values = torch.stack(all_values)
        logits = self.linear(self.rms_norm(h))
        return logits, keys, values


def build(weights: str | Path | None = None, **config: int) -> Llama:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = Llama(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
