"""Recurrent layers: PyTorch's own, whose rows of several lengths are packed and unpacked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Program, walk
from ..source.parts import Parts, Rule
from ..source.tree import tree

KINDS: Mapping[str, str] = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""What PyTorch calls them."""

GROUPED: Mapping[str, tuple[int, ...]] = {"lstm": (1, 2)}
"""What stands together of the results: `y, (h, c) = lstm(x)`."""

IMPORT = "from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence"


def made(p: Parts) -> Expr:
    """`nn.LSTM(width, hidden, layers, batch_first=True)`."""
    activation = p.unless("activation", "tanh") if p.op.name == "rnn" else None
    return p.fill(
        f"nn.{KINDS[p.op.name]}({{width}}, {{hidden}}, {{count}}, nonlinearity={{activation}}, "
        "bias={bias_}, batch_first=True, bidirectional={both})",
        width=p.place(literal(p.x.type.shape[-1])), count=p.unless("layers", 1),
        activation=activation, bias_=p.unless("bias", True), both=p.unless("bidirectional", False),
    )  # fmt: skip


def applied(p: Parts) -> Expr:
    """Its application: to packed rows where they have lengths."""
    state = p["h0"]
    if state is not None and p.op.name == "lstm":
        state = tree("({h}, {c})", h=state, c=p["c0"])
    if p["lengths"] is None:
        return p.fill("{name}({x}, {state})", state=state)
    return p.fill("packed({name}, {x}, {lengths}, {state})", state=state)


MADE: Mapping[str, Rule] = dict.fromkeys(KINDS, made)
APPLIED: Mapping[str, Rule] = dict.fromkeys(KINDS, applied)


def functions(program: Program) -> Iterator[str]:
    """`packed`, where a layer is told the lengths of rows."""
    found = [s for cls in program.classes for s in walk(cls.body)
             if isinstance(s, Apply) and s.op.name in KINDS and _lengths(s)]  # fmt: skip
    if found:
        yield _packed(any(s.inputs[1] is not None for s in found))


def _lengths(apply: Apply) -> bool:
    return apply.inputs[[*apply.op.inputs].index("lengths?")] is not None


def _packed(states: bool) -> str:
    given, passed = (", state: Any = None", ", state") if states else ("", "")
    return f'''def packed(rnn: nn.RNNBase, x: Tensor, lengths: Tensor{given}) -> tuple[Tensor, Any]:
    """Apply `rnn` to rows of x (B, T, C) that end at their `lengths`; zeros follow."""
    rows = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    y, last = rnn(rows{passed})
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, last
'''
