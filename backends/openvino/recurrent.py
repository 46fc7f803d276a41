"""The method for a recurrent layer: a sequence op for each layer and direction.

OpenVINO's CPU leaves the lengths of rows aside where sizes are not known. So rows are told no
lengths: those of the direction that goes backwards are turned round, what lies behind a row's end
is zeros, and its last state is the one of its last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...compiler.expr import Expr
from ...compiler.graph import Node
from ...compiler.program import Apply
from ..source.parts import Open, Parts
from ..source.tree import number, tree
from .states import READ

STATES: Mapping[str, tuple[str, ...]] = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}
"""What is carried from step to step."""

GATES: Mapping[str, tuple[list[int], str]] = {
    "rnn": ([0], ""), "lstm": ([1, 0, 2, 3], "f, i, g, o"), "gru": ([1, 0, 2], "z, r, n"),
}  # fmt: skip
"""Where OpenVINO's gates stand in the model's weights, and their names."""


def native(node: Node) -> bool:
    """Whether the method does it: of the states, only h can be read off the results."""
    lengths = node.inputs[[*node.op.inputs].index("lengths?")]
    if node.layer is None or _weights_dtype(node) != "f32":
        return False
    graph = node.graph
    live = graph.live() if graph is not None else set()
    return lengths is None or not any(c.users or c in live for c in node.outputs[2:])


def _weights_dtype(node: Node) -> str:
    x = node.inputs[0]
    assert x is not None
    return x.type.dtype


def traits(apply: Apply) -> tuple[Any, ...]:
    """What decides on another method: op, directions, bias, states and lengths given, function."""
    for key in ("bidirectional", "activation"):
        if key in apply.attrs and number(apply.attrs[key]) is None:
            raise Open(apply, key)
    names = [n.rstrip("?") for n in apply.op.inputs]
    there = {n: apply.inputs[names.index(n)] is not None for n in ("h0", "lengths")}
    biased = any(part.startswith("bias") for part in apply.weights)
    relu = apply.values.get("activation") == "relu"
    both = bool(apply.values["bidirectional"])
    return apply.op.name, both, biased, there["h0"], there["lengths"], relu


def tensors(traits: tuple[Any, ...]) -> Sequence[str]:
    """The method's arguments for tensors."""
    kind, _, _, given, lengths, _ = traits
    names = [f"{name}0" for name in STATES[kind]] * given + ["lengths"] * lengths
    return ("x: ov.Output", "name: str", *(f"{name}: ov.Output" for name in names))


def given(p: Parts) -> list[Expr]:
    """The tensors of a call."""
    names = [name for name in ("h0", "c0") if name in p.all and p[name] is not None]
    found: list[Expr] = [p["x"], *(p[name] for name in names)]
    lengths = p.var("lengths")
    if lengths is not None:
        plain = lengths.type.dtype == "i32"
        found.append(p["lengths"] if plain else tree('ops.convert({n}, "i32")', n=p["lengths"]))
    return found


# ----------------------------------------------------------------------------------- its source


def count(traits: tuple[Any, ...]) -> int:
    """How many tensors the method gives: with lengths, h alone of the states."""
    kind, lengths = traits[0], traits[4]
    return 2 if lengths else 1 + len(STATES[kind])


def lines(traits: tuple[Any, ...], texts: Mapping[str, str]) -> list[str]:
    """The body of the method."""
    kind, both, _, given, lengths, _ = traits
    states = STATES[kind][: count(traits) - 1]
    layers = texts["layers"]
    single = layers == "1" and not both
    return [
        _doc(kind, both, lengths, layers == "1"),
        'hidden = self.tensor(f"{name}.weight_hh_l0").shape[1]',
        *_sizes(given, lengths),
        *([] if single else [f"{', '.join(states)} = {', '.join(['[]'] * len(states))}"]),
        *_layers(traits, layers),
        f"return {', '.join(['x', *(s if single else f'ops.concat({s}, 0)' for s in states)])}",
    ]


def _doc(kind: str, both: bool, lengths: bool, one: bool) -> str:
    what = f"{'Bidirectional ' * both}{kind.upper()}"
    what = what if one else f"Layers of {what[:1].lower() if both else what[:1]}{what[1:]}"
    ends = " of these lengths" if lengths else ""
    return f'"""{what} over rows (B, T, C){ends}: y, last states."""'


def _sizes(given: bool, lengths: bool) -> Iterator[str]:
    """What the sequence ops must be told: how long all rows are, and states to begin with."""
    yield 'B, T = (ops.gather(ops.shape_of(x, "i32"), np.int32([i]), 0) for i in (0, 1))'
    yield "steps = ops.broadcast(T, B)"
    if not given:
        yield "zeros = ops.broadcast(np.float32(0), ops.concat([B, np.int32([1, hidden])], 0))"
    if lengths:
        yield 'places = ops.range(0, ops.squeeze(T, 0), 1, "i32")'
        yield "alive = ops.unsqueeze(ops.less(places, ops.unsqueeze(lengths, 1)), 2)"
        yield "last = ops.subtract(lengths, np.int32(1))"


