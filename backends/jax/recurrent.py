"""Recurrent layers in JAX: a module of the file, which scans its steps.

NNX' own cells have other biases, and no layer of its goes through several directions and lengths
as PyTorch's does. Gates stand in PyTorch's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...compiler.expr import Expr
from ...compiler.graph import Weight
from ...compiler.ops.recurrent import GATES, suffixes
from ...compiler.program import Apply, Program, walk
from ...compiler.weight import Step
from ..source.parts import Parts
from ..source.tree import is_literal
from .policy import PLAIN, Policy
from .starts import size

NAMES: Mapping[str, str] = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""What the modules are called."""

_OPTIONS: Mapping[str, tuple[str, str, object]] = {
    "layers": ("depth", "int = 1", 1), "bidirectional": ("bidirectional", "bool = False", False),
    "activation": ("activation", 'str = "tanh"', "tanh"), "bias": ("use_bias", "bool = True", True),
}  # fmt: skip
"""What the language calls a layer's options, what the module does, and their defaults."""


def made(p: Parts) -> Expr:
    """`LSTM(inputs, hidden, depth=2, rngs=rngs)`."""
    given = {name: p.unless(key, default) for key, (name, _, default) in _OPTIONS.items()
             if key in p.all}  # fmt: skip
    options = "".join(f"{name}={{{name}_}}, " for name in given)
    return p.fill(
        f"{NAMES[p.op.name]}({{inputs}}, {{hidden}}, {options}rngs=rngs)",
        inputs=size(p, -1), **{f"{name}_": value for name, value in given.items()},
    )  # fmt: skip


def applied(p: Parts) -> Expr:
    """Its application; what may be absent goes by name."""
    names = [n.rstrip("?") for n in p.op.inputs[1:]]
    return p.fill("{name}({x}" + "".join(f", {n}={{{n}}}" for n in names) + ")")


def place(program: Program, weight: Weight) -> tuple[str, tuple[Step, ...]]:
    """`read.1.kernel`, `held.bias`: the number is that of the layer and direction."""
    assert weight.layer is not None
    part, _, end = weight.part.partition("_l")
    attrs = weight.layer.attrs
    number = [*suffixes(attrs["layers"], attrs["bidirectional"])].index(f"_l{end}")
    kind, way = part.split("_")
    module = "read" if way == "ih" else "held"
    name = f"{module}.{number}" if several(_found(program, weight.layer.op.name)) else module
    if kind == "bias":
        return f"{name}.bias", ()
    return f"{name}.kernel", (Step("permute", (1, 0)),)


def several(found: Sequence[Apply]) -> bool:
    """Whether some application goes through more than one layer or direction."""
    return any(_has(found, key) for key in ("layers", "bidirectional"))


def _has(found: Sequence[Apply], key: str) -> bool:
    default = _OPTIONS[key][2]
    return any(key in s.attrs and not is_literal(s.attrs[key], default) for s in found)


def _found(program: Program, op: str) -> list[Apply]:
    statements = (s for cls in program.classes for s in walk(cls.body))
    return [s for s in statements if isinstance(s, Apply) and s.op.name == op and s.member]


# ----------------------------------------------------------------------------------- as text


def modules(program: Program, policy: Policy = PLAIN) -> Iterator[str]:
    """The modules that the program needs, with what it needs of them."""
    for op in NAMES:
        found = _found(program, op)
        if found:
            yield _Module(op, found, policy).source()


_GATES: Mapping[str, Sequence[str]] = {
    "lstm": (
        "i, f, g, o = jnp.split(read + held(h), 4, axis=-1)",
        "{c} = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)",
        "{h} = nnx.sigmoid(o) * jnp.tanh({c})",
    ),
    "gru": (
        "(r, z, n), (hr, hz, hn) = (jnp.split(y, 3, axis=-1) for y in (read, held(h)))",
        "z = nnx.sigmoid(z + hz)",
        "n = jnp.tanh(n + nnx.sigmoid(r + hr) * hn)",
        "{h} = (1 - z) * n + z * h",
    ),
}
"""What makes the states of a step; `read` is what the gates take of x."""


