"""The file as a whole: a class with its methods, and what builds the model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ...compiler import expr
from ...compiler.dim import symbols
from ...compiler.expr import Expr, literal
from ...compiler.graph import Graph as Model
from ...compiler.graph import Input
from ...compiler.program import Class, Program, Var
from ..source.compose import Do, For, Line, Raise, Return, Store, When
from ..source.draws import draws
from ..source.module import LINE, block, describe, docstring, formatted, join, title
from ..source.names import free, snake
from ..source.scope import Scope, hint
from ..source.tree import tree
from . import noise
from .attention import masked
from .control import METHODS
from .convolution import ADD_WINDOWS, WINDOWS
from .methods import Methods
from .printer import Graph
from .reserved import ATTRIBUTES, LOCALS
from .rules import element_type
from .signature import bounds
from .states import FIRST, METHOD, NEXT, READ, USE, any_states, shared


def source(graph: Model, program: Program) -> str:
    """The text of the file."""
    printer = Printer(graph, program)
    whole = printer.source()
    body = join([whole, _build(program.model, printer)])
    return formatted(join([title(program.model, "openvino"), imports(body), body]))


def imports(body: str) -> str:
    """The lines that import what a file's body uses."""
    own = [f"import {name}" for name in ("itertools", "math") if f"{name}." in body]
    own += ["from pathlib import Path"] if "Path" in body else []
    lines = [*own, ""] if own else []
    lines += ["import numpy as np"] if "np." in body else []
    lines += ["import openvino as ov", "from openvino import opset16 as ops"]
    lines += ["from safetensors.numpy import load_file"] if "load_file" in body else []
    return "\n".join(lines)


EXTRA = "extra := self.weights.keys() - self.used.keys()"
HELD = "self.weights, self.used = load_file(weights), {}"
PROBLEM = 'ValueError(f"the model has no use for {sorted(extra)}")'
"""A tensor of the weights file that nothing asks for means that it belongs to another model.

What is asked for need not be part of the graph: no output may depend on it in the end.
"""


