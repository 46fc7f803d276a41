"""The small layers of a class as text: each computes a group of ops (see `clusters`)."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Collection, Sequence

from ...compiler import expr
from ...compiler.dim import Size, symbol
from ...compiler.expr import Expr, literal
from ...compiler.ops.draw import NOISE
from ...compiler.program import Apply, Class, Parameter, Var, WeightVar, walk
from ..source.compose import Composer, Do, Return
from ..source.computation import number, numbers
from ..source.masks import masks
from ..source.module import LINE, block, docstring, nameless
from ..source.names import free, identifier
from ..source.scope import hint
from ..source.tree import text, tree
from .clusters import Group
from .release import Released
from .reserved import ATTRIBUTES, LOCALS, argument
from .rules import dtype
from .starts import initializer
from .within import Within


class Custom:
    """One such layer. `name` is its class's, `member` what it is called where it holds weights."""

    def __init__(self, cls: Class, group: Group, open_sizes: frozenset[str], name: str) -> None:
        self.cls = cls
        self.group = group
        self.open = open_sizes
        self.name = name
        self.numbers = numbers(cls)
        self.inputs = group.inputs
        self.arguments: dict[Var, str] = {}
        for var in group.inputs:
            self.arguments[var] = _fresh(argument(var.name or "x"), self.arguments.values())
        used = sorted(self._attribute_names() | self._weight_names())
        self.read_from = {n: place for n in used if (place := self._place_of(n)) is not None}
        for name_ in sorted(self._given_names() - set(used)):
            found = self._place_of(name_)
            if found is not None:
                self.read_from.setdefault(name_, found)
            elif name_ not in self.open:
                used.append(name_)
        config = [n for n in used if n not in self.read_from]
        self.config = {n: free(n, {*ATTRIBUTES, *LOCALS}) for n in config}

    @property
    def member(self) -> str | None:
        """The name of its weights' holder; None where it holds none."""
        return self.group.parameters[0].name if self.group.parameters else None

    @property
    def given(self) -> list[Var]:
        """What it gives: its first input where it only changes a state."""
        return self.group.outputs or self.group.inputs[:1]

    def _place_of(self, size: str) -> tuple[Var, int] | None:
        """The input of the layer, and the axis there as it is stored, that has a size."""
        for var in self.inputs:
            for axis, found in enumerate(var.type.shape):
                if found == symbol(size):
                    return var, _stored(var, axis)
        name, axis = self.cls.sizes.get(size, ("", 0))
        given = self.cls.inputs.get(name)  # of two sizes that are equal, its type names but one
        return (given, _stored(given, axis)) if given in self.inputs and given else None

    def _attribute_names(self) -> set[str]:
        """The names that its ops read."""
        inside = [s for s in walk(self.group.statements) if isinstance(s, Apply)]
        read = [self.numbers[v] for s in inside for v in s.inputs if v in self.numbers]
        statements = [*inside, *read]
        stacked = [v for s in inside for r in s.regions for v in r.outputs]
        sizes = {n for v in stacked for size in v.type.shape for n in expr.names(self._size(size))}
        return sizes.union(n for s in statements for e in s.attrs.values() for n in expr.names(e))

    def _weight_names(self) -> set[str]:
        """The names that the shapes of its weights are made of."""
        shapes = (e for p in self.group.parameters for e in (*p.shape, *_started(p)))
        return {n for e in shapes for n in expr.names(e)}

    def _given_names(self) -> set[str]:
        """The names that say which shapes it gives."""
        shapes = {(v.type.shape, v.order) for v in self.inputs}
        own = [v for v in self.given if (v.type.shape, v.order) not in shapes]
        sizes = (self._size(size) for v in own for size in v.type.shape)
        return {n for size in sizes for n in expr.names(size) if not n.startswith("size_")}

    def _size(self, size: int | Size) -> Expr:
        """A size in names of the class, as far as it has any."""
        return expr.substitute(literal(size), self.cls.chosen)

    @property
    def change(self) -> Var | None:
        """The new value of a state that it gives out first."""
        return self.group.change

    # ------------------------------------------------------------------------- where it is used

    def call(
        self, inputs: Sequence[Expr], label: Expr | None, place: Callable[[Expr], Expr]
    ) -> Expr:
        """`Position(D, name="position")(x)`."""
        config = [place(expr.name(name)) for name in self.config]
        return tree(f"{self.name}(*{{config}}, name={{name}})(*{{inputs}})",
                    config=config, name=label, inputs=inputs)  # fmt: skip

    # -------------------------------------------------------------------------------- as text

    def body(self) -> str:
        """What stands in the class: whoever has the same may have the same class."""
        body = [self._call(), self._shape()] if self.change is None else [self._state()]
        parts = [self._constructor(), self._build(), *body, self._get_config()]
        return "\n".join(part for part in parts if part)

    def source(self, package: str) -> str:
        """The class as text."""
        head = (
            f'@keras.saving.register_keras_serializable(package="{package}")\n'
            f"class {self.name}(keras.layers.Layer):\n    {docstring(self._doc())}\n"
        )
        return f"{head}\n{self.body()}"

    def _doc(self) -> str:
        shapes = ", ".join(_shown(self.arguments[v], v) for v in self.inputs)
        outs = ", ".join(_shown(v.name or "y", v) for v in self.given)
        held = ", ".join(p.name for p in self.group.parameters)
        if self.change is not None:
            return f"Holds {held}: gives it, or takes a new value and passes x on."
        draws = "Draws noise: " * any(s.op is NOISE for s in self.group.statements)
        whole = f"Holds {held}: {shapes} -> {outs}." if held else f"{draws}{shapes} -> {outs}."
        if len(whole) < LINE - 10:
            return whole
        first = (
            f"Holds {held}."
            if held
            else f"Computes {', '.join(v.name or 'y' for v in self.given)}."
        )
        parts = (first, f"{shapes} -> {outs}.")
        filled = [textwrap.fill(part, LINE - 8).replace("\n", "\n    ") for part in parts]
        return "\n\n    ".join(filled) + "\n    "

    def _constructor(self) -> str:
        draws = any(s.op is NOISE for s in self.group.statements)
        if not (self.config or draws):
            return ""
        values = self.cls.scopes[0].values
        sizes = {n: hint(values.get(n, 0)) for n in self.config}
        arguments = "".join(f", {self.config[n]}: {kind}" for n, kind in sizes.items())
        lines = "".join(f"        self.{n} = {n}\n" for n in self.config.values())
        lines += "        self.seed_generator = keras.random.SeedGenerator()\n" * draws
        return (f"    def __init__(self{arguments}, **kwargs):\n"
                f"        super().__init__(**kwargs)\n{lines}")  # fmt: skip

    def _signature(self, *, single: str = "input_shape") -> str:
        """The shapes that `build` and `compute_output_shape` take."""
        if len(self.inputs) == 1:
            return single
        return ", ".join(f"{n}_shape" for n in self.arguments.values())

    def _shape_of(self, var: Var) -> str:
        return "input_shape" if len(self.inputs) == 1 else f"{self.arguments[var]}_shape"

    def _build(self) -> str:
        if not self.group.parameters:
            return ""
        lines = [self._weight(p) for p in self.group.parameters]
        return f"    def build(self, {self._signature()}):\n{block(lines, 2)}\n"

    def _attribute(self, parameter: Parameter) -> str:
        return free(parameter.name, {*ATTRIBUTES, *self.config.values()})

    def _weight(self, parameter: Parameter) -> ast.stmt:
        kind = parameter.type.dtype
        order = parameter.var.order or range(parameter.type.rank)
        call = tree(
            "self.add_weight(shape=(*{shape},), initializer={init}, dtype={dtype}, "
            "trainable={trainable}, name={name})",
            shape=[self._static(parameter.shape[axis]) for axis in order],
            init=initializer(parameter.init, list(map(self._static, _started(parameter)))),
            dtype=None if kind == "f32" else dtype(kind), name=literal(parameter.name),
            trainable=None if parameter.trainable else literal(False),
        )  # fmt: skip
        return ast.Assign([expr.parse(f"self.{self._attribute(parameter)}")], call)

    def _static(self, expression: Expr) -> Expr:
        """An expression where shapes are in sight."""

        def name(each: str) -> Expr:
            if each in self.config:
                return expr.parse(f"self.{self.config[each]}")
            var, axis = self.read_from[each]
            return expr.parse(f"{self._shape_of(var)}[{_end(axis, var)}]")

        return _put(expression, name)

    def _call(self) -> str:
        out = Composer()

        def name(each: str) -> Expr:
            if each in self.config:
                return expr.parse(f"self.{self.config[each]}")
            var, axis = self.read_from[each]
            if each in self.open:
                return tree("keras.ops.shape({x})[{i}]", x=out.ref(var), i=literal(axis))
            return tree("{x}.shape[{i}]", x=out.ref(var), i=literal(_end(axis, var)))

        def place(expression: Expr) -> Expr:
            return _put(expression, name)

        def read(var: Var) -> Expr:
            if var in self.numbers:
                return self._number(var, place)
            if isinstance(var, WeightVar) and var.member is None and var in held:
                return expr.parse(f"self.{held[var]}")
            return out.ref(var)

        held = {p.var: self._attribute(p) for p in self.group.parameters}
        reserved = {*LOCALS, *self.arguments.values(), *self.config.values()}
        Within(out, read, place, self.numbers, reserved).body(self.group.statements)
        for parameter, value_var in self.group.updates:
            change = tree(
                "self.{p}.assign({v})".replace("{p}", held[parameter.var]), v=read(value_var)
            )
            out.lines.append(Do(change))
        results = [self._result(v, read(v)) for v in self.given]
        out.lines.append(
            Return(results[0] if len(results) == 1 else ast.Tuple(results, ast.Load()))
        )
        body = out.finish(self.arguments, {"keras", "self"})
        arguments = ", ".join(self.arguments.values())
        arguments += ", training=False" * any(map(masks, self.group.statements))
        return f"    def call(self, {arguments}):\n{block(body, 2)}\n"

    def _state(self) -> str:
        """Gives the state, or takes its new value, once the old one has been read."""
        (parameter,) = self.group.parameters
        held = self._attribute(parameter)
        kind = text(dtype(parameter.type.dtype))
        shape = ", ".join(text(self._static(size)) for size in parameter.shape)
        comma = "," if parameter.type.rank == 1 else ""
        spec = f"keras.KerasTensor(({shape}{comma}), {kind})".replace("input_shape", "x.shape")
        return f"""    def call(self, x, new=None, old=None):
        if new is None:
            return keras.ops.copy(self.{held})
        self.{held}.assign(new)
        return x

    def compute_output_spec(self, x, new=None, old=None):
        return {spec} if new is None else keras.KerasTensor(x.shape, x.dtype)
"""

    def _result(self, var: Var, value: Expr) -> Expr:
        """A weight that is given out as it is must become a tensor."""
        if isinstance(var, WeightVar):
            return tree("keras.ops.copy({v})", v=value)
        return value

    def _number(self, var: Var, place: Callable[[Expr], Expr]) -> Expr:
        """A constant; an open size among floats must become one."""
        made = self.numbers[var]
        value = number(made, place)
        given = made.attrs.get("value")
        if given is not None and expr.names(given) & self.open:
            return tree("keras.ops.cast({v}, {d})", v=value, d=dtype(var.type.dtype))
        return value

    def _shape(self) -> str:
        """Sizes that neither hyper-parameters nor inputs give are left open."""
        shapes = [self._output_shape(v) for v in self.given]
        if all(v.type.dtype == "f32" for v in self.given):
            shown = shapes[0] if len(shapes) == 1 else f"({', '.join(shapes)})"
            signature = self._signature()
            return f"    def compute_output_shape(self, {signature}):\n        return {shown}\n"
        names = list(self.arguments.values())
        lines = [f"        {self._shape_of(v)} = {n}.shape\n" for v, n in self.arguments.items()
                 if any(self._shape_of(v) in s for s in shapes)]  # fmt: skip
        specs = [f"keras.KerasTensor({s}, {text(dtype(v.type.dtype))})"
                 for s, v in zip(shapes, self.given, strict=True)]  # fmt: skip
        shown = specs[0] if len(specs) == 1 else f"({', '.join(specs)})"
        return (f"    def compute_output_spec(self, {', '.join(names)}):\n"
                f"{''.join(lines)}        return {shown}\n")  # fmt: skip

    def _output_shape(self, var: Var) -> str:
        for given in self.inputs:
            if given.type.shape == var.type.shape and given.order == var.order:
                return self._shape_of(given)
        order = var.order or range(var.type.rank)
        sizes = [self._known(var.type.shape[axis]) for axis in order]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    def _known(self, size: int | Size) -> str:
        expression = self._size(size)
        found = expr.names(expression)
        bare = isinstance(expression, ast.Name)
        if found & self.open and not bare:
            return "None"
        if not found <= {*self.config, *self.read_from}:
            return "None"
        return text(self._static(expression))

    def _get_config(self) -> str:
        if not self.config:
            return ""
        items = ", ".join(f'"{n}": self.{n}' for n in self.config.values())
        return ("    def get_config(self):\n"
                f"        return {{**super().get_config(), {items}}}\n")  # fmt: skip