class _Module:
    """One kind: what any application of it needs."""

    def __init__(self, op: str, found: Sequence[Apply], policy: Policy) -> None:
        self.op = op
        self.policy = policy
        self.states = ("h", "c") if op == "lstm" else ("h",)
        names = [n.rstrip("?") for n in found[0].op.inputs]
        given = {n: [s.inputs[i] is not None for s in found] for i, n in enumerate(names) if i}
        self.given = {n: all(there) for n, there in given.items() if any(there)}
        self.options = {n: kind for key, (n, kind, _) in _OPTIONS.items() if _has(found, key)}
        self.deep, self.both = "depth" in self.options, "bidirectional" in self.options
        self.listed = self.deep or self.both
        self.rows = "lengths" in self.given

    def source(self) -> str:
        """The class."""
        options = "".join(f", {name}: {kind}" for name, kind in self.options.items())
        given = "".join(
            f", {name}: jax.Array" + ("" if there else " | None = None")
            for name, there in self.given.items()
        )
        kind = ", ".join(["jax.Array"] * (1 + len(self.states)))
        return f'''class {NAMES[self.op]}(nnx.Module):
    """{self._doc()}"""

    def __init__(self, inputs: int, hidden: int{options}, *, rngs: nnx.Rngs) -> None:
{_lines(self._constructor())}
    def __call__(self, x: jax.Array{given}) -> tuple[{kind}]:
{_lines(self._call())}'''

    def _doc(self) -> str:
        rows = " * ".join(["layers"] * self.deep + ["directions"] * self.both) or "1"
        width = "directions * hidden" if self.both else "hidden"
        text = (
            f"{NAMES[self.op]} over x (B, T, C).\n\n    Gives y (B, T, {width}) and the last"
            f" {' and '.join(self.states)} ({rows}, B, hidden)."
        )
        if self.rows:
            text += "\n    A row ends at its length: zeros follow, and its states stay."
        return f"{text}\n    "

    def _constructor(self) -> Iterator[str]:
        gates = GATES[self.op]
        features = f"{gates} * hidden" if gates > 1 else "hidden"
        bias = "use_bias=use_bias, " if "use_bias" in self.options else ""
        start = f"{bias}kernel_init=start, bias_init=start, {self._told()}rngs=rngs"
        yield "self.hidden = hidden"
        yield from ["self.activation = activation"] * ("activation" in self.options)
        yield from ["self.ways = 1 + bidirectional"] * self.both
        yield "start = uniform(hidden)"
        if not self.listed:
            yield f"self.read = nnx.Linear(inputs, {features}, {start})"
            yield f"self.held = nnx.Linear(hidden, {features}, {start})"
            return
        later = "self.ways * hidden" if self.both else "hidden"
        first = "self.ways" if self.both else ""
        depth = "(depth - 1)" if self.deep else ""
        widths = f"[inputs] * {first}" if self.both else "[inputs]"
        if self.deep:
            count = f"{depth} * self.ways" if self.both else depth
            widths += f" + [{later}] * {count}"
        yield f"widths = {widths}"
        yield ""
        yield "def linear(width: int) -> nnx.Linear:"
        yield f"    return nnx.Linear(width, {features}, {start})"
        yield ""
        yield "self.read = nnx.List([linear(width) for width in widths])"
        yield "self.held = nnx.List([linear(hidden) for _ in widths])"

    def _told(self) -> str:
        """What its linear layers are told of precision."""
        told = self.policy.layer_arguments("linear")
        return "".join(f"{name}={value}, " for name, value in told.items())

    def _wide(self, x: str) -> str:
        """States, and what is added to make them, whatever the precision of products."""
        return f"{x}.astype(jnp.float32)" if self.policy.narrow else x

    # ------------------------------------------------------------------------------ the call

    def _call(self) -> Iterator[str]:
        yield from self._step()
        yield ""
        if self.rows:
            seen = "(jnp.arange(x.shape[1]) < lengths[:, None]).T[..., None]"
            default = "" if self.given["lengths"] else "None if lengths is None else "
            yield f"alive = {default}{seen}"
        if not self.given.get("h0"):
            kind = "jnp.float32" if self.policy.narrow else "x.dtype"
            yield f"zeros = jnp.zeros((x.shape[0], self.hidden), {kind})"
        yield "y = x.swapaxes(0, 1)"
        yield from self._scans()
        last = [f"jnp.stack({s})" if self.listed else f"{s}[None]" for s in self.states]
        yield f"return y.swapaxes(0, 1), {', '.join(last)}"

    def _step(self) -> Iterator[str]:
        """The function that a scan runs."""
        held = "held, " if self.listed else ""
        states = "states" if len(self.states) > 1 else "h"
        yield f"def step({held}{states}, {'now' if self.rows else 'read'}):"
        if self.rows:
            yield "    read, alive = now"
        yield from ["    h, c = states"] * (len(self.states) > 1)
        function = "held(h)" if self.listed else "self.held(h)"
        for line in self._gates():
            yield "    " + line.replace("held(h)", function)
        if not self.rows:
            yield f"    return {self._packed(self.states)}, h"
            return
        yield from self._masked()

    def _gates(self) -> list[str]:
        names = {s: f"new_{s}" if self.rows else s for s in self.states}
        if self.op != "rnn":
            return [line.format(**names) for line in _GATES[self.op]]
        function = "jnp.tanh"
        if "activation" in self.options:
            function = "(jnp.tanh if self.activation == 'tanh' else nnx.relu)"
        return [f"{names['h']} = {function}(read + held(h))"]

    def _masked(self) -> Iterator[str]:
        """Keeps the states of a row that has ended."""
        if not self.given["lengths"]:
            whole = self._packed([f"new_{s}" for s in self.states])
            yield "    if alive is None:"
            yield f"        return {whole}, new_h"
        for s in self.states:
            yield f"    {s} = jnp.where(alive, new_{s}, {s})"
        yield f"    return {self._packed(self.states)}, jnp.where(alive, new_h, 0)"

    def _packed(self, parts: Sequence[str]) -> str:
        return f"({', '.join(parts)})" if len(parts) > 1 else parts[0]

    def _first(self, place: str) -> str:
        """The states that a scan begins with."""
        zeros = self._packed(["zeros"] * len(self.states))
        if "h0" not in self.given:
            return zeros
        own = self._packed([self._wide(f"{s}0[{place}]") for s in self.states])
        return own if self.given["h0"] else f"{zeros} if h0 is None else {own}"

    def _scan(self, read: str, step: str, place: str, reverse: str = "") -> str:
        given = self._wide(f"{read}(y)")
        taken = f"({given}, alive)" if self.rows else given
        back = f", reverse={reverse}" if reverse else ""
        return f"jax.lax.scan({step}, {self._first(place)}, {taken}{back})"

    def _scans(self) -> Iterator[str]:
        made = self._packed(self.states)
        if not self.listed:
            yield f"{made}, y = {self._scan('self.read', 'step', '0')}"
            return
        names = ", ".join(self.states)
        yield f"{names} = {', '.join(['[]'] * len(self.states))}"
        states = self._packed([f"last_{s}" for s in self.states])
        adds = [f"{s}.append(last_{s})" for s in self.states]
        step = "partial(step, self.held[k])"
        if not self.both:
            yield "for k, read in enumerate(self.read):"
            yield f"    {states}, y = {self._scan('read', step, 'k')}"
            yield from (f"    {line}" for line in adds)
            return
        yield "for first in range(0, len(self.read), self.ways):"
        yield "    made = []"
        yield "    for k in range(first, first + self.ways):"
        yield f"        {states}, z = {self._scan('self.read[k]', step, 'k', 'k > first')}"
        yield "        made.append(z)"
        yield from (f"        {line}" for line in adds)
        yield "    y = jnp.concatenate(made, axis=-1)"


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"        {line}\n" if line else "\n" for line in lines)
