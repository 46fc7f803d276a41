"""Recurrent layers: rnn, lstm and gru over rows of steps, as PyTorch has them.

Weights are PyTorch's, by name, shape and order of gates: lstm i, f, g, o; gru r, z, n, whose reset
gate is applied behind the product with the state. A row that is shorter than the others ends at its
own length: from there on its state stays, its results are zeros, and the direction that goes
backwards begins at its last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_equal
from .activation import RELU, SIGMOID
from .broadcast import require_floating, require_integer, require_same_dtype
from .compare import LESS
from .control import scan
from .elementwise import ADD, MUL, SUB, WHERE
from .function import TANH
from .join import CONCAT, SPLIT, STACK
from .linear import LINEAR, fan_uniform, require_weight
from .sequence import IOTA
from .shape import SQUEEZE, UNSQUEEZE, require_known, zeros

LAYERS = 8
"""How many layers one op may have, since an op's record names its weights."""

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}

States: TypeAlias = "tuple[Any, ...]"
Step: TypeAlias = "Callable[[Any, States, Any, str], States]"
Values: TypeAlias = "tuple[Value, ...]"
Built: TypeAlias = "Callable[[Build, Value, Values, Value, str], Values]"


def suffixes(layers: int, bidirectional: bool) -> Iterator[str]:
    """What the names of weights end in: `_l0`, `_l0_reverse`, `_l1`, ... by layer and direction."""
    for layer in range(layers):
        yield f"_l{layer}"
        if bidirectional:
            yield f"_l{layer}_reverse"


WEIGHTS = tuple(
    f"{part}{suffix}" + "?" * (suffix != "_l0" or part.startswith("bias"))
    for suffix in suffixes(LAYERS, True)
    for part in PARTS
)
"""The weights of an op: those of a direction side by side, as PyTorch holds them."""


def chosen(layers: int, bidirectional: bool) -> list[int]:
    """Where among all weights those of each layer and direction begin."""
    every = list(suffixes(LAYERS, True))
    return [len(PARTS) * every.index(suffix) for suffix in suffixes(layers, bidirectional)]


# ----------------------------------------------------------------------------------------- types


def _require_input(name: str, x: Type, layers: Dim) -> None:
    require_floating(name, x)
    if x.rank != 3:
        raise TypeMismatch(f"{name} takes (batch, steps, width), and gets {x}")
    if isinstance(layers, int) and not 1 <= layers <= LAYERS:
        message = f"{name} has 1 to {LAYERS} layers, not {layers}"
        raise TypeMismatch(message, "value", "apply several, one after another")


def _require_states(name: str, x: Type, states: tuple[Type | None, ...], rows: Dim, n: Dim) -> None:
    """Raises unless the states are (layers * directions, batch, hidden), all or none."""
    given = [state for state in states if state is not None]
    if len(given) not in (0, len(states)):
        raise TypeMismatch(f"{name} takes both h0 and c0, or neither")
    for label, state in zip(("h0", "c0"), given, strict=False):
        require_same_dtype(name, x, state)
        require_weight(name, state, (rows, x.shape[0], n), label)


def _require_lengths(name: str, x: Type, lengths: Type | None) -> None:
    if lengths is None:
        return
    require_integer(name, lengths)
    message = f"{name} of {x} takes lengths of shape [{x.shape[0]}], and gets {lengths}"
    if lengths.rank != 1:
        raise TypeMismatch(message)
    require_equal(lengths.shape[0], x.shape[0], message)


def _infer(name: str, states: int) -> Callable[..., tuple[Type, ...]]:
    def infer(
        x: Type, *given: Type | None, hidden: Dim, layers: Dim, bidirectional: bool, **_: Any
    ) -> tuple[Type, ...]:  # fmt: skip
        directions = 2 if bidirectional else 1
        _require_input(name, x, layers)
        _require_states(name, x, given[:states], layers * directions, hidden)
        _require_lengths(name, x, given[states])
        wanted = _shapes(name, x.shape[2], hidden, layers, bidirectional, True)
        for part, weight in zip(WEIGHTS, given[states + 1 :], strict=True):
            shape = wanted.get(part.rstrip("?"))
            if shape is None and weight is not None:
                raise TypeMismatch(f"{name} of these attributes has no {part.rstrip('?')}")
            if shape is not None and weight is not None:
                require_weight(name, weight, shape, part.rstrip("?"))
        y = Type(x.dtype, (*x.shape[:2], directions * hidden), (*x.labels[:2], None))
        rows = (layers * directions, x.shape[0], hidden)
        state = Type(x.dtype, rows, (None, x.labels[0], None))
        return (y, *[state] * states)

    return infer


