"""Sentiment: what a text is felt to say, by the last states of GRUs that read it from either end.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def packed(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
    """Apply `rnn` to rows of x (B, T, C) that end at their `lengths`; zeros follow."""
    rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    y, last = rnn(rows)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, last


class Sentiment(nn.Module):
    """Words (B, T), lengths (B,) -> logits (B, classes)."""

    def __init__(
        self,
        vocab: int = 20000,
        width: int = 128,
        hidden: int = 128,
        classes: int = 2,
        drop: float = 0.5,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab, width)
        self.dropout1 = nn.Dropout(drop)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.dropout2 = nn.Dropout(drop)
        self.linear = nn.Linear(2 * hidden, classes)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        h = self.dropout1(self.word(words))
        _, last = packed(self.gru, h, lengths)
        return self.linear(self.dropout2(torch.cat([last[0], last[1]], dim=-1)))


def build(weights: str | Path | None = None, **config: Any) -> Sentiment:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    model = Sentiment(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