def _layers(traits: tuple[Any, ...], layers: str) -> Iterator[str]:
    """The loop over layers, where there are several, and over directions."""
    both, lengths = traits[1], traits[4]
    if layers != "1":
        yield f"for layer in range({layers}):"
    indent = "" if layers == "1" else "    "
    end = '"l0"' if layers == "1" else 'f"l{layer}"'
    if not both:
        yield from (f"{indent}{line}" for line in _direction(traits, layers, end))
        return
    yield f"{indent}ways = []"
    yield f'{indent}for end in ({end}, {end[:-1]}_reverse"):'
    if lengths:
        yield f'{indent}    back = end.endswith("reverse")'
    yield from (f"{indent}    {line}" for line in _direction(traits, layers, "end"))
    yield f"{indent}    ways.append(y)"
    yield f"{indent}x = ops.concat(ways, 2)"


def _direction(traits: tuple[Any, ...], layers: str, end: str) -> Iterator[str]:
    """The lines for one layer in one direction; `end` is what the names of its weights end in."""
    kind, both, _, given, lengths, _ = traits
    states, single = STATES[kind], layers == "1" and not both
    if both and lengths:
        yield "rows = ops.reverse_sequence(x, lengths, 0, 1) if back else x"
    starts = ["zeros"] * len(states)
    if given:
        place = "0" if single else "len(h)"
        first = (f"ops.gather({state}0, np.int32([{place}]), 0)" for state in states)
        starts = [f"ops.transpose({state}, [1, 0, 2])" for state in first]
    call = _call(traits, "rows" if both and lengths else "x", starts, end)
    y = "y" if both else "x"
    if not lengths:
        names = [f"last_{state}" for state in states]
        yield f"{y}, {', '.join(names)} = {call}.outputs()"
        yield f"{y} = ops.squeeze({y}, 1)"
        for state, name in zip(states, names, strict=True):
            yield _kept(state, f"ops.transpose({name}, [1, 0, 2])", single)
        return
    yield f"{y} = ops.squeeze({call}.output(0), 1)"
    yield _kept("h", f"ops.unsqueeze(ops.gather({y}, last, 1, batch_dims=1), 0)", single)
    yield f"{y} = ops.select(alive, {y}, np.float32(0))"
    if both:
        yield "y = ops.reverse_sequence(y, lengths, 0, 1) if back else y"


def _kept(state: str, value: str, single: bool) -> str:
    return f"{state} = {value}" if single else f"{state}.append({value})"


def _call(traits: tuple[Any, ...], rows: str, starts: Sequence[str], end: str) -> str:
    kind, both, biased, _, lengths, relu = traits
    way = '"forward"'
    if both and not lengths:
        way = '"reverse" if end.endswith("reverse") else "forward"'
    more = {"gru": ", linear_before_reset=True", "rnn": ', ["relu"]' if relu else ""}.get(kind, "")
    given = f"{rows}, {', '.join(starts)}, steps, *self.{reader(kind, biased)}(name, {end})"
    return f"ops.{kind}_sequence({given}, hidden, {way}{more})"


def reader(kind: str, biased: bool) -> str:
    """What the method is called that reads the weights of one layer and direction."""
    return f"{kind}_weights" if biased else f"{kind}_matrices"


def helper(kind: str, biased: bool) -> str:
    """That method."""
    order, names = GATES[kind]
    count = len(order)
    head = f"def {reader(kind, biased)}(self, name: str, end: str) -> list[np.ndarray]:\n"
    what = f", gates in the order {names}" if names else ""
    doc = f'    """W, R and B of one direction{what}."""\n'
    read = '        array = self.tensor(f"{name}.{part}_{end}")\n'
    turned = "array[None]"
    if count > 1:
        turned = f"array.reshape({count}, -1, *array.shape[1:])[{order}].reshape(1, *array.shape)"
    parts = f"    def gates(part: str) -> np.ndarray:\n{read}        return {turned}\n\n"
    given = '    w, r = gates("weight_ih"), gates("weight_hh")\n'
    wide = count + (kind == "gru")
    if not biased:
        size = f"{wide} * r.shape[-1]" if wide > 1 else "r.shape[-1]"
        return f"{head}{doc}{parts}{given}    return [w, r, np.zeros((1, {size}), np.float32)]\n"
    biases = '    b, d = gates("bias_ih"), gates("bias_hh")\n'
    if kind != "gru":
        return f"{head}{doc}{parts}{given}{biases}    return [w, r, b + d]\n"
    rest = (
        "    n = 2 * r.shape[-1]\n"
        "    return [w, r, np.concatenate([b[:, :n] + d[:, :n], b[:, n:], d[:, n:]], 1)]\n"
    )
    return f"{head}{doc}{parts}{given}{biases}{rest}"


TENSOR = (
    "def tensor(self, name: str) -> np.ndarray:\n"
    '    """A tensor of the weights file."""\n'
    f"    return {READ}\n"
)