def _stored(var: Var, axis: int) -> int:
    """The place of an axis as the tensor is stored."""
    return var.order.index(axis) if var.order else axis


def _put(expression: Expr, name: Callable[[str], Expr]) -> Expr:
    """The expression in plain Python, with its names put in."""
    plain = expr.spoken(expression)
    return expr.substitute(plain, {n: name(n) for n in expr.names(plain)})


def _started(parameter: Parameter) -> Sequence[Expr]:
    """The shape that the fan is counted by."""
    return parameter.kernel if isinstance(parameter, Released) else parameter.shape


def _fresh(wish: str, taken: Collection[str]) -> str:
    name, number_ = free(wish, ()), 2
    while name in taken:
        name, number_ = f"{wish}{number_}", number_ + 1
    return name


def _end(axis: int, var: Var) -> int:
    """The last axis is counted from the end."""
    return -1 if axis == var.type.rank - 1 else axis


def _shown(name: str, var: Var) -> str:
    order = var.order or range(var.type.rank)
    sizes = (var.type.shape[axis] for axis in order)
    return f"{name} ({', '.join('?' if nameless(s) else str(s) for s in sizes)})"


def camel(name: str) -> str:
    """`position_bias` as a class is called."""
    words = identifier(name).split("_")
    return "".join(word[:1].upper() + word[1:] for word in words if word) or "Own"


__all__ = ["Custom", "camel"]
