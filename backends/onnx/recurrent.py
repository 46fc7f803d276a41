"""Recurrent layers in ONNX: a node for each layer, on tensors whose first axis are the steps.

Weights stay as the model has them; ONNX's order of gates and its axis of directions are made of
them in the graph, where a runtime computes that once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.graph import Node
from ...compiler.ops.recurrent import PARTS, chosen
from .writer import DTYPES, Writer

ORDER: Mapping[str, tuple[int, ...]] = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Where ONNX's gates stand in the model's weights: i, o, f, c of i, f, g, o; z, r, h of r, z, n."""


def recurrent(kind: str, states: int) -> Callable[..., tuple[str, ...]]:
    """The rule for one kind, of which `states` are carried from step to step."""

    def rule(w: Writer, n: Node, x: str, *given: str | None) -> tuple[str, ...]:
        layers, both = n.attrs["layers"], n.attrs["bidirectional"]
        starts, directions = chosen(layers, both), 2 if both else 1
        lengths = given[states]
        if lengths is not None and _dtype(n, 1 + states) != "i32":
            lengths = w("Cast", lengths, to=DTYPES["i32"])
        y = w("Transpose", x, perm=(1, 0, 2))
        last: list[tuple[str, ...]] = []
        for layer in range(layers):
            rows = slice(directions * layer, directions * (layer + 1))
            weights = _weights(w, n, kind, given[states + 1 :], starts[rows])
            first = [_rows(w, state, rows, layers) for state in given[:states]]
            made, *after = w.many(
                kind, 1 + states, y, *weights, lengths, *first, hidden_size=n.attrs["hidden"],
                direction="bidirectional" if both else None, **_options(n, kind, directions),
            )  # fmt: skip
            y = _beside(w, made) if both else w("Squeeze", made, w.ints(1))
            last.append(tuple(after))
        joined = (_joined(w, same) for same in zip(*last, strict=True))
        return w("Transpose", y, perm=(1, 0, 2)), *joined

    return rule


def _dtype(n: Node, slot: int) -> str:
    value = n.inputs[slot]
    assert value is not None
    return value.type.dtype


def _options(n: Node, kind: str, directions: int) -> dict[str, object]:
    """What tells this layer from what ONNX does by itself."""
    if kind == "GRU":
        return {"linear_before_reset": 1}
    if kind == "RNN" and n.attrs["activation"] != "tanh":
        return {"activations": [n.attrs["activation"].capitalize()] * directions}
    return {}


def _weights(
    w: Writer, n: Node, kind: str, given: tuple[str | None, ...], starts: list[int]
) -> list[str | None]:
    """W, R and B of one layer, its directions along the first axis."""
    size = n.attrs["hidden"]

    def turned(place: int, rest: list[int]) -> str | None:
        """A weight of each direction with ONNX's order of gates, one above the other."""
        found = [given[start + place] for start in starts]
        parts = [_in_order(w, kind, name, size, rest) for name in found if name is not None]
        return _joined(w, parts) if parts else None

    matrices = [turned(0, [-1]), turned(1, [-1])]
    biases = [turned(place, []) for place in range(2, len(PARTS))]
    both = None if biases[0] is None else w("Concat", *biases, axis=1)
    return [*matrices, both]


def _in_order(w: Writer, kind: str, name: str, size: int, rest: list[int]) -> str:
    order = ORDER[kind]
    if len(order) == 1:
        return w("Unsqueeze", name, w.ints(0))
    gates = w("Reshape", name, w.ints(len(order), size, *rest))
    moved = w("Gather", gates, w.ints(*order), axis=0)
    return w("Reshape", moved, w.ints(1, len(order) * size, *rest))


def _rows(w: Writer, state: str | None, rows: slice, layers: int) -> str | None:
    """The states of one layer's directions."""
    if state is None or layers == 1:
        return state
    return w("Slice", state, w.ints(rows.start), w.ints(rows.stop), w.ints(0))


def _beside(w: Writer, y: str) -> str:
    """(steps, directions, batch, hidden) with the directions side by side."""
    return w("Reshape", w("Transpose", y, perm=(0, 2, 1, 3)), w.ints(0, 0, -1))


def _joined(w: Writer, parts: list[str] | tuple[str, ...]) -> str:
    return w("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]


RECURRENT: Mapping[str, Callable[..., tuple[str, ...]]] = {
    "rnn": recurrent("RNN", 1), "lstm": recurrent("LSTM", 2), "gru": recurrent("GRU", 1),
}  # fmt: skip