def _shapes(
    name: str, width: Dim, hidden: Dim, layers: Dim, bidirectional: bool, bias: bool
) -> dict[str, tuple[Dim, ...]]:
    """The shapes of the weights by name; where a class has a name for `layers`, of all there may
    be."""
    layers = layers if isinstance(layers, int) else LAYERS
    found: dict[str, tuple[Dim, ...]] = {}
    rows = GATES[name] * hidden
    for suffix in suffixes(layers, bidirectional):
        first = suffix.startswith("_l0")
        inputs = width if first else (2 if bidirectional else 1) * hidden
        found[f"weight_ih{suffix}"] = (rows, inputs)
        found[f"weight_hh{suffix}"] = (rows, hidden)
        if bias:
            found[f"bias_ih{suffix}"] = found[f"bias_hh{suffix}"] = (rows,)
    return found


def _params(name: str, states: int) -> Callable[..., dict[str, Param]]:
    def params(
        x: Type, *given: Type | None, hidden: Dim, layers: Dim, bidirectional: bool, bias: bool,
        **_: Any,
    ) -> dict[str, Param]:  # fmt: skip
        _require_input(name, x, layers)
        require_known(name, x.shape[2], hidden)
        shapes = _shapes(name, x.shape[2], hidden, layers, bidirectional, bias)
        start = fan_uniform(hidden)
        return {part: Param(Type(x.dtype, shape), start) for part, shape in shapes.items()}

    return params


# --------------------------------------------------------------------------------------- meaning


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


def _rnn_step(read: Any, states: States, held: Any, activation: str) -> States:
    total = read + held
    return (np.tanh(total) if activation == "tanh" else np.maximum(total, 0),)


def _lstm_step(read: Any, states: States, held: Any, activation: str) -> States:
    i, f, g, o = np.split(read + held, 4, -1)
    c = _sigmoid(f) * states[1] + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru_step(read: Any, states: States, held: Any, activation: str) -> States:
    (r, z, n), (hr, hz, hn) = np.split(read, 3, -1), np.split(held, 3, -1)
    z = _sigmoid(z + hz)
    n = np.tanh(n + _sigmoid(r + hr) * hn)
    return ((1 - z) * n + z * states[0],)


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


def _walk(
    step: Step, x: Any, states: States, alive: Any, weights: Any, activation: str, backwards: bool
) -> tuple[Any, States]:
    """One layer in one direction: the states behind each step, and the last."""
    read = _affine(x, weights[0], weights[2])
    y = np.zeros((*x.shape[:2], states[0].shape[-1]), x.dtype)
    for t in reversed(range(x.shape[1])) if backwards else range(x.shape[1]):
        held = _affine(states[0], weights[1], weights[3])
        made = step(read[:, t], states, held, activation)
        if alive is None:
            states, y[:, t] = made, made[0]
            continue
        here = alive[:, t, None]
        states = tuple(np.where(here, new, old) for new, old in zip(made, states, strict=True))
        y[:, t] = np.where(here, made[0], np.zeros_like(made[0]))
    return y, states


def _eval(step: Step, count: int) -> Callable[..., Any]:
    def evaluate(
        x: Any, *given: Any, hidden: int, layers: int, bidirectional: bool, bias: bool,
        activation: str = "tanh",
    ) -> Any:  # fmt: skip
        lengths, weights = given[count], given[count + 1 :]
        alive = None if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
        directions = 2 if bidirectional else 1
        last: list[States] = []
        made: list[Any] = []
        for i, start in enumerate(chosen(layers, bidirectional)):
            zeros = np.zeros((x.shape[0], hidden), x.dtype)
            states = tuple(zeros if s is None else s[i] for s in given[:count])
            own = weights[start : start + len(PARTS)]
            y, states = _walk(step, x, states, alive, own, activation, i % directions == 1)
            last.append(states)
            made = [y] if i % directions == 0 else [*made, y]
            if len(made) == directions:
                x = np.concatenate(made, -1)
        return (x, *(np.stack(states) for states in zip(*last, strict=True)))

    return evaluate


