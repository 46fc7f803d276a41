"""Recurrent layers: Keras' own where y alone is read, else a layer of the file that stacks them.

Keras' layers give the states that PyTorch gives, and begin and end rows as a mask says; behind its
end they repeat a row's last result, and hand the mask on. Their gates stand in the order of
PyTorch's but for gru's, z, r, h; an LSTM has one bias, which stands for the sum of PyTorch's two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...compiler.expr import Expr, literal
from ...compiler.graph import Weight
from ...compiler.program import Apply, Class, Program, walk
from ...compiler.weight import Entry, Step
from ..source.computation import users
from ..source.parts import Parts
from ..source.tree import is_literal, tree

KINDS: Mapping[str, tuple[str, str]] = {
    "rnn": ("SimpleRNN", "simple_rnn"), "lstm": ("LSTM", "lstm"), "gru": ("GRU", "gru"),
}  # fmt: skip
"""What Keras calls them, and their cells."""

OWN: Mapping[str, str] = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""What the file's own layers are called."""

STATES: Mapping[str, tuple[str, ...]] = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}


def trim(program: Program) -> None:
    """Takes away the last states of layers that are Keras' own if nobody reads them."""
    for cls in program.classes:
        read = users(cls)
        found = [*_applied(cls)]
        kept = {s.member for s in found if special(s) or any(y in read for y in s.outputs[1:])}
        for statement in found:
            if statement.member not in kept:
                statement.outputs = statement.outputs[:1]


def own(apply: Apply) -> bool:
    """Whether the op needs the file's own layer."""
    return special(apply) or len(apply.outputs) > 1


def special(apply: Apply) -> bool:
    """Whether it does, even if y alone is read."""
    given = any(x is not None for x in apply.inputs[1 : len(apply.op.inputs)])
    several = not is_literal(apply.attrs["layers"], 1)
    open_ = not isinstance(apply.values.get("bidirectional"), bool)
    return given or several or open_


def recurrent(p: Parts) -> Expr:
    """The layer, applied."""
    bias = p.unless("bias", True)
    activation = p.unless("activation", "tanh") if p.op.name == "rnn" else None
    if own(p.apply):
        names = [n.rstrip("?") for n in p.op.inputs[1:]]
        template = "".join(f", {n}={{{n}}}" for n in names)
        return p.fill(
            f"{OWN[p.op.name]}({{hidden}}, depth={{depth}}, bidirectional={{both}}, "
            f"activation={{act}}, use_bias={{bias_}}, name={{name}})({{x}}{template})",
            depth=p.unless("layers", 1), both=p.unless("bidirectional", False), bias_=bias,
            act=activation,
        )  # fmt: skip
    start = p.fill("uniform({hidden})")
    both = p.apply.values["bidirectional"]
    made = p.fill(
        f"keras.layers.{KINDS[p.op.name][0]}({{hidden}}, activation={{act}}, use_bias={{bias_}}, "
        "kernel_initializer={start}, recurrent_initializer={start}, bias_initializer={first}, "
        "unit_forget_bias={forget}, return_sequences=True, name={own})",
        act=activation, bias_=bias, start=start, first=start if bias is None else None,
        forget=literal(False) if p.op.name == "lstm" and bias is None else None,
        own=literal(KINDS[p.op.name][1]) if both else p.name,
    )  # fmt: skip
    if both:
        return p.fill("keras.layers.Bidirectional({made}, name={name})({x})", made=made)
    return tree("{f}({x})", f=made, x=p["x"])


# ---------------------------------------------------------------------------------------- weights


def entry(weight: Weight, apply: Apply, name: str) -> Entry | None:
    """The variable that holds a weight, below `name`; None for what another one's entry has."""
    assert weight.layer is not None
    layer = weight.layer
    part, _, end = weight.part.partition("_l")
    if part == "bias_hh":
        return None
    number, _, back = end.partition("_")
    op = layer.op.name
    cell = KINDS[op][1]
    path = [name, f"l{number}"] if own(apply) else [name]
    if layer.attrs["bidirectional"]:
        path.append(f"{'backward' if back else 'forward'}_{cell}")
    variable = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias_ih": "bias"}[part]
    target = "/".join([*path, f"{cell}_cell", variable])
    if part != "bias_ih":
        turned = (*_gates(op, weight), Step("permute", (1, 0)))
        return Entry(target, (weight.path,), turned)
    both = (weight.path, layer.weights[weight.part.replace("ih", "hh")].path)
    if op != "gru":
        return Entry(target, both, (Step("sum", (2,)),))
    size = _known(weight)
    rows = Step("reshape", (size, (1, *size)))
    return Entry(target, both, (*_gates(op, weight), rows, Step("concat", (0, (1, 1)))))