class Printer:
    """Prints the class: its methods in the order in which they call each other."""

    def __init__(self, graph: Model, program: Program) -> None:
        self.graph = graph
        self.program = program
        program.model.name = free(program.model.name, LOCALS)
        self.states = any_states(program)
        self.noise = draws(program.model)
        self.used = set(ATTRIBUTES)
        self.names = {c.name: self._free(snake(c.name)) for c in program.classes[:-1]}
        self.methods = Methods(program, self._free)
        self.graphs: dict[str, Graph] = {}

    def _free(self, wish: str) -> str:
        name, number = free(wish, LOCALS), 2
        while name in self.used:
            name, number = f"{wish}{number}", number + 1
        self.used.add(name)
        return name

    def source(self) -> str:
        """The class as text."""
        blocks = [self._block(cls) for cls in self.program.classes[:-1]]
        build = self._model()
        methods = [*self.methods.readers(), *self.methods.source()]
        state = [METHOD] * self.states + [noise.method(self.program)] * self.noise
        given = "\n".join([*methods, *blocks, build])
        parts = [self._init(), *helpers(given), *state, *methods, *blocks, build]
        model = self.program.model
        head = docstring(describe(model, facts=self.graph.facts, verb="Builds the graph"))
        inner = "\n\n".join(block_text(part) for part in parts if part)
        return f"class {model.name}:\n    {head}\n\n{inner}"

    def config(self) -> list[str]:
        """The hyper-parameters that the weights do not tell."""
        return self.graphs[self.program.model.name].used()

    def _init(self) -> str:
        model = self.program.model
        scope = self.graphs[model.name].scope
        weights = ["weights: str | Path"] if self.program.weights else []
        given = [*weights, *_signature(model, scope, self.config())]
        lines = [HELD] if weights else []
        lines += _held({scope.kept[name]: scope.locals[name] for name in self.config()})
        if not lines:
            return ""
        body = "\n".join(f"    {line}" for line in lines)
        return f"def __init__({', '.join(['self', *given])}) -> None:\n{body}\n"

    def _graph(self, cls: Class) -> Graph:
        model = cls is self.program.model
        scope = Scope(cls, frozenset({*self.used, *ATTRIBUTES}), LOCALS)
        scope.kept = {p.name: free(p.name, self.used) for p in cls.params} if model else {}
        graph = Graph(cls, scope, LOCALS, self.methods, self.graphs, self.names)
        self.graphs[cls.name] = graph
        return graph

    def _block(self, cls: Class) -> str:
        graph = self._graph(cls)
        names = {var: free(n, {*LOCALS, *graph.scope.locals.values()})
                 for n, var in cls.inputs.items()}  # fmt: skip
        graph.checks()
        graph.states()
        graph.body(cls.body)
        results = [graph.result(var) for var in cls.outputs.values()]
        graph.update()
        single = len(results) == 1
        graph.out.lines.append(Return(results[0] if single else ast.Tuple(results, ast.Load())))
        body = block(graph.finish(names), 1)
        first, *rest = [f"{name}: ov.Output" for name in names.values()] or [""]
        given = _signature(cls, graph.scope, graph.used())
        arguments = ", ".join(["self", first, "name: str", *rest, *given])
        kind = "ov.Node" if single else f"tuple[{', '.join(['ov.Node'] * len(results))}]"
        own = self.names[cls.name]
        return f"def {own}({arguments}) -> {kind}:\n    {_title(cls)}\n{body}\n"

    def _model(self) -> str:
        cls = self.program.model
        graph = self._graph(cls)
        names = {var: free(n, LOCALS) for n, var in cls.inputs.items()}
        inputs = {v.name: v for v in self.graph.inputs}
        graph.checks()
        graph.states()
        graph.body(cls.body)
        outputs: list[Var] = []
        named: dict[Var, Expr] = {}
        again = shared(self.graph)
        for name, var in cls.outputs.items():
            outputs.append(Var(name, var.type))
            value = graph.result(var)
            if name in again:
                value = tree("ops.identity({x})", x=named.get(var) or graph.read(var))
            named[var] = graph.out.ref(outputs[-1])
            graph.define([outputs[-1]], value)
        graph.update()
        graph.out.final = set(outputs)
        results = [graph.out.ref(var) for var in outputs]
        taken = [graph.out.ref(v) for v in cls.inputs.values()]
        graph.out.lines += self._whole(results, taken)
        if self.program.weights:
            graph.out.lines.append(When(expr.parse(f"({EXTRA})"), [Raise(expr.parse(PROBLEM))]))
        graph.out.lines.append(Return(expr.name("model")))
        before = [
            parameter(self.graph, names[var], inputs[n], self._sizes(var, graph))
            for n, var in cls.inputs.items()
        ]
        first = [FIRST] * self.states + [noise.FIRST] * self.noise
        before[:0] = ast.parse("\n".join(first)).body
        body = block([*before, *graph.finish(names)], 1)
        return f"def build(self) -> ov.Model:\n{body}\n"

    def _sizes(self, var: Var, graph: Graph) -> list[Expr | None]:
        """The sizes of an input that hyper-parameters tell; None for the others."""
        config = self.config()
        return [
            graph.place(literal(size)) if symbols(size) and {*symbols(size)} <= {*config} else None
            for size in var.type.shape
        ]

    def _whole(self, results: list[Expr], inputs: list[Expr]) -> Iterator[Line]:
        """The model of these outputs and inputs, and the names of its outputs."""
        if self.noise:
            inputs = [*inputs, expr.parse("[*self.noises.values()]").elts[0]]  # type: ignore[attr-defined]
        if self.states:
            yield Store(expr.name("states"), expr.parse("self.states.values()"))
            after, before = "(ops.identity(s[-1]) for s in states)", "(s[0] for s in states)"
            results = [*results, ast.Starred(expr.parse(after), ast.Load())]
            inputs = [*inputs, ast.Starred(expr.parse(before), ast.Load())]
        whole = tree(
            "ov.Model({outputs}, {inputs}, {name})",
            outputs=ast.List(results, ast.Load()),
            inputs=ast.List(inputs, ast.Load()),
            name=literal(self.program.model.name),
        )
        yield Store(expr.name("model"), whole)
        outputs = self.program.model.outputs
        for i, name in enumerate(outputs):
            names = ast.Set([literal(name)])
            yield Do(tree("model.output({i}).set_names({n})", i=literal(i), n=names))
        if self.states:
            numbered = tree("enumerate(self.states, {n})", n=literal(len(outputs)))
            named = expr.parse(f'model.output(i).set_names({{f"{{name}}{NEXT}"}})')
            yield For(expr.parse("(i, name)"), numbered, [Do(named)])