# ----------------------------------------------------------------------------------- in the graph


def _rnn_built(b: Build, read: Value, states: Values, held: Value, activation: str) -> Values:
    return (b(TANH if activation == "tanh" else RELU, b(ADD, read, held)),)


def _lstm_built(b: Build, read: Value, states: Values, held: Value, activation: str) -> Values:
    i, f, g, o = b(SPLIT, b(ADD, read, held), parts=4, axis=-1)
    kept = b(MUL, b(SIGMOID, f), states[1])
    c = b(ADD, kept, b(MUL, b(SIGMOID, i), b(TANH, g)))
    return b(MUL, b(SIGMOID, o), b(TANH, c)), c


def _gru_built(b: Build, read: Value, states: Values, held: Value, activation: str) -> Values:
    r, z, n = b(SPLIT, read, parts=3, axis=-1)
    hr, hz, hn = b(SPLIT, held, parts=3, axis=-1)
    z = b(SIGMOID, b(ADD, z, hz))
    n = b(TANH, b(ADD, n, b(MUL, b(SIGMOID, b(ADD, r, hr)), hn)))
    return (b(ADD, n, b(MUL, z, b(SUB, states[0], n))),)


def _linear(b: Build, x: Value, weight: Value, bias: Value | None) -> Value:
    features = weight.type.shape[0]
    result: Value = b(LINEAR, x, weight, bias, features=features, bias=bias is not None)
    return result


def _alive(b: Build, x: Value, lengths: Value | None) -> list[Value]:
    """(batch, steps, 1): true where a step is one of the row's own."""
    if lengths is None:
        return []
    steps = b(IOTA, size=x.type.shape[1], dtype=lengths.type.dtype)
    return [b(UNSQUEEZE, b(LESS, steps, b(UNSQUEEZE, lengths, axes=(1,))), axes=(2,))]


def _scanned(
    b: Build, built: Built, x: Value, states: Values, alive: list[Value],
    weights: Sequence[Value | None],
    activation: str, backwards: bool,
) -> tuple[Value, Values]:  # fmt: skip
    """`_walk` in the graph."""
    weight, recurrent, bias, held_bias = weights
    assert weight is not None
    captured = [value for value in (recurrent, held_bias) if value is not None]

    def step(
        b: Build, before: Sequence[Value], now: Sequence[Value], given: Sequence[Value]
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        held = _linear(b, before[0], given[0], given[1] if given[1:] else None)
        made = built(b, now[0], tuple(before), held, activation)
        if not alive:
            return made, made[:1]
        kept = [b(WHERE, now[1], new, old) for new, old in zip(made, before, strict=True)]
        return kept, [b(WHERE, now[1], made[0], 0.0)]

    read = _linear(b, x, weight, bias)
    names = ["h", "c"][: len(states)] + ["x", "alive"][: 1 + len(alive)] + ["weight", "bias"]
    names = names[: len(states) + 1 + len(alive) + len(captured)]
    last, (y,) = scan(b, step, states, [read, *alive], captured, axis=1, reverse=backwards,
                      names=names)  # fmt: skip
    return y, last


def _body(built: Built, count: int) -> Callable[..., Values]:
    def body(
        b: Build, x: Value, *given: Value | None, hidden: Dim, layers: int, bidirectional: bool,
        bias: bool, activation: str = "tanh",
    ) -> Values:  # fmt: skip
        directions = 2 if bidirectional else 1
        rows, alive = layers * directions, _alive(b, x, given[count])
        none = zeros(b, Type(x.type.dtype, (x.type.shape[0], hidden)))
        first = [[none] * rows if s is None else _apart(b, s, rows) for s in given[:count]]
        last: list[Values] = []
        made: list[Value] = []
        for i, start in enumerate(chosen(layers, bidirectional)):
            own = given[count + 1 + start : count + 1 + start + len(PARTS)]
            states = tuple(each[i] for each in first)
            y, states = _scanned(b, built, x, states, alive, own, activation, i % directions == 1)
            last.append(states)
            made = [y] if i % directions == 0 else [*made, y]
            if len(made) == directions:
                x = y if directions == 1 else b(CONCAT, *made, axis=-1)
        return (x, *(b(STACK, *states, axis=0) for states in zip(*last, strict=True)))

    return body


def _apart(b: Build, state: Value, rows: int) -> list[Value]:
    """The state of each layer and direction."""
    parts = b(SPLIT, state, parts=rows, axis=0) if rows > 1 else [state]
    return [b(SQUEEZE, part, axes=(0,)) for part in parts]


# ------------------------------------------------------------------------------------ the records


def _config(**more: Config) -> dict[str, Config]:
    return {
        "hidden": Config("size", doc="size of the state"),
        "layers": Config(
            "int",
            1,
            doc=f"1 to {LAYERS}; each takes what the one before gives. For dropout between layers"
            " apply one after another",
        ),
        "bidirectional": Config("bool", False, doc="whether a second direction goes backwards"),
        "bias": Config("bool", True, doc="whether input and state have a bias each"),
        **more,
    }


_LENGTHS = ([5, 2, 3], "i32")

_ABOUT = (
    " x is (B, T, width), y (B, T, directions * hidden), the directions side by side, h"
    " (layers * directions, B, hidden), as h0{c}. From its length on, which is 1 to T, a row's y is"
    " zeros and its state stays. Weights start uniform within 1 / sqrt(hidden)."
)

RNN = Op(
    "rnn",
    inputs=("x", "h0?", "lengths?"),
    weights=WEIGHTS,
    config=_config(activation=Config("str", "tanh", ("tanh", "relu"))),
    params=_params("rnn", 1),
    infer=_infer("rnn", 1),
    eval=_eval(_rnn_step, 1),
    body=_body(_rnn_built, 1),
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 5, 4), "hidden": 3},
        {"x": (3, 5, 4), "h0": (2, 3, 3), "hidden": 3, "bidirectional": True,
         "activation": "relu"},
        {"x": (3, 5, 4), "lengths": _LENGTHS, "hidden": 3, "layers": 2, "bias": False},
    ),
    doc="h = tanh(W x + b + U h + d) at each step; gives y and the last h." + _ABOUT.format(c=""),
)  # fmt: skip

