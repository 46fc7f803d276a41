"""Expressions: static values are computed, operations on tensors become nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.dim import Size
from ...compiler.expr import FUNCTIONS, Expr, Undecided, unknown
from ...compiler.graph import Fact, Layer, Weight
from . import static
from . import syntax as s
from .bind import Missing
from .context import (
    REARRANGE,
    Absent,
    Frame,
    Held,
    HeldBlock,
    Instance,
    Poisoned,
    Tensor,
    holds_tensors,
    is_callable,
    is_static,
    is_tensor,
    join,
    kind_of,
    length,
)
from .errors import REFUSED, suggest, unsupported
from .limits import PARTS
from .symbolic import chosen_by, express, plain

if TYPE_CHECKING:
    from .elaborate import Elaborator

OPERATORS: Mapping[str, str] = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_div", "%": "mod", "**": "pow",
    "@": "matmul", "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal",
    ">": "greater", ">=": "greater_equal", "and": "logical_and", "or": "logical_or",
    "not": "logical_not", "negative": "neg",
}  # fmt: skip
"""Operators of the language, as ops on tensors."""

NUMBERS = (int, float, Fraction, Size)


class Expressions:
    """Evaluates syntax in a frame: to Tensors, static values, callables, or lists of them."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator
        self._seen: dict[int, Any] = {}

    def evaluate(self, frame: Frame, node: s.Syntax) -> Any:
        """The value of an expression."""
        self.e.spend(1, node.span)
        match node:
            case s.Literal(value):
                return value
            case s.Name():
                return self.name(frame, node)
            case s.Items(items, fixed):
                made = self._all(frame, items, node.span)
                return tuple(made) if fixed else made
            case s.Binary():
                return self._binary(frame, node)
            case s.Unary():
                return self._unary(frame, node)
            case s.Boolean():
                return self._boolean(frame, node)
            case s.Conditional():
                return self.e.conditionals.conditional(frame, node)
            case s.Call():
                return self._call(frame, node)
            case s.Pipe():
                return self._pipe(frame, node)
            case s.Attribute():
                return self._attribute(frame, node)
            case s.Index():
                return self._index(frame, node)
        raise MlcError("syntax", "this is not an expression", node.span)

    def express(self, frame: Frame, node: s.Syntax) -> Expr | None:
        """The expression tree of static syntax over the names that are visible in the scope."""
        expr = express(node, frame.expr)
        if expr is None:
            return None
        parts = length(expr)
        self.e.spend(parts, node.span)
        return expr if parts <= PARTS else None

    def origin(self, frame: Frame, node: s.Syntax) -> Expr | None:
        """The expression; of ops and blocks, which have none, what says by which names they are
        chosen. None where nothing chooses."""
        expr = self.express(frame, node)
        read = chosen_by(node, frame.expr) if expr is None else set()
        return unknown(read) if read else expr

    def _all(self, frame: Frame, nodes: Sequence[s.Syntax], span: Span) -> list[Any]:
        """The values of several expressions, which together may not be too long."""
        made: list[Any] = []
        count = 0
        for node in nodes:
            made.append(self.evaluate(frame, node))
            count += 1 + static.elements(made[-1])
            static.check_count(count, span)
        self.e.spend(count, span)
        return made

    def _counted(self, value: Any, span: Span) -> Any:
        """A list or string that is made or gone through, once its elements are counted."""
        if isinstance(value, (list, tuple, str)):
            self.e.spend(static.elements(value), span)
            static.bounded(value, span)
        return value

    # ------------------------------------------------------------------------------- names

    def name(self, frame: Frame, node: s.Name) -> Any:
        """What a name stands for where it is not called."""
        variable = frame.variables.get(node.id)
        if variable is not None:
            if variable.value is Poisoned:
                raise Poisoned
            return variable.value
        if node.id in frame.block.home:
            return frame.block.home[node.id]
        if node.id in self.e.ops:
            return self.e.ops[node.id]
        raise self._unknown(frame, node.id, node.span)

    def _unknown(self, frame: Frame, name: str, span: Span) -> MlcError:
        known = [*frame.variables, *frame.block.home, *self.e.ops, *FUNCTIONS]
        sizes = frame.block.definition.sizes
        if name in sizes:
            message = f"the size {name} is that of {sizes[name][0]}, which is left out"
            return MlcError("name", message, span)
        return MlcError("name", f"{name} is not known here", span, help=suggest(name, known))

    def callee(self, frame: Frame, node: s.Syntax) -> Any:
        """What stands before parentheses, or after `->`: an op, a block, or a held one."""
        if not isinstance(node, s.Name):
            value = self.evaluate(frame, node)
            if not is_callable(value):
                raise MlcError("call", f"{kind_of(value)} cannot be applied", node.span)
            return value
        variable = frame.variables.get(node.id)
        if variable is not None and variable.value is Poisoned:
            raise Poisoned
        if variable is not None and is_callable(variable.value):
            return variable.value
        if node.id in frame.block.home:
            return frame.block.home[node.id]
        if node.id in self.e.ops:
            return self.e.ops[node.id]
        if node.id == str(REARRANGE):
            return REARRANGE
        if node.id in REFUSED:
            code, message, help = unsupported(node.id)
            raise MlcError(code, message, node.span, help=help)
        if variable is not None:
            message = f"{node.id} is {kind_of(variable.value)} and cannot be applied"
            raise MlcError("call", message, node.span)
        if node.id in FUNCTIONS:
            message = f"{node.id} is a function of static values and takes no tensors"
            raise MlcError("call", message, node.span)
        known = [*frame.block.home, *self.e.ops, str(REARRANGE)]
        raise MlcError("name", f"there is no op or block {node.id}", node.span,
                       help=suggest(node.id, known) or "`mlc ops` lists the ops")  # fmt: skip

    def maybe(self, frame: Frame, argument: s.Argument) -> Any:
        """The value of an argument; a Missing where it is a bare name that stands for nothing."""
        if id(argument) in self._seen:
            return self._seen.pop(id(argument))
        node = argument.value
        if isinstance(node, s.Name):
            known = (frame.variables, frame.block.home, self.e.ops)
            if not any(node.id in names for names in known):
                return Missing(self._unknown(frame, node.id, node.span))
        return self.evaluate(frame, node)

    # --------------------------------------------------------------------------- operators

    def _binary(self, frame: Frame, node: s.Binary) -> Any:
        a, b = self.evaluate(frame, node.left), self.evaluate(frame, node.right)
        if is_tensor(a) or is_tensor(b):
            return self.operate(frame, node.operator, ((a, node.left), (b, node.right)), node)
        for value in (a, b):
            self._counted(value, node.span)
        if node.operator == "+" and isinstance(a, list) and isinstance(b, list):
            return self._counted([*a, *b], node.span)
        if isinstance(a, Size) and isinstance(b, Size):
            self.e.spend(4 * len(a.terms) * len(b.terms), node.span)
        for value in (a, b):
            if not is_static(value):
                message = f"{kind_of(value)} is not a tensor yet and cannot be computed with"
                raise MlcError("value", message, node.span, help="apply it to a tensor")
        if node.operator in static.COMPARE:
            return self._compare(node.operator, a, b, node.span)
        if node.operator == "@":
            raise MlcError("value", f"{kind_of(a)} @ {kind_of(b)}: no tensors", node.span)
        return static.binary(node.operator, a, b, node.span)

    def _compare(self, operator: str, a: Any, b: Any, span: Span) -> bool:
        """A comparison; one that sizes leave open may hold by a fact."""
        try:
            return static.compare(operator, a, b, span)
        except Undecided as undecided:
            known = self.e.known()
            try:
                return static.compare(operator, known.reduce(a), known.reduce(b), span)
            except Undecided:
                fact = as_fact(operator, a, b)
                if fact is not None and known.holds(fact):
                    return True
            raise undecided from None

    def _unary(self, frame: Frame, node: s.Unary) -> Any:
        value = self.evaluate(frame, node.operand)
        operator = "not" if node.operator == "not" else "negative"
        if is_tensor(value):
            return self.operate(frame, operator, ((value, node.operand),), node)
        if operator == "not":
            return not static.truth(value, node.span)
        return static.binary("*", value, -1, node.span)

    def _boolean(self, frame: Frame, node: s.Boolean) -> Any:
        result = self.evaluate(frame, node.terms[0])
        if is_tensor(result):
            for term in node.terms[1:]:
                other = self.evaluate(frame, term)
                pair = ((result, node.terms[0]), (other, term))
                result = self.operate(frame, node.operator, pair, node)
            return result
        for term in node.terms[1:]:
            if static.truth(result, node.span) != (node.operator == "and"):
                return result
            result = self.evaluate(frame, term)
        return static.truth(result, node.span)

    def operate(
        self, frame: Frame, operator: str, operands: Sequence[tuple[Any, s.Syntax]], node: s.Syntax
    ) -> Any:
        """An operator on tensors and numbers."""
        op = self.e.ops[OPERATORS[operator]]
        values = [value for value, _ in operands]
        for value in values:
            if not (is_tensor(value) or isinstance(value, NUMBERS)):
                message = f"{kind_of(value)} cannot be an operand of a tensor"
                raise MlcError("value", message, node.span)
        exprs = [self.express(frame, operand) for _, operand in operands]
        tensors = self.tensors(frame, values, exprs, node.site, node.span)
        held = Held(op, {}, {}, None, node.span)
        return self.e.construct.apply(frame, held, tensors, site=node.site, span=node.span)

    def tensors(
        self,
        frame: Frame,
        values: Sequence[Any],
        exprs: Sequence[Expr | None],
        site: int,
        span: Span,
    ) -> list[Tensor | None]:
        """Inputs of an op: numbers become constants of the dtype of the first tensor, not bool."""
        dtypes = [v.type.dtype for v in values if is_tensor(v)]
        dtype = next((d for d in dtypes if d != "bool"), "f32")
        made: list[Tensor | None] = []
        for value, expr in zip(values, exprs, strict=True):
            if isinstance(value, Absent):
                value = self.e.construct.fill(frame, value)
            if value is None or isinstance(value, Tensor):
                made.append(value)
                continue
            number, kind = _number(value, dtype, span)
            expr = None if expr is None or plain(expr) or number != value else expr
            made.append(
                self.e.construct.constant(frame, number, kind, site=site, span=span, expr=expr)
            )
        return made

    # ------------------------------------------------------------------------ calls, pipes

    def _call(self, frame: Frame, node: s.Call) -> Any:
        if isinstance(node.callee, s.Name) and node.callee.id in FUNCTIONS:
            variable = frame.variables.get(node.callee.id)
            if variable is None or not is_callable(variable.value):
                made = self._function(frame, node, node.callee.id)
                if made is not self:
                    return made
        callee = self.callee(frame, node.callee)
        try:
            with self.e.conditionals.picked(frame, node, callee):
                return self.e.calls.call(frame, callee, None, node.arguments, node)
        finally:
            for argument in node.arguments[:1]:
                self._seen.pop(id(argument), None)

    def _function(self, frame: Frame, node: s.Call, name: str) -> Any:
        """A static function's value; `self` where a tensor makes it an op."""
        if not node.arguments:
            return static.call(name, [], node.span)
        first = self.maybe(frame, node.arguments[0])
        named_first = node.arguments[0].name is not None
        if name in self.e.ops and (is_tensor(first) or named_first or isinstance(first, Missing)):
            # What it makes is made once: the call that follows takes this value.
            self._seen[id(node.arguments[0])] = first
            return self
        named = next((a for a in node.arguments if a.name is not None), None)
        if named is not None:
            raise MlcError("argument", f"{name} takes no argument {named.name}", named.span)
        if name != "len":
            self._counted(first, node.span)
        rest = self._all(frame, [a.value for a in node.arguments[1:]], node.span)
        if isinstance(first, Missing):
            raise first.error
        values = [first, *rest]
        if name not in ("len", "zip", "enumerate") and any(map(holds_tensors, values)):
            message = f"{name} is a function of static values and takes no tensors"
            raise MlcError("call", message, node.span)
        return static.call(name, values, node.span)

    def _pipe(self, frame: Frame, node: s.Pipe) -> Any:
        return self.stages(frame, node, self.evaluate(frame, node.source))

    def stages(self, frame: Frame, node: s.Pipe, value: Any, *, numbered: bool = False) -> Any:
        passed = [(self._shown(node.source), value)]
        for number, stage in enumerate(node.stages):
            before = frame.stage
            frame.stage = number if numbered else None
            try:
                value = self._stage(frame, stage, value)
            except MlcError as error:
                raise _with_shapes(error, stage, passed) from None
            finally:
                frame.stage = before
            passed.append((f"-> {self._shown(stage.callee)}", value))
        return value

    def _stage(self, frame: Frame, stage: s.Stage, value: Any) -> Any:
        if not holds_tensors(value):
            message = f"{kind_of(value)} is piped, and no tensor"
            raise MlcError("value", message, stage.span)
        callee = self.callee(frame, stage.callee)
        piped = list(value) if isinstance(value, (list, tuple)) else [value]
        with self.e.conditionals.picked(frame, stage, callee):
            return self.e.calls.call(frame, callee, piped, stage.arguments, stage)

    def _shown(self, node: s.Syntax) -> str:
        """The source text of a short expression."""
        span = node.span
        if span.line != span.end_line:
            return "(...)"
        return span.source.line(span.line)[span.column - 1 : span.end_column - 1]

    # -------------------------------------------------------------------------- attributes

    def _attribute(self, frame: Frame, node: s.Attribute) -> Any:
        value = self.evaluate(frame, node.value)
        if isinstance(value, Held) and value.layer is not None:
            return self.e.construct.weight_of(value.layer, node.name, node.span)
        if isinstance(value, HeldBlock):
            return self._part(value.instance, node)
        raise MlcError(
            "name", f"{kind_of(value)} has no {node.name}", node.span,
            help="held layers have weights: `token.weight`",
        )  # fmt: skip

    def _part(self, instance: Instance, node: s.Attribute) -> Any:
        found = instance.parts.get(node.name)
        if isinstance(found, Layer):
            return Held(found.op, dict(found.attrs), dict(found.exprs), found, node.span)
        if isinstance(found, Weight):
            return Tensor(found, found.type.labels)
        help = suggest(node.name, instance.parts)
        path = join(instance.path, node.name)
        raise MlcError("name", f"there is no {path}, or not yet", node.span, help=help)

    def _index(self, frame: Frame, node: s.Index) -> Any:
        value = self.evaluate(frame, node.value)
        if is_tensor(value):
            return self.e.index.take(frame, value, node)
        if not isinstance(value, (list, tuple, str)):
            raise MlcError("value", f"{kind_of(value)} has no elements", node.span)
        if len(node.items) != 1 or isinstance(node.items[0], s.Ellipsis_):
            raise MlcError("value", "a list takes one index", node.span)
        (item,) = node.items
        if isinstance(item, s.Slice):
            ends = [
                None if end is None else self.evaluate(frame, end)
                for end in (item.lower, item.upper, item.step)
            ]
            self._counted(value, node.span)
            return static.guarded(node.span, "slice", lambda: value[slice(*ends)])
        place = self.evaluate(frame, item)
        found = static.guarded(
            node.span, f"element {kind_of(place)} of {kind_of(value)}", lambda: value[place]
        )
        if isinstance(found, Tensor) and isinstance(item, (s.Literal, s.Unary)):
            frame.scope.block.picks.setdefault(found.value, set()).add(place < 0)
        return found