def parameter(graph: Model, name: str, given: Input, told: Sequence[Expr | None] = ()) -> ast.stmt:
    """`ids = ops.parameter([-1, ov.Dimension(1, 1024)], ov.Type.i32, name="ids")`.

    `told` has an expression for each size that is not what the graph says.
    """
    sizes = zip_longest(given.type.shape, told)
    shape = [bounds(graph, size) if own is None else own for size, own in sizes]
    call = tree(
        f"ops.parameter({{shape}}, ov.Type.{element_type(given.type.dtype)}, name={{name}})",
        shape=ast.List(shape, ast.Load()), name=literal(given.name),
    )  # fmt: skip
    return ast.Assign([expr.name(name)], call)


def _title(cls: Class) -> str:
    lines = [line.strip() for line in describe(cls).strip().splitlines()]
    return docstring("\n    ".join(lines))


def block_text(part: str) -> str:
    """A method as a part of the class."""
    return "\n".join(f"    {line}" if line else "" for line in part.rstrip("\n").split("\n")) + "\n"


def _held(names: Mapping[str, str]) -> list[str]:
    """`self.D, self.heads = D, heads`, or a line for each where that is too long."""
    if not names:
        return []
    line = f"{', '.join(f'self.{kept}' for kept in names)} = {', '.join(names.values())}"
    if len(line) + 2 * len("    ") <= LINE:
        return [line]
    return [f"self.{kept} = {name}" for kept, name in names.items()]


def _signature(cls: Class, scope: Scope, used: list[str]) -> list[str]:
    given, optional = [], []
    for hyper in cls.params:
        if hyper.name not in used:
            continue
        text = f"{scope.locals[hyper.name]}: {hint(hyper.value)}"
        if hyper.default is None or expr.names(hyper.default):
            given.append(text)
        else:
            value: Expr = expr.literal(_tuples(expr.evaluate(hyper.default, {})))
            optional.append(f"{text} = {expr.show(value)}")
    return [*given, *optional]


def _tuples(value: Any) -> Any:
    """Lists as tuples, since a default is shared by all calls."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def helpers(body: str) -> Iterator[str]:
    """What the methods need besides ops."""
    if "self.constant(" in body:
        shaped = re.search(r"self\.constant\([^()]*, \[", body)
        if shaped:
            yield (
                "def constant(self, name: str, shape: list[int] | None = None) -> ov.Node:\n"
                f"    array = {READ}\n"
                "    array = array if shape is None else array.reshape(shape)\n"
                "    return ops.constant(array, name=name, shared_memory=True)\n"
            )
        else:
            yield (
                "def constant(self, name: str) -> ov.Node:\n"
                f"    return ops.constant({READ}, name=name, shared_memory=True)\n"
            )
    if "self.masked_attention(" in body:
        yield masked(body)
    yield from (method for call, method in METHODS.items() if call in body)
    if "self.windows(" in body:
        yield WINDOWS
    if "self.add_windows(" in body:
        yield ADD_WINDOWS
    if "self.shape(" in body:
        yield (
            "def shape(self, *sizes: int | ov.Node) -> ov.Node:\n"
            '    """A shape of which some sizes are tensors."""\n'
            "    parts = [np.int32([s]) if isinstance(s, int) else s for s in sizes]\n"
            "    return ops.concat(parts, 0)\n"
        )


def _build(cls: Class, printer: Printer) -> str:
    kinds = sorted({hint(p.value) for p in cls.params if p.name in printer.config()})
    config = f"**config: {' | '.join(kinds)}" if kinds else ""
    weights = bool(printer.program.weights)
    first = "weights: str | Path" if weights else "weights: None = None"
    taken = ", ".join(part for part in (first, config) if part)
    given = ", ".join(("weights",) * weights + ("**config",) * bool(kinds))
    what = " with the weights of a safetensors file" if weights else "; it has no weights"
    return (
        f"def build({taken}) -> ov.Model:\n"
        f'    """Return the graph{what}.\n\n'
        f"{USE if printer.states else ''}{noise.USE if printer.noise else ''}"
        '    Compile it with INFERENCE_PRECISION_HINT="f32": a CPU may compute in bf16 otherwise.\n'
        '    """\n'
        f"    return {cls.name}({given}).build()\n"
    )