LSTM = Op(
    "lstm",
    inputs=("x", "h0?", "c0?", "lengths?"),
    weights=WEIGHTS,
    config=_config(),
    params=_params("lstm", 2),
    infer=_infer("lstm", 2),
    eval=_eval(_lstm_step, 2),
    body=_body(_lstm_built, 2),
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 5, 4), "hidden": 3},
        {"x": (3, 5, 4), "lengths": _LENGTHS, "hidden": 3, "bidirectional": True},
        {"x": (3, 5, 4), "h0": (2, 3, 3), "c0": (2, 3, 3), "hidden": 3, "layers": 2,
         "bias": False},
        {"x": (3, 5, 4), "h0": (4, 3, 3), "c0": (4, 3, 3), "lengths": _LENGTHS, "hidden": 3,
         "layers": 2, "bidirectional": True},
    ),
    doc="Long short-term memory: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c);"
    " i, f, g, o are rows of W x + b + U h + d. Gives y, the last h and the last c."
    + _ABOUT.format(c=" and c0"),
)  # fmt: skip

GRU = Op(
    "gru",
    inputs=("x", "h0?", "lengths?"),
    weights=WEIGHTS,
    config=_config(),
    params=_params("gru", 1),
    infer=_infer("gru", 1),
    eval=_eval(_gru_step, 1),
    body=_body(_gru_built, 1),
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 5, 4), "hidden": 3},
        {"x": (3, 5, 4), "lengths": _LENGTHS, "hidden": 3, "bidirectional": True},
        {"x": (3, 5, 4), "h0": (2, 3, 3), "lengths": _LENGTHS, "hidden": 3, "layers": 2,
         "bias": False},
    ),
    doc="Gated recurrent units: h = (1 - z) n + z h, where r and z are sigmoids of rows of"
    " W x + b + U h + d, and n = tanh(W x + b + r (U h + d)): the reset gate stands behind the"
    " product. Gives y and the last h." + _ABOUT.format(c=""),
)  # fmt: skip

RECURRENT = (RNN, LSTM, GRU)
