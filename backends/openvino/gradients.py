"""The file for a model in training mode, or with its gradients: all of it in one method, the
weights being inputs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.passes.adjoint import Adjoint
from ...compiler.program import Apply, Class, Program, Var
from ..source.compose import Assign, Do, For, Line, Return, Store
from ..source.module import block, describe, docstring, formatted, join, title
from ..source.names import free, rename
from ..source.scope import Scope
from ..source.tree import tree
from .convolution import ROWS
from .file import block_text, helpers, imports, parameter
from .flat import flatten
from .methods import Methods
from .printer import Graph as Lines
from .reserved import ATTRIBUTES, FLAT
from .rules import RULES, Rule
from .states import shared

SHARED = "f32"
"""The dtype of the weights that stand in one table; others are inputs like the model's own."""


class Body(Lines):
    """The lines of the method: `outputs["grad.x"] = ...` stands where an output is made.

    `table` are the weights that are read as `w["conv1.weight"]`, `cotangents` the inputs with which
    reverse mode begins, `again` the outputs whose tensor has another name already.
    """

    rules: ClassVar[Mapping[str, Rule]] = {**RULES, **ROWS}

    def __init__(
        self,
        program: Program,
        scope: Scope,
        table: Collection[str],
        cotangents: Collection[str],
        again: Collection[str],
    ) -> None:
        cls = program.model
        super().__init__(cls, scope, FLAT, Methods(program, str), {}, {})
        self.table = {cls.inputs[name]: name for name in table}
        self.again = again
        self.reverse = {cls.inputs[name] for name in cotangents}
        self.ends: dict[Var, list[str]] = {}
        for name, var in cls.outputs.items():
            self.ends.setdefault(var, []).append(name)

    def read(self, var: Var) -> Expr:
        if var in self.table and var not in self.fixed:
            return tree("w[{name}]", name=literal(self.table[var]))
        return super().read(var)

    def skips(self, statement: Apply) -> bool:
        """A transposed operand of a product is an argument of the product."""
        if super().skips(statement):
            return True
        (user, *others) = self.users.get(statement.outputs[0], (None,))
        product = not others and isinstance(user, Apply) and user.op.name == "matmul"
        return product and _turned(statement)

    def spelled(self, statement: Apply) -> Expr:
        if statement.op.name != "matmul":
            return super().spelled(statement)
        sides: dict[str, Expr] = {}
        for side, var in zip("ab", statement.inputs, strict=True):
            assert var is not None
            made = self.made.get(var)
            turned = made is not None and self.skips(made)
            inner = made.inputs[0] if made is not None and turned else var
            assert inner is not None
            sides |= {side: self.read(inner), f"t{side}": literal(turned)}
        return tree("ops.matmul({a}, {b}, transpose_a={ta}, transpose_b={tb})", **sides)

    def define(self, outputs: Sequence[Var], value: Expr) -> None:
        back = any(var in self.reverse for var in self.out.reads(value))
        self.reverse |= set(outputs) if back else set()
        self.out.lines.append(Assign(list(outputs), value, "g" if back else "h"))
        self.give(outputs)

    def give(self, made: Collection[Var]) -> None:
        """Adds the lines that give tensors out."""
        for var in made:
            for name in self.ends.get(var, ()):
                value = self.result(var)
                if name in self.again:
                    value = tree("ops.identity({x})", x=self.read(var))
                target = tree("outputs[{name}]", name=literal(name))
                self.out.lines.append(Store(target, value))


def _turned(statement: Apply) -> bool:
    """Whether it swaps the last two axes."""
    if statement.op.name != "transpose":
        return False
    rank = statement.outputs[0].type.rank
    order = statement.values["axes"]
    return order is None or tuple(order) == (*range(rank - 2), rank - 1, rank - 2)


