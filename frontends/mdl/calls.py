"""Calls: ops and held layers are applied or held, blocks are elaborated in a scope of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...compiler import expr as expressions
from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.expr import Expr
from ...compiler.graph import Scope, Value
from ...compiler.op import Op
from . import syntax as s
from .attribute import GATHERS
from .bind import Bound, Missing, Signature, bind, only_tensor
from .construct import complete, optional
from .context import (
    REARRANGE,
    Absent,
    Block,
    Frame,
    Held,
    HeldBlock,
    Instance,
    Place,
    Tensor,
    holds_tensors,
    is_tensor,
    kind_of,
)
from .limits import CALLS

if TYPE_CHECKING:
    from .elaborate import Elaborator


class Calls:
    """Applies, holds or calls what stands before parentheses or after `->`."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator
        self.stack: list[tuple[Block, Span]] = []
        self.entered: dict[Scope, Block] = {}

    def call(
        self,
        frame: Frame,
        callee: Any,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Any:
        """The result of a call: tensors, or the held callee where no tensor is given."""
        match callee:
            case Op():
                return self._op(frame, callee, piped, arguments, node)
            case Held():
                return self._held(frame, callee, piped, arguments, node)
            case Block():
                return self._block(frame, callee, piped, arguments, node)
            case HeldBlock():
                return self._held_block(frame, callee, piped, arguments, node)
        if callee is REARRANGE:
            return self.e.rearranging.call(frame, piped, arguments, node)
        raise MlcError("call", f"{kind_of(callee)} cannot be applied", node.span)

    # ---------------------------------------------------------------------------------- ops

    def _op(
        self,
        frame: Frame,
        op: Op,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Any:
        bound = self._bind(frame, _signature(op), piped, arguments, node.span)
        if bound.weights:
            held = Held(op, *self._configuration(frame, op, bound), None, node.span)
            return self._apply(frame, held, bound, node)
        held = self.hold(frame, op, bound, node)
        if not bound.inputs and op.inputs:
            return held
        return self._apply(frame, held, bound, node)

    def hold(self, frame: Frame, op: Op, bound: Bound, node: s.Call | s.Stage) -> Held:
        """An op with its configuration; a layer gets its place among the members."""
        held = Held(op, *self._configuration(frame, op, bound), None, node.span)
        if op.layer:
            place = frame.place(node.site, node.span)
            held.layer = self.e.construct.layer(frame, held, place, node.site)
        return held

    def _configuration(
        self, frame: Frame, op: Op, bound: Bound
    ) -> tuple[dict[str, Any], dict[str, Expr]]:
        attributes = self.e.attributes(frame)
        attrs: dict[str, Any] = {}
        exprs: dict[str, Expr] = {}
        for name, given in bound.config.items():
            attrs[name], expr = attributes.make(op.name, name, op.config[name], given)
            if expr is not None:
                exprs[name] = expr
        return attrs, exprs

    def _held(
        self,
        frame: Frame,
        held: Held,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Any:
        full = _signature(held.op)
        for argument in arguments:
            if argument.name in full.config:
                message = f"{argument.name} was given where this {held.op.name} was made"
                note = Note("made here", held.span)
                raise MlcError("argument", message, argument.span, notes=[note])
        signature = Signature(full.name, full.inputs, full.optional, (), variadic=full.variadic)
        bound = self._bind(frame, signature, piped, arguments, node.span)
        if not bound.inputs:
            raise MlcError("argument", f"{held.op.name} needs a tensor", node.span)
        return self._apply(frame, held, bound, node)

    def _apply(self, frame: Frame, held: Held, bound: Bound, node: s.Call | s.Stage) -> Any:
        op, span = held.op, node.span
        if op.variadic:
            given = bound.inputs.get(op.inputs[0].lstrip("*"), [])
            given = _flattened(given)
            values = [only_tensor(value, "an input", op.name, at) for value, at in given]
        else:
            values = [self._input(op, name, bound) for name in op.inputs]
        if bound.weights:
            values += [self._weight(op, name, bound, span) for name in op.weights]
        exprs: list[Expr | None] = [None] * len(values)
        tensors = self.e.expressions.tensors(frame, values, exprs, node.site, span)
        result = self.e.construct.apply(frame, held, tensors, site=node.site, span=span)
        return result

    def _input(self, op: Op, name: str, bound: Bound) -> Any:
        key = name.removesuffix("?")
        if key not in bound.inputs:
            return None
        value, span = bound.inputs[key]
        made = only_tensor(value, key, op.name, span)
        if made is None and not optional(name):
            raise MlcError("argument", f"{op.name} needs {key}", span)
        return None if optional(name) and isinstance(made, Absent) else made

    def _weight(self, op: Op, name: str, bound: Bound, span: Span) -> Any:
        """A weight that is given: then all are, and the op makes none and is no layer."""
        key = keyword(name)
        value, at = bound.weights.get(key, (None, span))
        value = only_tensor(value, key, op.name, at)
        if value is None and not optional(name):
            message = f"{op.name} is given {', '.join(bound.weights)}, and needs {key} too"
            raise MlcError("argument", message, at)
        return value

    def _bind(
        self,
        frame: Frame,
        signature: Signature,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        span: Span,
    ) -> Bound:
        def evaluate(argument: s.Argument) -> Any:
            return self.e.expressions.maybe(frame, argument)

        return bind(signature, piped, arguments, evaluate, span)

    def operands(self, frame: Frame, op: Op, node: s.Call) -> tuple[list[Tensor], dict[str, Any]]:
        """The tensors that an op with blocks is given, and its configuration."""
        bound = self._bind(frame, _signature(op), None, node.arguments, node.span)
        given = _flattened(bound.inputs.get(op.inputs[0].lstrip("*"), []))
        values = [only_tensor(value, "an input", op.name, at) for value, at in given]
        exprs: list[Expr | None] = [None] * len(values)
        tensors = self.e.expressions.tensors(frame, values, exprs, node.site, node.span)
        attrs, _ = self._configuration(frame, op, bound)
        return [t for t in tensors if t is not None], complete(op, attrs, node.span)

    # ------------------------------------------------------------------------------- blocks

    def _block(
        self,
        frame: Frame,
        block: Block,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Any:
        bound = self._bind(frame, _block_signature(block), piped, arguments, node.span)
        values: dict[str, Any] = {}
        exprs: dict[str, Expr] = {}
        for name, (argument, *_) in bound.config.items():
            value = self.e.expressions.maybe(frame, argument)
            if isinstance(value, Missing):
                raise value.error
            if holds_tensors(value):
                message = f"the hyper-parameter {name} takes no tensor"
                raise MlcError("argument", message, argument.span,
                               help="tensors are passed by `in` lines")  # fmt: skip
            values[name] = value
            expr = self.e.expressions.origin(frame, argument.value)
            if expr is not None:
                exprs[name] = expr
        place = frame.place(node.site, node.span)
        instance = self._instance(frame, place)
        held = HeldBlock(block, values, exprs, place, instance, frame.scope)
        if not bound.inputs and block.inputs:
            return held
        return self._enter(frame, held, bound, node)

    def _instance(self, frame: Frame, place: Place) -> Instance:
        key = frame.instance.key(place.path)
        known = frame.instance.parts.get(key)
        if isinstance(known, Instance):
            return known
        made = frame.instance.parts[key] = Instance(place.path)
        return made

    def _held_block(
        self,
        frame: Frame,
        held: HeldBlock,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Any:
        full = _block_signature(held.block)
        signature = Signature(full.name, full.inputs, full.optional, ())
        bound = self._bind(frame, signature, piped, arguments, node.span)
        if not bound.inputs and full.inputs:
            raise MlcError("argument", f"{full.name} needs a tensor", node.span)
        return self._enter(frame, held, bound, node)

    def _enter(self, frame: Frame, held: HeldBlock, bound: Bound, node: s.Call | s.Stage) -> Any:
        """Elaborates the body of a block for one call of it."""
        block, span = held.block, node.span
        self._check_stack(block, span)
        given = self._apart(frame, self._given(frame, block, bound, span), node)
        self.e.construct.bind(held.instance, block.definition.name, span)
        scope = Scope(
            "block", block.definition, frame.scope, held.place.path, held.place.member,
            held.place.index, held.instance.calls, site=node.site, arms=frame.arms, span=span,
            home=held.home,
        )  # fmt: skip
        scope.exprs = _expressed(held, frame.scope)
        _bind_home(held, frame.scope)
        scope.inputs = {name: tensor.value for name, tensor in given.items()}
        self.entered[scope] = block
        lines = len(block.definition.params) + len(block.inputs) + len(block.outputs)
        self.e.spend(200 + 50 * lines, span)
        held.instance.calls += 1
        inner = Frame(block, scope, held.instance, depth=len(self.e.construct.regions))
        self.stack.append((block, span))
        try:
            self.e.statements.parameters(inner, held.values, span)
            outputs = self.e.statements.body(inner, given, span)
        except MlcError as error:
            if error.span != span:
                error.notes = (*error.notes, *self.trail()[:1])
            raise
        finally:
            self.stack.pop()
        return self._returned(block, given, outputs)

    def _given(self, frame: Frame, block: Block, bound: Bound, span: Span) -> dict[str, Tensor]:
        given: dict[str, Tensor] = {}
        for line in block.inputs:
            value, at = bound.inputs.get(line.name, (None, span))
            if isinstance(value, Absent) and not line.optional:
                value = self.e.construct.fill(frame, value)
            if isinstance(value, Tensor):
                given[line.name] = value
            elif not line.optional or not (value is None or is_tensor(value)):
                message = f"{line.name} of {block.definition.name} takes a tensor"
                raise MlcError("argument", f"{message}, and gets {kind_of(value)}", at)
        return given

    def _apart(
        self, frame: Frame, given: dict[str, Tensor], node: s.Call | s.Stage
    ) -> dict[str, Tensor]:
        """A tensor that is given twice, `Attend(heads)(x, x)`, under a name for each: so the body
        says which of its inputs it reads, as it does where they differ."""
        seen: set[Value] = set()
        for name, tensor in given.items():
            if tensor.value in seen:
                held = Held(self.e.ops["identity"], {}, {}, None, node.span)
                made = self.e.construct.apply(frame, held, [tensor], site=node.site, span=node.span)
                assert isinstance(made, Tensor)
                given[name] = made
            seen.add(given[name].value)
        return given

    def _returned(
        self, block: Block, given: dict[str, Tensor], outputs: dict[str, Tensor]
    ) -> Tensor | tuple[Tensor, ...]:
        """The outputs under the caller's labels: an axis keeps the label that it came with."""
        callers: dict[str, str | None] = {}
        for line in block.inputs:
            tensor = given.get(line.name)
            inner = _inner_labels(line)
            for label, own in zip(inner, tensor.labels if tensor else (), strict=False):
                if label is not None:
                    callers[label] = callers.get(label) or own
        made = tuple(
            Tensor(t.value, tuple(callers.get(x, x) if x else None for x in t.labels))
            for t in outputs.values()
        )
        return made[0] if len(made) == 1 else made

    def _check_stack(self, block: Block, span: Span) -> None:
        name = block.definition.name
        if any(block is entered for entered, _ in self.stack):
            raise MlcError("recursion", f"{name} is called within itself", span)
        if len(self.stack) >= CALLS:
            raise MlcError("limit", f"more than {CALLS} blocks within blocks", span)

    def trail(self) -> list[Note]:
        """The calls that led here, innermost first."""
        return [
            Note(f"in this call of {block.definition.name}", span)
            for block, span in self.stack[:0:-1][:3]
        ]


def _expressed(held: HeldBlock, at: Scope) -> dict[str, Expr]:
    """The hyper-parameters of a held block over the names where it is called; none over names of
    turns of a loop that are not gone through there."""
    if held.home.block is not at.block:
        return {}
    around = set(at.ancestors())
    gone = {n for s in held.home.ancestors() if s not in around for n in s.values}
    return {k: e for k, e in held.exprs.items() if not expressions.names(e) & gone}


def _bind_home(held: HeldBlock, at: Scope) -> None:
    """Where a block is held in one block and called in another, which has no expressions for what
    it was given: records that as a static `if` of the former whose other arm nobody has seen."""
    read = {n for e in held.exprs.values() for n in expressions.names(e)}
    if held.home.block is at.block or not read:
        return
    condition = expressions.unknown(read)
    ifs = held.home.ifs
    if not any(expressions.same(condition, known) for known, _ in ifs.values()):
        ifs[-1 - len(ifs)] = (condition, 0)


def _inner_labels(line: s.In) -> tuple[str | None, ...]:
    from .declare import labels_of

    return labels_of(line.type)


def _flattened(given: Any) -> list[tuple[Any, Span]]:
    """The inputs of a variadic op, lists spread."""
    pairs = [given] if isinstance(given, tuple) else given
    flat: list[tuple[Any, Span]] = []
    for value, span in pairs:
        items = value if isinstance(value, (list, tuple)) else [value]
        flat += [(item, span) for item in items]
    return flat


def _signature(op: Op) -> Signature:
    inputs = tuple(name.lstrip("*").removesuffix("?") for name in op.inputs)
    absent = frozenset(name.removesuffix("?") for name in op.inputs if optional(name))
    config = tuple(op.config)
    gathers = frozenset(name for name in config if op.config[name].kind in GATHERS)
    weights = tuple(keyword(name) for name in op.weights)
    return Signature(op.name, inputs, absent, config, gathers, op.variadic, weights)


def keyword(weight: str) -> str:
    """A weight of an op's record as an argument is called: `query.bias?` is `query_bias`."""
    return weight.removesuffix("?").replace(".", "_")


def _block_signature(block: Block) -> Signature:
    names = tuple(line.name for line in block.inputs)
    absent = frozenset(line.name for line in block.inputs if line.optional)
    return Signature(block.definition.name, names, absent, tuple(block.definition.params))
