"""Statements: assignments, loops, static ifs, declarations, and the body of one call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.expr import Expr, Undecided, element, names, unknown
from ...compiler.expr import literal as literal_expr
from ...compiler.expr import name as reference
from ...compiler.graph import Fact, Loop, Require, Scope, Value
from . import static
from . import syntax as s
from .blocks import written
from .context import (
    POISON,
    Absent,
    Frame,
    Poisoned,
    Tensor,
    Variable,
    holds_tensors,
    is_static,
    kind_of,
)
from .declare import Declare
from .errors import raise_all, suggest, unsupported
from .expressions import as_fact
from .facts import check_count
from .limits import ERRORS, ITERATIONS, SHOWN
from .sites import assigned
from .symbolic import merge, trace
from .variants import Decision

if TYPE_CHECKING:
    from .elaborate import Elaborator


COMPOUND = (s.If, s.Loop, s.Scan, s.While, s.Blocks)
"""Statements that hold others."""


class Statements:
    """Runs statements in a frame. Errors are collected; what they leave unmade is poisoned."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator
        self.iterations = 0

    # --------------------------------------------------------------------------------- body

    def parameters(self, frame: Frame, values: Mapping[str, Any], span: Span) -> None:
        """Binds the hyper-parameters: what is given, else the default."""
        for parameter in frame.block.syntax.parameters:
            name = parameter.name
            if name in values:
                value = values[name]
            elif parameter.default is not None:
                value = self.e.expressions.evaluate(frame, parameter.default)
            else:
                message = f"{frame.block.definition.name} needs {name}"
                note = Note("declared here", parameter.span)
                raise MlcError("argument", message, span, notes=[note])
            frame.scope.values[name] = value
            frame.assign(name, value, reference(name))

    def body(self, frame: Frame, given: Mapping[str, Tensor], span: Span) -> dict[str, Tensor]:
        """Runs the body of a block; its outputs, once they have the declared types."""
        declare = self.declare(frame)
        declare.passed_sizes(dict(given), span)
        for line in frame.block.inputs:
            if line.name in given:
                value: Any = declare.check_input(line, given[line.name], span)
            else:
                value = self._absent(frame, line, declare)
            frame.variables[line.name] = Variable(value, None, frame.scope)
        self.run(frame, frame.block.syntax.body)
        return self.outputs(frame, declare)

    def declare(self, frame: Frame) -> Declare:
        """Reads declared types in this frame."""
        return Declare(self.e.graph, self.e.attributes(frame), frame)

    def _absent(self, frame: Frame, line: s.In, declare: Declare) -> Absent:
        return Absent(line.name, declare.type(line.type), self.default(line), line.site, line.span)

    def default(self, line: s.In) -> bool | int | float:
        """The default of an `in?`, a literal."""
        node = line.default
        sign = 1
        if isinstance(node, s.Unary) and node.operator == "-":
            node, sign = node.operand, -1
        value = node.value if isinstance(node, s.Literal) else None
        if isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return value * sign
        raise MlcError("value", f"{line.name} needs a default: a number, true or false",
                       line.span, help="write `in? x: type = 0`")  # fmt: skip

    def outputs(self, frame: Frame, declare: Declare) -> dict[str, Tensor]:
        """The values of the `out` names, of the types that their lines declare."""
        made: dict[str, Tensor] = {}
        for line in frame.block.outputs:
            value = self.output(frame, line)
            declared = declare.type(line.type)
            notes = [Note(f"{line.name} is made here", value.value.span)]
            declare.check(declared, value, line.name, line.span, notes)
            labels = tuple(a or b for a, b in zip(declared.labels, value.labels, strict=True))
            made[line.name] = Tensor(value.value, labels)
            frame.scope.outputs[line.name] = value.value
        return made

    def output(self, frame: Frame, line: s.Out) -> Tensor:
        """The tensor that an `out` line names."""
        variable = frame.variables.get(line.name)
        if variable is None and self.e.errors:
            raise Poisoned
        if variable is None:
            help = suggest(line.name, assigned(frame.block.syntax.body))
            message = f"{line.name} is declared and never made"
            raise MlcError("name", message, line.span, help=help)
        value = variable.value
        if value is Poisoned:
            raise Poisoned
        if isinstance(value, Absent):
            value = self.e.construct.fill(frame, value)
        if not isinstance(value, Tensor):
            message = f"{line.name} must be a tensor, and is {kind_of(value)}"
            raise MlcError("value", message, line.span)
        return value

    def run(self, frame: Frame, body: Sequence[s.Syntax]) -> None:
        """Runs statements; an error ends its statement alone."""
        for statement in body:
            try:
                self._statement(frame, statement)
            except Poisoned:
                self._poison(frame, statement)
            except MlcError as error:
                self._poison(frame, statement)
                self.report(error)

    def report(self, error: MlcError) -> None:
        """Collects an error; gives up where that makes no sense or there are too many."""
        trail = self.e.calls.trail()
        error.notes = (*error.notes, *trail)
        self.e.errors.append(error)
        if error.code == "limit" or len(self.e.errors) >= ERRORS:
            raise_all(self.e.errors)

    def _poison(self, frame: Frame, statement: s.Syntax) -> None:
        for name in assigned((statement,)):
            frame.variables[name] = POISON

    def _statement(self, frame: Frame, node: s.Syntax) -> None:
        # What a branch or loop holds is looked through, also where it is not run.
        self.e.spend(10 * node.parts if isinstance(node, COMPOUND) else 5, node.span)
        match node:
            case s.Assign():
                self._assign(frame, node)
            case s.Loop():
                self._loop(frame, node)
            case s.Scan():
                self.e.control.scan(frame, node)
            case s.While():
                self.e.control.loop(frame, node)
            case s.Blocks():
                written(self.e, frame, node)
            case s.If():
                self._if(frame, node)
            case s.Require():
                self._require(frame, node)
            case s.Param():
                self.e.params.param(frame, node)
            case s.Noise():
                self.e.noise.draw(frame, node)
            case s.Grow():
                self._grow(frame, node)
            case s.Update():
                self.e.params.update(frame, node)
            case s.Refused(keyword):
                code, message, help = unsupported(keyword)
                raise MlcError(code, message, node.span, help=help)
            case s.Bare():
                raise MlcError("syntax", "the result of this line is not used", node.span,
                               help="give it a name: `h = ...`")  # fmt: skip

    # -------------------------------------------------------------------------- assignments

    def _assign(self, frame: Frame, node: s.Assign) -> None:
        value = self.evaluate(frame, node.value)
        if len(node.targets) == 1:
            expr = self.e.expressions.origin(frame, node.value) if is_static(value) else None
            frame.assign(node.targets[0], value, expr)
            self.e.conditionals.pick(frame, node.targets[0], node.value)
            return
        values = self._unpack(node.targets, value, node.span)
        whole = None if isinstance(node.value, s.Items) else node.value
        given = self.e.expressions.origin(frame, whole) if whole is not None else None
        for i, (target, item) in enumerate(zip(node.targets, values, strict=True)):
            expr = None if given is None else element(given, i)
            if isinstance(node.value, s.Items) and is_static(item):
                expr = self.e.expressions.origin(frame, node.value.items[i])
            if isinstance(value, list) and isinstance(item, Tensor):
                frame.scope.block.picks.setdefault(item.value, set()).add(False)
            frame.assign(target, item, expr)

    def evaluate(self, frame: Frame, node: s.Syntax) -> Any:
        """The value of an expression in which nothing may be left undecided."""
        try:
            return self.e.expressions.evaluate(frame, node)
        except Undecided as undecided:
            raise MlcError(
                "undecided", f"whether {undecided} is not known: it depends on the input's size",
                node.span, help=f"if it must hold, write `require {undecided}`",
            ) from None  # fmt: skip

    def _unpack(self, targets: Sequence[str], value: Any, span: Span) -> Sequence[Any]:
        if not isinstance(value, (list, tuple)) or len(value) != len(targets):
            message = f"{len(targets)} names take {len(targets)} values, and get {kind_of(value)}"
            raise MlcError("value", message, span)
        return value

    def _grow(self, frame: Frame, node: s.Grow) -> None:
        """`xs += value`: a list grows, numbers and tensors are added."""
        name = s.Name(node.name, span=node.span, site=node.site)
        both = s.Binary(name, "+", node.value, span=node.span, site=node.site)
        value = self.evaluate(frame, both)
        expr = self.e.expressions.express(frame, both) if is_static(value) else None
        frame.assign(node.name, value, expr)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Tensor):
                frame.scope.block.lists.setdefault(item.value, node.name)

    # ---------------------------------------------------------------------------------- ifs

    def _if(self, frame: Frame, node: s.If) -> None:
        taken = self.e.conditionals.decide(frame, node.test)
        if isinstance(taken, Tensor):
            self.e.control.branch(frame, node, taken)
            return
        test = self.e.expressions.express(frame, node.test)
        arm = self.e.conditionals.record(frame, node, taken)
        body, other = (node.body, node.other) if taken else (node.other, node.body)
        before = {name: frame.expr(name) for name in frame.variables}
        untaken = trace(other, before.get)
        with frame.arm(node.site, arm):
            self.run(frame, body)
        made = {name: frame.expr(name) for name in assigned(body)}
        yes, no = (made, untaken) if taken else (untaken, made)
        for name, expr in merge(test, yes, no, before.get).items():
            variable = frame.variables.get(name)
            if variable is not None and variable is not POISON:
                kept = expr if is_static(variable.value) else None
                frame.variables[name] = Variable(variable.value, kept, frame.scope)

    def _require(self, frame: Frame, node: s.Require) -> None:
        """Decided now, or a fact that the sizes of the inputs must fulfil."""
        for condition in _conjuncts(node.condition):
            self._require_one(frame, node, condition)
        expr = self.e.expressions.express(frame, node.condition)
        if expr is not None:
            frame.scope.requires.append(Require(expr, node.message, node.site))

    def _require_one(self, frame: Frame, node: s.Require, condition: s.Syntax) -> None:
        try:
            value = self.e.expressions.evaluate(frame, condition)
        except Undecided as undecided:
            fact = self._fact(frame, condition)
            if fact is None:
                message = f"whether {undecided} is not known, and cannot be noted as a fact"
                raise MlcError("undecided", message, condition.span) from None
            self.e.graph.facts.append(fact)
            check_count(self.e.graph.facts, condition.span)
            return
        if holds_tensors(value):
            raise MlcError("unsupported", "a requirement on the elements of a tensor",
                           condition.span)  # fmt: skip
        if not static.truth(value, condition.span):
            message = self._message(frame, node.message) or "this requirement does not hold"
            raise MlcError("require", message, condition.span)

    def _fact(self, frame: Frame, condition: s.Syntax) -> Fact | None:
        if not isinstance(condition, s.Binary):
            return None
        a = self.e.expressions.evaluate(frame, condition.left)
        b = self.e.expressions.evaluate(frame, condition.right)
        return as_fact(condition.operator, a, b)

    def _message(self, frame: Frame, text: str) -> str:
        """The message with `{name}` replaced by values."""

        def shown(found: re.Match[str]) -> str:
            variable = frame.variables.get(found[1])
            return found[0] if variable is None else kind_of(variable.value)

        return re.sub(r"\{([A-Za-z_]\w*)\}", shown, text[:SHOWN])

    # -------------------------------------------------------------------------------- loops

    def _loop(self, frame: Frame, node: s.Loop) -> None:
        rows = self._rows(frame, node)
        name = frame.block.plan.loops.get(node.site, "layers")
        loop = Loop(node.site, name, node.targets, self._table(frame, node, rows), len(rows))
        frame.scope.loops[node.site] = loop
        self.e.decisions.append(Decision(frame.scope, node.site, loop.table, bool(rows), loop=True))
        arms = frame.arms
        shadowed = {target: frame.variables.get(target) for target in node.targets}
        starts = self._static(frame, node)
        inner = {*starts, *node.targets}
        read = names(loop.table) | self._reads(frame, node)
        for number, row in enumerate(rows):
            self._count(node)
            self.e.spend(20 + 4 * node.parts, node.span)
            scope = Scope(
                "iteration", parent=frame.scope, path=frame.scope.path, index=number, loop=loop,
                site=node.site, arms=arms, span=node.span,
            )  # fmt: skip
            frame.iterations[node.site] += 1
            self._carry(frame, starts, scope)
            with frame.within(scope):
                self._bind_targets(frame, node, row)
                scope.inputs = self._tensors(frame, node)
                self.run(frame, node.body)
                scope.outputs = self._tensors(frame, node)
                scope.carries = {n: e for n, e in self._static(frame, node).items() if n in starts}
                read |= self._reads(frame, node) - inner
        frame.decided |= read
        self._forget(frame, node, read)
        for target, variable in shadowed.items():
            if variable is None:
                frame.variables.pop(target, None)
            else:
                frame.variables[target] = variable

    def _rows(self, frame: Frame, node: s.Loop) -> Sequence[Any]:
        value = self.evaluate(frame, node.table)
        if node.targets:
            if isinstance(value, (list, tuple)):
                return value
            raise MlcError("value", f"`for` takes a list, and gets {kind_of(value)}",
                           node.table.span)  # fmt: skip
        count = self.e.attributes(frame).size("the number of repeats", value, node.table.span)
        if not isinstance(count, int):
            raise MlcError("static", f"the number of repeats, {count}, is not known",
                           node.table.span)  # fmt: skip
        if count < 0:
            raise MlcError("value", f"{count} repeats", node.table.span)
        if count > ITERATIONS:
            raise MlcError("limit", f"more than {ITERATIONS} repeats", node.table.span)
        return range(count)

    def _table(self, frame: Frame, node: s.Loop, rows: Sequence[Any]) -> Expr:
        expr = self.e.expressions.origin(frame, node.table)
        if expr is not None:
            return expr
        if is_static(list(rows)) and not _is_literal(rows):  # of ops
            return reference("_")
        return unknown(frame.decided & frame.block.definition.params.keys())

    def _tensors(self, frame: Frame, node: s.Loop) -> dict[str, Value]:
        """What the names that the loop assigns hold now, where that is a tensor."""
        found = ((name, frame.variables.get(name)) for name in assigned(node.body))
        held = {name: variable.value for name, variable in found if isinstance(variable, Variable)}
        return {name: each.value for name, each in sorted(held.items()) if isinstance(each, Tensor)}

    def _static(self, frame: Frame, node: s.Loop) -> dict[str, Expr]:
        """The expressions of the numbers that the loop re-assigns, as they are now."""
        found = {}
        for name in sorted(assigned(node.body)):
            variable = frame.variables.get(name)
            if variable is not None and type(variable.value) in (int, float):
                expr = frame.expr(name)
                found[name] = literal_expr(variable.value) if expr is None else expr
        return found

    def _carry(self, frame: Frame, starts: Mapping[str, Expr], scope: Scope) -> None:
        """Gives the numbers that a loop carries a name in the iteration."""
        for name, expr in starts.items():
            value = frame.variables[name].value
            scope.values[name] = value
            if scope.index == 0:
                scope.exprs[name] = expr
            frame.variables[name] = Variable(value, reference(name), scope)

    def _reads(self, frame: Frame, node: s.Loop) -> set[str]:
        """The names that the variables which the loop re-assigns depend on."""
        found = [frame.expr(name) for name in assigned(node.body)]
        return {name for expr in found if expr is not None for name in names(expr)}

    def _forget(self, frame: Frame, node: s.Loop, reads: set[str]) -> None:
        """What a loop has changed has no expression behind it."""
        for name in assigned(node.body):
            variable = frame.variables.get(name)
            if variable is not None and variable is not POISON:
                expr = unknown(reads) if is_static(variable.value) else None
                frame.variables[name] = Variable(variable.value, expr, frame.scope)

    def _bind_targets(self, frame: Frame, node: s.Loop, row: Any) -> None:
        if not node.targets:
            return
        row = (row,) if len(node.targets) == 1 else row
        for target, item in zip(
            node.targets, self._unpack(node.targets, row, node.span), strict=True
        ):
            if is_static(item):
                frame.scope.values[target] = item
            frame.variables[target] = Variable(
                item, reference(target) if is_static(item) else None, frame.scope
            )

    def _count(self, node: s.Loop) -> None:
        self.iterations += 1
        if self.iterations > ITERATIONS:
            raise MlcError("limit", f"loops run more than {ITERATIONS} times in all", node.span)


def _conjuncts(node: s.Syntax) -> Sequence[s.Syntax]:
    return node.terms if isinstance(node, s.Boolean) and node.operator == "and" else (node,)


def _is_literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, (bool, int, float, str))
