"""Recurrent layers in torch: its own modules, called with these weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlc.compiler.ops.recurrent import WEIGHTS


def recurrent(kind: str, states: int) -> Callable[..., tuple[torch.Tensor, ...]]:
    """`nn.RNN`, `nn.LSTM` or `nn.GRU`; rows of several lengths are packed."""

    def oracle(
        x: torch.Tensor, *given: torch.Tensor | None, hidden: int, layers: int,
        bidirectional: bool, bias: bool, activation: str = "tanh",
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        more = {"nonlinearity": activation} if kind == "RNN" else {}
        module = getattr(nn, kind)(
            x.shape[-1], hidden, layers, bias=bias, batch_first=True,
            bidirectional=bidirectional, **more,
        ).double()  # fmt: skip
        named = zip(WEIGHTS, given[states + 1 :], strict=True)
        weights = {name.rstrip("?"): weight for name, weight in named if weight is not None}
        assert set(weights) == set(module.state_dict())
        first = given[:states] if states > 1 else given[0]
        state = None if given[0] is None else first
        lengths = given[states]
        rows = x if lengths is None else pack_padded_sequence(x, lengths, True, False)
        y, last = functional_call(module, weights, (rows, state))
        if lengths is not None:
            y, _ = pad_packed_sequence(y, True, total_length=x.shape[1])
        return (y, *last) if states > 1 else (y, last)

    return oracle


RECURRENT = {
    "rnn": recurrent("RNN", 1),
    "lstm": recurrent("LSTM", 2),
    "gru": recurrent("GRU", 1),
}