def _known(weight: Weight) -> tuple[int, ...]:
    return tuple(size for size in weight.type.shape if isinstance(size, int))


def _gates(op: str, weight: Weight) -> Sequence[Step]:
    """Keras' order of gates."""
    if op != "gru":
        return ()
    size = _known(weight)
    apart = (3, size[0] // 3, *size[1:])
    return (
        Step("reshape", (size, apart)), Step("take", (0, 3, (1, 0, 2))),
        Step("reshape", (apart, size)),
    )  # fmt: skip


SUMMED = (
    "one bias stands for the sum of two and starts as one: a step of an optimiser moves each of the"
    " two, so their sum twice as far"
)


def summed(weights: Sequence[Weight]) -> tuple[str, ...]:
    """The biases of which one variable holds the sum."""
    return tuple(
        w.path for w in weights
        if w.layer is not None and w.layer.op.name in ("rnn", "lstm") and "bias" in w.part
    )  # fmt: skip


# ----------------------------------------------------------------------------------- as text


def layers(program: Program, package: str) -> Iterator[str]:
    """The file's own layers, with what the program needs of them."""
    found: dict[str, list[Apply]] = {}
    for cls in program.classes:
        for s in _applied(cls):
            if own(s):
                found.setdefault(s.op.name, []).append(s)
    for op, applied in found.items():
        yield _Layer(op, applied, package).source()


def _applied(cls: Class) -> Iterator[Apply]:
    for s in walk(cls.body):
        if isinstance(s, Apply) and s.op.name in KINDS and s.member is not None:
            yield s


_OPTIONS: Mapping[str, tuple[str, str, object]] = {
    "layers": ("depth", "int = 1", 1), "bidirectional": ("bidirectional", "bool = False", False),
    "activation": ("activation", 'str = "tanh"', "tanh"), "bias": ("use_bias", "bool = True", True),
}  # fmt: skip
"""What the language calls the layer's options, what the layer does, and their defaults."""


class _Layer:
    """One kind: what any application of it needs."""

    def __init__(self, op: str, found: Sequence[Apply], package: str) -> None:
        self.op = op
        self.package = package
        names = [n.rstrip("?") for n in found[0].op.inputs]
        given = {n: [s.inputs[i] is not None for s in found] for i, n in enumerate(names) if i}
        self.given = {n: "" if all(there) else "=None" for n, there in given.items() if any(there)}
        self.options = {
            name: kind
            for key, (name, kind, default) in _OPTIONS.items()
            if any(key in s.attrs and not is_literal(s.attrs[key], default) for s in found)
        }
        self.deep = "depth" in self.options
        self.both = "bidirectional" in self.options

    def source(self) -> str:
        """The class."""
        options = "".join(f", {name}: {kind}" for name, kind in self.options.items())
        stored = "".join(f"        self.{name} = {name}\n" for name in self.options)
        items = "".join(f', "{name}": self.{name}' for name in self.options)
        given = "".join(f", {name}{default}" for name, default in self.given.items())
        return f'''@keras.saving.register_keras_serializable(package="{self.package}")
class {OWN[self.op]}(keras.layers.Layer):
    """{self._doc()}"""

    def __init__(self, units: int{options}, **kwargs):
        super().__init__(**kwargs)
        self.units = units
{stored}
{self._build()}
    def call(self, x{given}):
{self._call()}
    def compute_output_spec(self, x{given}):
{self._spec()}
    def get_config(self):
        return {{**super().get_config(), "units": self.units{items}}}
'''

    @property
    def _ways(self) -> str:
        """How many directions there are."""
        return "(1 + self.bidirectional)" if self.both else ""

    def _doc(self) -> str:
        layer = f"keras.layers.{KINDS[self.op][0]}"
        what = f"Layers of {layer}" if self.deep else layer
        rows = " * ".join(["layers"] * self.deep + ["directions"] * self.both) or "1"
        width = "directions * units" if self.both else "units"
        states = " and ".join(STATES[self.op])
        text = (
            f"{what} over x (B, T, C).\n\n"
            f"    Gives y (B, T, {width}) and the last {states} ({rows}, B, units)."
        )
        if "lengths" in self.given:
            text += "\n    A row ends at its length: zeros follow, and its states stay."
        return f"{text}\n    "

    def _build(self) -> str:
        shapes = "".join(f", {name}_shape{default}" for name, default in self.given.items())
        made = self._made()
        if not self.deep:
            wrapped = (
                "        if self.bidirectional:\n"
                '            layer = keras.layers.Bidirectional(layer, name="l0")\n'
            ) * self.both
            return (
                f"    def build(self, x_shape{shapes}):\n        layer = {made}\n{wrapped}"
                "        layer.build(x_shape)\n        self.layer = layer\n"
            )
        wrapped = (
            "            if self.bidirectional:\n"
            '                layer = keras.layers.Bidirectional(layer, name=f"l{i}")\n'
        ) * self.both
        width = " * ".join([self._ways] * self.both + ["self.units"])
        return f"""    def build(self, x_shape{shapes}):
        self.stack = []
        for i in range(self.depth):
            layer = {made}
{wrapped}            layer.build(x_shape)
            x_shape = (*x_shape[:-1], {width})
            self.stack.append(layer)
"""

    def _made(self) -> str:
        """The construction of one layer."""
        kind, cell = KINDS[self.op]
        own = 'f"l{i}"' if self.deep else '"l0"'
        name = f'"{cell}" if self.bidirectional else {own}' if self.both else own
        arguments = [
            "self.units",
            *(f"{n}=self.{n}" for n in ("activation", "use_bias") if n in self.options),
            *(
                f"{part}_initializer=uniform(self.units)"
                for part in ("kernel", "recurrent", "bias")
            ),
            *["unit_forget_bias=False"] * (self.op == "lstm"),
            "return_sequences=True",
            "return_state=True",
            f"name={name}",
        ]
        return f"keras.layers.{kind}({', '.join(arguments)})"

    def _call(self) -> str:
        lines, passed = [], ""
        if "lengths" in self.given:
            places = "keras.ops.arange(keras.ops.shape(x)[1], dtype=lengths.dtype)"
            seen = f"{places} < lengths[:, None]"
            lines.append(f"mask = {self._unless('lengths', seen)}")
            passed = ", mask=mask"
        if "h0" in self.given:
            each = "for i in range(h0.shape[0])"
            flat = f"[s[i] {each} for s in (h0, c0)]" if self.op == "lstm" else f"[h0[i] {each}]"
            lines.append(f"states = {self._unless('h0', flat)}")
        lines += self._deep(passed) if self.deep else self._single(passed)
        several = len(STATES[self.op]) > 1
        parts = ("last[::2]", "last[1::2]") if several else ("last",)
        y = "x" if self.deep else "y"
        if "lengths" in self.given:  # zeros, in a tensor that carries no mask on
            zeros = f"keras.ops.where(mask[:, :, None], {y}, 0.0)"
            alone = f"{y} if mask is None else " if self.given["lengths"] else ""
            lines.append(f"{y} = {alone}{zeros}")
        lines.append(f"return {y}, {', '.join(f'keras.ops.stack({part})' for part in parts)}")
        return "".join(f"        {line}\n" for line in lines)

    def _unless(self, name: str, value: str) -> str:
        """The value, or None where that input may be left out and is."""
        return f"None if {name} is None else {value}" if self.given[name] else value

    def _single(self, passed: str) -> list[str]:
        states = ", initial_state=states" if "h0" in self.given else ""
        return [f"y, *last = self.layer(x{passed}{states})"]

    def _deep(self, passed: str) -> list[str]:
        lines = ["last = []", "for layer in self.stack:"]
        if "h0" in self.given:
            count = " * ".join([str(len(STATES[self.op]))] + [self._ways] * self.both)
            own = f"states[len(last) : len(last) + {count}]"
            lines.append(f"    first = {f'states and {own}' if self.given['h0'] else own}")
            passed += ", initial_state=first"
        return [*lines, f"    x, *after = layer(x{passed})", "    last += after"]

    def _spec(self) -> str:
        width = " * ".join([self._ways] * self.both + ["self.units"])
        rows = " * ".join(["self.depth"] * self.deep + [self._ways] * self.both) or "1"
        lines = [
            f"y = keras.KerasTensor((*x.shape[:-1], {width}), dtype=self.compute_dtype)",
            f"shape = ({rows.strip('()') if not self.deep else rows}, x.shape[0], self.units)",
        ]
        state = "keras.KerasTensor(shape, dtype=y.dtype)"
        lines.append(f"return y, {', '.join([state] * len(STATES[self.op]))}")
        return "".join(f"        {line}\n" for line in lines)
