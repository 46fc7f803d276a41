"""Small layers for what a functional model cannot hold: tensors of its own, and open sizes.

A variable may be used only inside a layer's `call`, and a size that is not known until then too. So
the ops of a class that read a `param`, or whose attributes name an open size, are gathered into
layers of their own: `Position` holds `position` and adds it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from ...compiler import expr
from ...compiler.dim import Size
from ...compiler.expr import Expr, literal
from ...compiler.graph import Init
from ...compiler.program import Apply, Class, Parameter, Var, WeightVar, walk
from ..source.compose import Assign, Composer, Return
from ..source.module import block
from ..source.names import identifier
from ..source.parts import Parts, spell
from ..source.scope import hint
from ..source.tree import text, tree
from .layers import POOLS
from .rules import RULES


def clusters(cls: Class) -> dict[Var, Custom]:
    """Which outputs of a class are computed by which layer of its own."""
    open_sizes = {n for n in cls.sizes if isinstance(cls.scopes[0].values.get(n), Size)}
    seeds = [s for s in walk(cls.body) if isinstance(s, Apply) and _inside(s, open_sizes)]
    made = {out: seed for seed in seeds for out in seed.outputs}
    users: dict[Var, list[object]] = {}
    for statement in walk(cls.body):
        for var in getattr(statement, "inputs", ()):
            users.setdefault(var, []).append(statement)
    groups: dict[Apply, list[Apply]] = {seed: [seed] for seed in seeds}
    for seed in seeds:
        only = users.get(seed.outputs[0], [])
        heir = only[0] if len(only) == 1 else None
        if (
            isinstance(heir, Apply)
            and heir in groups
            and seed.outputs[0] not in cls.outputs.values()
        ):
            groups[heir] = [*groups[seed], *groups[heir]]
            for member in groups[seed]:
                groups[member] = groups[heir]
    result: dict[Var, Custom] = {}
    for seed in seeds:
        if groups[seed][-1] is seed:
            custom = Custom(cls, groups[seed], open_sizes, set(made))
            result |= dict.fromkeys((o for s in groups[seed] for o in s.outputs), custom)
    return result


def _inside(statement: Apply, open_sizes: set[str]) -> bool:
    own = any(isinstance(v, WeightVar) and v.member is None for v in statement.inputs)
    names = {n for e in statement.attrs.values() for n in expr.names(e)}
    folds = statement.op.name in ("reshape", "flatten")
    return own or (bool(names & open_sizes) and not folds)


class Custom:
    """One such layer: `statements` in order, the last of which gives its output."""

    def __init__(
        self, cls: Class, statements: Sequence[Apply], open_sizes: set[str], made: set[Var]
    ) -> None:
        self.cls = cls
        self.statements = statements
        self.output = statements[-1].outputs[0]
        self.open = open_sizes
        own = {o for s in statements for o in s.outputs}
        read = [v for s in statements for v in s.inputs if v is not None and v not in own]
        variables = [v for v in read if isinstance(v, WeightVar)]
        self.parameters = [p for p in cls.parameters if p.var in variables]
        sizes = [cls.inputs[cls.sizes[n][0]] for n in sorted(self._names() & open_sizes)]
        tensors = [v for v in (*read, *sizes) if not isinstance(v, WeightVar)]
        self.inputs = list(dict.fromkeys(tensors)) or list(cls.inputs.values())[:1]
        self.config = sorted((self._names() | self._shape_names()) - open_sizes)
        held = self.parameters[0].name if self.parameters else self.output.name or "reshaped"
        self.member = held
        self.name = "".join(word.title() for word in identifier(held).split("_")) or "Layer"

    def _names(self) -> set[str]:
        return {n for s in self.statements for e in s.attrs.values() for n in expr.names(e)}

    def _shape_names(self) -> set[str]:
        return {n for p in self.parameters for size in p.shape for n in expr.names(size)}

    def call(
        self, inputs: list[Expr], label: Callable[[str], Expr], place: Callable[[Expr], Expr]
    ) -> Expr:
        """`Position(D, name="position")(x)`."""
        config = [place(expr.name(name)) for name in self.config]
        name = label(self.member)
        return tree(f"{self.name}(*{{config}}, name={{name}})(*{{inputs}})",
                    config=config, name=name, inputs=inputs)  # fmt: skip

    def source(self) -> str:
        """The class as text."""
        parts = [
            f'@keras.saving.register_keras_serializable(package="{identifier(self.cls.name)}")\n'
            f'class {self.name}(keras.layers.Layer):\n    """Gives {self._result()}."""\n',
            self._constructor(), self._build(), self._call(), self._shape(), self._config(),
        ]  # fmt: skip
        return "\n".join(part for part in parts if part)

    def _result(self) -> str:
        sizes = ", ".join(str(s) for s in self.output.type.shape)
        return f"{self.output.name or self.member} ({sizes})"

    def _values(self) -> dict[str, object]:
        return {name: self.cls.scopes[0].values.get(name, 0) for name in self.config}

    def _constructor(self) -> str:
        if not self.config:
            return ""
        arguments = "".join(f", {n}: {hint(v)}" for n, v in self._values().items())
        lines = "".join(f"        self.{n} = {n}\n" for n in self.config)
        return (f"    def __init__(self{arguments}, **kwargs):\n"
                f"        super().__init__(**kwargs)\n{lines}")  # fmt: skip

    def _build(self) -> str:
        if not self.parameters:
            return ""
        lines = [self._weight(p) for p in self.parameters]
        return f"    def build(self, *shapes):\n{block(lines, 2)}\n"

    def _weight(self, parameter: Parameter) -> ast.stmt:
        shape = [self._own(size) for size in parameter.shape]
        call = tree(
            "self.add_weight(shape=(*{shape},), initializer={init}, trainable={t}, name={name})",
            shape=shape, init=initializer(parameter.init), name=literal(parameter.name),
            t=None if parameter.trainable else literal(False),
        )  # fmt: skip
        return ast.Assign([expr.parse(f"self.{identifier(parameter.name)}")], call)

    def _own(self, expression: Expr) -> Expr:
        names = expr.names(expression)
        return expr.substitute(expression, {n: expr.parse(f"self.{n}") for n in names})

    def _call(self) -> str:
        out = Composer()

        def name(identifier_: str) -> Expr:
            if identifier_ not in self.open:
                return expr.parse(f"self.{identifier_}")
            source, axis = self.cls.sizes[identifier_]
            var = self.cls.inputs[source]
            place = var.order.index(axis) if var.order else axis
            return tree("keras.ops.shape({x})[{i}]", x=out.ref(var), i=literal(place))

        def place(expression: Expr) -> Expr:
            return expr.substitute(expression, {n: name(n) for n in expr.names(expression)})

        def ref(var: Var) -> Expr:
            if isinstance(var, WeightVar):
                return expr.parse(f"self.{identifier(var.part)}")
            return out.ref(var)

        for statement in self.statements:
            value = spell({**RULES, **POOLS}, Parts(statement, ref, place), "keras")
            out.lines.append(Assign(list(statement.outputs), value))
        out.lines.append(Return(out.ref(self.output)))
        names = {v: identifier(v.name or f"x{i}") for i, v in enumerate(self.inputs)}
        body = out.finish(names, {"keras", "self"})
        return f"    def call(self, {', '.join(names.values())}):\n{block(body, 2)}\n"

    def _shape(self) -> str:
        """Sizes that no hyper-parameter gives are left open."""
        order = self.output.order or range(self.output.type.rank)
        sizes = []
        for axis in order:
            size = literal(self.output.type.shape[axis])
            known = expr.names(size) <= set(self.config)
            sizes.append(text(self._own(size)) if known else "None")
        shape = f"({', '.join(sizes)},)" if sizes else "()"
        return f"    def compute_output_shape(self, *shapes):\n        return {shape}\n"

    def _config(self) -> str:
        if not self.config:
            return ""
        items = ", ".join(f'"{name}": self.{name}' for name in self.config)
        return ("    def get_config(self):\n"
                f"        return {{**super().get_config(), {items}}}\n")  # fmt: skip


def initializer(init: Init) -> Expr:
    """How Keras starts a weight of its own."""
    kinds = {
        "zeros": "'zeros'",
        "ones": "'ones'",
        "constant": "keras.initializers.Constant({a})",
        "normal": "keras.initializers.RandomNormal(stddev={a})",
        "uniform": "keras.initializers.RandomUniform({a}, {b})",
        "xavier_uniform": "keras.initializers.GlorotUniform()",
        "kaiming_uniform": "keras.initializers.VarianceScaling(1 / 3, 'fan_in', 'uniform')",
        "fan_uniform": "keras.initializers.VarianceScaling(1 / 3, 'fan_in', 'uniform')",
    }
    a, b = (*map(literal, init.args), None, None)[:2]
    return tree(kinds[init.kind], a=a, b=b)