def source(adjoint: Adjoint) -> str:
    """The text of the file. The graph of `adjoint` is changed on the way."""
    graph, weights = adjoint.graph, tuple(adjoint.graph.weights)
    program = flatten(graph)
    cls = program.model
    cls.name = free(cls.name, FLAT)
    types = {given.name: given.type for given in graph.inputs}
    table = {n: literal(list(types[n].shape)) for n in weights if types[n].dtype == SHARED}
    method = _build(adjoint, program, table)
    text = f"class {cls.name}:\n    {docstring(_describe(adjoint, cls, weights))}\n\n"
    parts = [*helpers(method), method]
    whole = text + "\n\n".join(block_text(part) for part in parts)
    body = join([whole, _function(cls.name, bool(weights), bool(adjoint.cotangents))])
    head = imports(body) + (f"\n\n{_table(table)}" if table else "")
    return formatted(join([title(cls, "openvino"), head, body]))


def _table(table: Mapping[str, Expr]) -> str:
    rows = "".join(f"    {expr.show(literal(n))}: {expr.show(s)},\n" for n, s in table.items())
    return f'WEIGHTS = {{\n{rows}}}\n"""The shapes of the weights, which are inputs."""\n'


def _describe(adjoint: Adjoint, cls: Class, weights: Collection[str]) -> str:
    """The shapes of the model's own inputs and outputs, and what the others are."""
    others = {*adjoint.cotangents.values(), *weights}
    others |= {*adjoint.inputs.values(), *adjoint.weights.values()}
    own = Class(
        cls.name, cls.definition, [], cls.sizes,
        {name: var for name, var in cls.inputs.items() if name not in others},
        {name: var for name, var in cls.outputs.items() if name not in others},
        [], [], [], cls.scopes, [],
    )  # fmt: skip
    shapes = describe(own, facts=adjoint.graph.facts, verb="Builds the graph")
    if not adjoint.cotangents:
        return shapes
    return (
        f"{shapes}\n\n"
        "    An input `grad.<output>` is what the output is weighted by, element by element; an\n"
        "    output `grad.<name>` is the gradient of the sum of it all by an input or a weight.\n"
        "    "
    )


def _build(adjoint: Adjoint, program: Program, table: Mapping[str, Expr]) -> str:
    """The method `build`."""
    cls, graph = program.model, adjoint.graph
    scope = Scope(cls, ATTRIBUTES, FLAT)
    lines = Body(program, scope, table, adjoint.cotangents.values(), shared(graph))
    lines.give(cls.inputs.values())
    lines.body(cls.body)
    plain = [given for given in graph.inputs if given.name not in table]
    names = rename([given.name for given in plain], FLAT | set(scope.locals.values()))
    inputs = {cls.inputs[name]: local for name, local in names.items()}
    inputs |= dict.fromkeys((cls.inputs[name] for name in table), "w")
    given = [lines.out.ref(cls.inputs[name]) for name in names]
    lines.out.lines += _model(cls, given, bool(table))
    before = [parameter(graph, names[given.name], given) for given in plain]
    statements = [*before, *_start(bool(table)), *lines.finish(inputs)]
    return f"def build(self) -> ov.Model:\n{block(statements, 1)}\n"


def _start(table: bool) -> list[ast.stmt]:
    """What stands before the first op."""
    weights = (
        "w = {name: ops.parameter(shape, ov.Type.f32, name=name)"
        " for name, shape in WEIGHTS.items()}\n"
    )
    return ast.parse(weights * table + "outputs: dict[str, ov.Output] = {}").body


def _model(cls: Class, inputs: list[Expr], table: bool) -> list[Line]:
    """The model of all inputs and outputs, and their names."""
    weights = ast.Starred(expr.parse("w.values()"), ast.Load())
    given = [*inputs, *([weights] if table else [])]
    whole = tree(
        "ov.Model(list(outputs.values()), {inputs}, {name})",
        inputs=ast.List(given, ast.Load()), name=literal(cls.name),
    )  # fmt: skip
    named = expr.parse("model.output(i).set_names({name})")
    return [
        Store(expr.name("model"), whole),
        For(expr.parse("(i, name)"), expr.parse("enumerate(outputs)"), [Do(named)]),
        Return(expr.name("model")),
    ]


def _function(name: str, weights: bool, gradients: bool) -> str:
    whole = "with its gradients" if gradients else "for training"
    what = (
        "    Its weights are inputs, under the names that they have in a file.\n" if weights else ""
    )
    return (
        "def build(weights: None = None) -> ov.Model:\n"
        f'    """Return the graph {whole}.\n\n{what}'
        '    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.\n'
        '    """\n'
        f"    return {name}().build()\n"
    )