def as_fact(operator: str, a: Any, b: Any) -> Fact | None:
    """An undecided comparison of sizes as a fact; None where it cannot be one."""
    if operator == "==" and b == 0 and isinstance(a, Size) and len(a.terms) == 1:
        ((monomial, coefficient),) = a.terms
        if coefficient == 1 and len(monomial) == 1 and monomial[0][0].kind == "%":
            left, right = monomial[0][0].args
            assert not isinstance(left, str) and not isinstance(right, str)
            return Fact("divides", right, left)
    if operator in ("==", "<=", "<"):
        return Fact(operator, a, b)
    return Fact({">=": "<=", ">": "<"}[operator], b, a) if operator in (">=", ">") else None


def _number(value: Any, dtype: str, span: Span) -> tuple[Any, str]:
    """A static number as the value and dtype of a constant."""
    if isinstance(value, bool):
        return value, "bool"
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, float) and dtype[0] in "iu":
        return value, "f32"
    if isinstance(value, (int, float)):
        return value, dtype
    raise MlcError(
        "static", f"{kind_of(value)} is no number that is known here, and no tensor", span,
        help="give the axis a size, or make it a hyper-parameter",
    )  # fmt: skip


def _with_shapes(error: MlcError, stage: s.Stage, passed: Sequence[tuple[str, Any]]) -> MlcError:
    """The error of a stage with the types along the pipe, if it is about this stage."""
    here = error.span is not None and error.span == stage.span
    if not here or error.code not in ("shape", "axis", "dtype", "argument"):
        return error
    notes = [Note(f"{text}: {value.type}") for text, value in passed if isinstance(value, Tensor)]
    error.notes = (*error.notes, *notes)
    return error
