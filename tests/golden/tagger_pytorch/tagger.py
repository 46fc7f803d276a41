"""Tagger: tags the words of sentences (Huang et al. 2015) by an LSTM that reads them from either
end; the rows of a batch are as long as `lengths` says.

Verified with torch 2.13.0.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def packed(rnn: nn.RNNBase, x: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
    """Apply `rnn` to rows of x (B, T, C) that end at their `lengths`; zeros follow."""
    rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    y, last = rnn(rows)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, last


class Tagger(nn.Module):
    """Words (B, T), lengths (B,) -> logits (B, T, tags)."""

    def __init__(
        self,
        vocab: int = 20000,
        width: int = 100,
        hidden: int = 200,
        layers: int = 2,
        tags: int = 45,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab, width)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, tags)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        h, _ = packed(self.lstm, self.word(words), lengths)
        return self.linear(h)


def build(weights: str | Path | None = None, **config: int) -> Tagger:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = Tagger(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
