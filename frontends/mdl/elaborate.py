"""From the blocks of a file to the graph of one of its models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from ...compiler.diagnose import MlcError, MlcErrors, Span
from ...compiler.graph import Graph, Input, Scope
from ...compiler.op import Op
from .attribute import Attributes
from .calls import Calls
from .conditionals import Conditionals
from .construct import Construct
from .context import Block, Frame, Instance, Poisoned, Tensor, Variable
from .control import Control
from .errors import listed, raise_all, suggest
from .expressions import Expressions
from .facts import Known, prune
from .index import Indexing
from .limits import STEPS
from .noise import Noise
from .params import Params
from .rearrange import Rearranging
from .sizes import Sizes
from .statements import Statements
from .static import bounded
from .variants import Decision, variants


class Elaborator:
    """Builds one graph; its parts share the graph, the ops and the errors."""

    def __init__(self, graph: Graph, ops: Mapping[str, Op], limit: int = STEPS) -> None:
        self.graph = graph
        self.ops = ops
        self.limit = limit
        self.errors: list[MlcError] = []
        self.decisions: list[Decision] = []
        self.steps = 0
        self.facts = Known()
        self.learned = 0
        self.construct = Construct(graph, ops, self.spend)
        self.control = Control(self)
        self.expressions = Expressions(self)
        self.conditionals = Conditionals(self)
        self.calls = Calls(self)
        self.index = Indexing(self)
        self.rearranging = Rearranging(self)
        self.sizes = Sizes(self)
        self.params = Params(self)
        self.noise = Noise(self)
        self.statements = Statements(self)

    def spend(self, count: int, span: Span) -> None:
        """Counts what is evaluated, so that no text takes long."""
        self.steps += count
        if self.steps > self.limit:
            raise MlcError(
                "limit", f"the model takes more than {self.limit:,} steps to build", span
            )

    def known(self) -> Known:
        """What the facts so far say of sizes."""
        facts = self.graph.facts
        for fact in facts[self.learned :]:
            self.facts.learn(fact)
        self.learned = len(facts)
        return self.facts

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
    blocks: Mapping[str, Block], ops: Mapping[str, Op], model: str | None, params: Mapping[str, Any]
) -> Graph:
    """The graph of a model, one of the file's own blocks; raises MlcError, or MlcErrors.

    Its variants show what it passes by, and are made when they are asked for.
    """
    chosen = _choose(blocks, model)
    _check_params(chosen, params)
    made = _elaborated(chosen, ops, params, STEPS)

    def again(change: Mapping[str, Any]) -> tuple[Graph, list[Decision]]:
        other = _elaborated(chosen, ops, {**params, **change}, 10 * made.steps)
        return other.graph, other.decisions

    made.graph.variants = cache(partial(variants, made.graph, made.decisions, again))
    return made.graph


def _elaborated(
    block: Block, ops: Mapping[str, Op], params: Mapping[str, Any], limit: int
) -> Elaborator:
    definition = block.definition
    graph = Graph(definition.name, Scope("model", definition, span=block.syntax.head))
    elaborator = Elaborator(graph, ops, limit)
    try:
        elaborator.model(block, params)
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
    return elaborator


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
