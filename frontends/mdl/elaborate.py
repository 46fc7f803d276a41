"""From the syntax tree of a file to the graph of one of its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...compiler.diagnose import MlcError, MlcErrors, Note, Span
from ...compiler.expr import Expr
from ...compiler.expr import name as reference
from ...compiler.graph import Definition, Graph, Input, Scope
from ...compiler.op import Op
from . import syntax as s
from .attribute import Attributes
from .calls import Calls
from .construct import Construct
from .context import Block, Frame, Instance, Poisoned, Tensor, Variable
from .declare import bindings, extent
from .errors import listed, raise_all, suggest, unsupported
from .expressions import Expressions
from .facts import prune
from .index import Indexing
from .plan import make_plan
from .rearrange import Rearranging
from .sizes import Sizes
from .statements import Statements
from .static import bounded
from .symbolic import express


class Elaborator:
    """Builds one graph; its parts share the graph, the blocks of the file and the errors."""

    def __init__(self, graph: Graph, blocks: Mapping[str, Block], ops: Mapping[str, Op]) -> None:
        self.graph = graph
        self.blocks = blocks
        self.ops = ops
        self.errors: list[MlcError] = []
        self.construct = Construct(graph, ops, graph.warnings)
        self.expressions = Expressions(self)
        self.calls = Calls(self)
        self.index = Indexing(self)
        self.rearranging = Rearranging(self)
        self.sizes = Sizes(self)
        self.statements = Statements(self)

    def attributes(self, frame: Frame) -> Attributes:
        """Reads configuration values in a frame."""
        return Attributes(
            lambda node: self.statements.evaluate(frame, node),
            lambda node: self.expressions.express(frame, node),
            self.graph.facts,
        )

    def model(self, block: Block, params: Mapping[str, Any]) -> None:
        """Elaborates the root: inputs with symbolic sizes, the body, the outputs."""
        span = block.syntax.head
        frame = Frame(block, self.graph.root, Instance(""))
        self.calls.stack.append((block, span))
        self.statements.parameters(frame, params, span)
        declare = self.statements.declare(frame)
        declare.root_sizes()
        for line in block.inputs:
            default = self.statements.default(line) if line.optional else None
            declared = declare.type(line.type)
            value = Input(line.name, declared, default, line.span)
            self.graph.inputs.append(value)
            frame.scope.inputs[line.name] = value
            frame.variables[line.name] = Variable(Tensor(value, declared.labels), None, frame.scope)
        self.statements.run(frame, block.syntax.body)
        outputs = self.statements.outputs(frame, declare)
        self.graph.outputs = {name: tensor.value for name, tensor in outputs.items()}


def elaborate(
    file: s.File, ops: Mapping[str, Op], model: str | None, params: Mapping[str, Any]
) -> Graph:
    """The graph of a model; raises MlcError, or MlcErrors where there are several."""
    blocks, errors = _blocks(file, ops)
    for refused in file.refused:
        code, message, help = unsupported(refused.keyword)
        errors.append(MlcError(code, message, refused.span, help=help))
    if errors:
        raise_all(errors)
    chosen = _choose(blocks, model)
    _check_params(chosen, params)
    definition = chosen.definition
    graph = Graph(definition.name, Scope("model", definition, span=chosen.syntax.head))
    elaborator = Elaborator(graph, blocks, ops)
    try:
        elaborator.model(chosen, params)
    except Poisoned:
        pass
    except MlcErrors:
        raise
    except MlcError as error:
        elaborator.errors.append(error)
    if elaborator.errors:
        raise_all(elaborator.errors)
    graph.facts = prune(graph.facts)
    graph.layers = [layer for layer in graph.layers if layer in elaborator.construct.used]
    return graph


def _choose(blocks: Mapping[str, Block], model: str | None) -> Block:
    models = {name: b for name, b in blocks.items() if b.syntax.kind == "model"}
    if model is not None:
        if model in models:
            return models[model]
        help = suggest(model, models) or f"there is {listed(models) or 'none'}"
        raise MlcError("model", f"there is no model {model}", help=help)
    if not models:
        raise MlcError("model", "the text defines no model", help="start one with `model Name:`")
    if len(models) > 1:
        raise MlcError("model", f"the text defines the models {listed(models)}",
                       help="say which one is meant")  # fmt: skip
    return next(iter(models.values()))


def _check_params(block: Block, params: Mapping[str, Any]) -> None:
    for name, value in params.items():
        if name not in block.definition.params:
            known = block.definition.params
            help = suggest(name, known) or f"it has {listed(known) or 'none'}"
            message = f"{block.definition.name} has no hyper-parameter {name}"
            raise MlcError("argument", message, block.syntax.head, help=help)
        if not _is_plain(value, block.syntax.head):
            raise MlcError("value", f"{name} takes a number, string, bool or list of such")


def _is_plain(value: Any, span: Span) -> bool:
    """Whether a value from outside is static; MlcError where it is too large."""
    bounded(value, span)
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item, span) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


# --------------------------------------------------------------------------------- definitions


def _blocks(file: s.File, ops: Mapping[str, Op]) -> tuple[dict[str, Block], list[MlcError]]:
    """The definitions of a file by name, and what is wrong with their headers."""
    errors: list[MlcError] = []
    known: dict[str, s.DefinitionSyntax] = {}
    for definition in file.definitions:
        other = known.get(definition.name)
        if other is not None:
            note = Note("the other one", other.head)
            message = f"{definition.name} is defined twice"
            errors.append(MlcError("duplicate", message, definition.head, notes=[note]))
        elif definition.name in ops:
            message = f"{definition.name} is an op and cannot be defined again"
            errors.append(MlcError("duplicate", message, definition.head))
        known[definition.name] = definition
    blocks: dict[str, Block] = {}
    for name, definition in known.items():
        try:
            blocks[name] = _block(definition, known, ops)
        except MlcError as error:
            errors.append(error)
    return blocks, errors


def _block(syntax: s.DefinitionSyntax, known: Mapping[str, object], ops: Mapping[str, Op]) -> Block:
    inputs = tuple(line for line in syntax.body if isinstance(line, s.In))
    outputs = tuple(line for line in syntax.body if isinstance(line, s.Out))
    _check_names(syntax, inputs, outputs)
    if not outputs:
        raise MlcError("out", f"{syntax.name} has no `out` line", syntax.head,
                       help="say what it returns: `out y: f32[...]`")  # fmt: skip
    params = {p.name: _default(p) for p in syntax.parameters}
    definition = Definition(
        syntax.name, syntax.kind, params, bindings(inputs, list(params)),
        tuple(line.name for line in inputs), tuple(line.name for line in outputs), syntax.doc,
        syntax.head, _shapes(inputs, outputs),
    )  # fmt: skip
    return Block(syntax, definition, make_plan(syntax, known, ops), inputs, outputs)


def _shapes(inputs: tuple[s.In, ...], outputs: tuple[s.Out, ...]) -> dict[str, tuple[Expr, ...]]:
    """The sizes that `out` lines declare, where all of a line's are static expressions."""
    given = {line.name: line.type for line in inputs}
    found = {}
    for line in outputs:
        declared = given.get(line.type.like, line.type) if line.type.like else line.type
        sizes = [express(extent(axis), reference) for axis in declared.axes]
        if declared.like is None and all(sizes):
            found[line.name] = tuple(size for size in sizes if size is not None)
    return found


def _default(parameter: s.Parameter) -> Expr | None:
    if parameter.default is None:
        return None
    return express(parameter.default, reference)


def _check_names(
    syntax: s.DefinitionSyntax, inputs: tuple[s.In, ...], outputs: tuple[s.Out, ...]
) -> None:
    seen: dict[str, Span] = {}
    declared = [*((p.name, p.span) for p in syntax.parameters), *((x.name, x.span) for x in inputs)]
    for name, span in declared:
        if name in seen:
            note = Note("the other one", seen[name])
            raise MlcError("duplicate", f"{name} is declared twice", span, notes=[note])
        seen[name] = span
    returned: set[str] = set()
    for line in outputs:
        if line.name in returned:
            raise MlcError("duplicate", f"{line.name} is returned twice", line.span)
        returned.add(line.name)
    top = {id(line) for line in (*inputs, *outputs)}
    for statement in syntax.body:
        for node in statement.walk():
            if isinstance(node, (s.In, s.Out)) and id(node) not in top:
                raise MlcError("syntax", "`in` and `out` lines stand at the top of a body",
                               node.span)  # fmt: skip
