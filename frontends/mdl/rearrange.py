"""`rearrange("b (h w) c -> b c h w", h = 7)` as reshape and transpose, with their expressions."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...compiler import expr as expressions
from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import Dim, Size, bounds, symbol
from ...compiler.expr import Expr, Undecided
from ...compiler.op import TypeMismatch, collecting, for_class, require_divides, require_equal
from ...compiler.ops.shape import product
from . import syntax as s
from .bind import Missing
from .context import Absent, Frame, Held, Tensor, is_tensor, kind_of
from .errors import listed, suggest
from .pattern import Element, Quoted, Side, fits, members, open_names, pair, read, shown, spread
from .static import FAILURES
from .symbolic import plain

if TYPE_CHECKING:
    from .elaborate import Elaborator


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """A size, its expression over the names of the block if it has one, and a label; `new` where
    the label is the pattern's and not the tensor's."""

    size: Dim
    expr: Expr | None
    label: str | None = None
    new: bool = False


class Rearranging:
    """Reads the pattern of a call, and appends the ops that it stands for."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    def call(
        self,
        frame: Frame,
        piped: Sequence[Any] | None,
        arguments: Sequence[s.Argument],
        node: s.Call | s.Stage,
    ) -> Tensor:
        """The tensor with its axes split, moved and merged as the pattern says."""
        positional = [a for a in arguments if a.name is None]
        if piped is None:
            piped = [self.e.expressions.maybe(frame, a) for a in positional[:1]]
            positional = positional[1:]
        tensor = self._tensor(frame, piped, node.span)
        pattern = self._pattern(frame, positional, node.span)
        left, right = read(pattern)
        what = str(tensor.type)
        dots = fits(left, tensor.type.rank, what, pattern)
        left, right = pair(spread(left, dots), spread(right, dots))
        given = self._given(frame, arguments, left)
        axes = self._split(frame, tensor, left, given)
        return self._lower(frame, tensor, (left, right), axes, node)

    def _tensor(self, frame: Frame, piped: Sequence[Any], span: Span) -> Tensor:
        for value in piped:
            if isinstance(value, Missing):
                raise value.error
        if len(piped) != 1 or not is_tensor(piped[0]):
            got = listed(map(kind_of, piped)) or "nothing"
            raise MlcError("argument", f"rearrange takes one tensor, and gets {got}", span,
                           help='x -> rearrange("b c h w -> b (h w) c")')  # fmt: skip
        (value,) = piped
        if isinstance(value, Absent):
            return self.e.construct.fill(frame, value)
        assert isinstance(value, Tensor)
        return value

    def _pattern(self, frame: Frame, positional: Sequence[s.Argument], span: Span) -> Quoted:
        if len(positional) != 1:
            message = f"rearrange takes one pattern, and gets {len(positional)}"
            raise MlcError("argument", message, span, help="sizes go by name: h = 7")
        node = positional[0].value
        value = self.e.statements.evaluate(frame, node)
        if not isinstance(value, str):
            message = f"the pattern of rearrange is a string, and not {kind_of(value)}"
            raise MlcError("value", message, node.span)
        return Quoted(value, node.span)

    def _given(
        self, frame: Frame, arguments: Sequence[s.Argument], left: Side
    ) -> dict[str, tuple[Dim, Expr | None, Span]]:
        """The sizes that keywords give."""
        given: dict[str, tuple[Dim, Expr | None, Span]] = {}
        for argument in arguments:
            name, span = argument.name, argument.span
            if name is None:
                continue
            if name in given:
                raise MlcError("argument", f"{name} is given twice", span)
            if name not in left.names:
                message = f"the pattern has no axis {name}"
                raise MlcError("argument", message, span, help=suggest(name, left.names))
            size, expr = self.e.attributes(frame).sized(f"the size of {name}", argument.value)
            if bounds(size)[1] < 1:
                raise MlcError("shape", f"a size must be at least 1, and {name} is {size}", span)
            given[name] = size, expr, span
        return given

    # -------------------------------------------------------------------------------- sizes

    def _split(
        self,
        frame: Frame,
        tensor: Tensor,
        left: Side,
        given: dict[str, tuple[Dim, Expr | None, Span]],
    ) -> dict[str, Axis]:
        """The axes by their names in the pattern. What sizes leave open becomes a fact."""
        axes: dict[str, Axis] = {}
        exprs = self.e.sizes.of(frame, tensor)
        for i, (element, span) in enumerate(zip(left.elements, left.spans, strict=True)):
            size, label = tensor.type.shape[i], tensor.labels[i]
            whole = Axis(size, self._named(frame, size, label, element) or exprs[i], label)
            for name in members(element):
                if name in given:
                    axes[name] = Axis(given[name][0], given[name][1], name, True)
            open_ = [name for name in members(element) if name not in given]
            with collecting(self.e.graph.facts):
                try:
                    self._one(element, span, whole, axes, str(tensor.type))
                except TypeMismatch as clash:
                    raise MlcError("shape", str(clash), span) from None
            for name in open_:
                axes[name] = self._settled(frame, axes[name])
        return axes

    def _one(
        self, element: Element, span: Span, whole: Axis, axes: dict[str, Axis], what: str
    ) -> None:
        """Enters the names of one axis: what is left open is the quotient of what is known."""
        rest = open_names(element, axes, span)
        known = [axes[name] for name in members(element) if name != rest]
        size, text = product([axis.size for axis in known]), shown(element)
        message = f"{text} of {what} is {whole.size}"
        if rest is None:
            require_equal(size, whole.size, f"{message}, and not {size}")
        elif isinstance(element, str):
            own = element[0].isalpha() or element[0] == "_"
            label, new = (whole.label, False) if whole.label or not own else (element, True)
            if element.startswith("1."):
                require_equal(1, whole.size, f"1 of {what} is {whole.size}")
            axes[rest] = Axis(whole.size, whole.expr, label, new)
        else:
            size = require_divides(size, whole.size, f"{message}, which {size} does not divide")
            axes[rest] = Axis(size, _quotient(whole.expr, _product(known)), rest, True)
        if isinstance(element, str) and rest is None:
            axes[element] = Axis(whole.size, whole.expr or axes[element].expr, whole.label)

    def _named(self, frame: Frame, size: Dim, label: str | None, element: Element) -> Expr | None:
        """An expression of a size: what the label or the pattern calls it, where that is it."""
        for name in (name for name in (label, element) if isinstance(name, str)):
            variable = frame.variables.get(name)
            value = None if variable is None else variable.value
            same = type(value) is type(size) and value == size
            expr = frame.expr(name) if same else None
            if expr is not None:
                return expr
        return None

    def _settled(self, frame: Frame, axis: Axis) -> Axis:
        """An axis whose size is, by what is known, that of a name, as this size: `H // 7 * 7`."""
        if isinstance(axis.size, int):
            return axis
        known = self.e.known()
        for name in frame.block.definition.sizes:
            variable, expr = frame.variables.get(name), frame.expr(name)
            value = None if variable is None else variable.value
            if expr is None or not isinstance(value, Size):
                continue
            if known.reduce(value - axis.size) == 0:
                return Axis(value, expr, axis.label, axis.new)
        return axis

    # ------------------------------------------------------------------------------- the ops

    def _lower(
        self,
        frame: Frame,
        tensor: Tensor,
        sides: tuple[Side, Side],
        axes: dict[str, Axis],
        node: s.Call | s.Stage,
    ) -> Tensor:
        left, right = sides
        apply = _Ops(self.e, frame, node)
        order = tuple(left.names.index(name) for name in right.names)
        moves = order != tuple(range(len(order)))
        merges = any(len(members(element)) != 1 for element in right.elements)
        value = tensor
        if moves or not merges:
            value = apply.split(value, left, [axes[name] for name in left.names])
        if moves:
            value = apply("transpose", {"axes": order}, value)
        made = [self._settled(frame, _merged(element, axes)) for element in right.elements]
        if merges and (moves or value is tensor):
            value = apply.merge(value, right, made, whole=moves or not _splits(left))
        return Tensor(value.value, _labels(made))


@dataclass(frozen=True, slots=True)
class _Ops:
    """Appends ops at the place of one call."""

    e: Elaborator
    frame: Frame
    node: s.Call | s.Stage

    def __call__(
        self, op: str, attrs: dict[str, Any], tensor: Tensor, exprs: dict[str, Expr] | None = None
    ) -> Tensor:
        held = Held(self.e.ops[op], attrs, exprs or {}, None, self.node.span)
        made = self.e.construct.apply(
            self.frame, held, [tensor], site=self.node.site, span=self.node.span
        )
        assert isinstance(made, Tensor)
        return made

    def split(self, tensor: Tensor, left: Side, axes: list[Axis]) -> Tensor:
        """The axes that the left side names, each by itself."""
        units = tuple(i for i, element in enumerate(left.elements) if element == ())
        if not _splits(left):
            return tensor
        if len(axes) + len(units) == len(left.elements):
            return self("squeeze", {"axes": units}, tensor)
        return self.reshape(tensor, axes)

    def merge(self, tensor: Tensor, right: Side, axes: list[Axis], *, whole: bool) -> Tensor:
        """The axes as the right side has them; `whole` where `tensor` has one for each name."""
        counts = [len(members(element)) for element in right.elements]
        units = tuple(i for i, count in enumerate(counts) if count == 0)
        groups = [i for i, count in enumerate(counts) if count > 1]
        if whole and not groups:
            return self("unsqueeze", {"axes": units}, tensor)
        if whole and len(groups) == 1 and not units:
            (start,) = groups
            return self("flatten", {"start": start, "end": start + counts[start] - 1}, tensor)
        return self.reshape(tensor, axes)

    def reshape(self, tensor: Tensor, axes: list[Axis]) -> Tensor:
        """A reshape to these axes, one of them -1 where it has no expression."""
        sizes: list[Dim] = [axis.size for axis in axes]
        exprs = [axis.expr for axis in axes]
        place = _open(tensor, axes)
        if place is not None:
            sizes[place], exprs[place] = -1, expressions.literal(-1)
        known = [expr for expr in exprs if expr is not None]
        tree = ast.Tuple(list(known), ast.Load())
        kept: dict[str, Expr] = (
            {"shape": tree} if len(known) == len(exprs) and not plain(tree) else {}
        )
        return self("reshape", {"shape": tuple(sizes)}, tensor, kept)


def _open(tensor: Tensor, axes: Sequence[Axis]) -> int | None:
    """The first size without an expression, if it is what the others leave."""
    for i, axis in enumerate(axes):
        if axis.expr is None:
            rest = product([other.size for j, other in enumerate(axes) if j != i])
            return i if product(tensor.type.shape) // rest == axis.size else None
    return None


def _splits(left: Side) -> bool:
    return any(len(members(element)) != 1 for element in left.elements)


def _merged(element: Element, axes: dict[str, Axis]) -> Axis:
    """The axis that an element of the right side is."""
    parts = [axes[name] for name in members(element)]
    if len(parts) == 1:
        return parts[0]
    return Axis(product([part.size for part in parts]), _product(parts))


def _product(axes: Sequence[Axis]) -> Expr | None:
    """The product of the sizes as an expression; numbers come first."""
    parts = [axis.expr for axis in axes if axis.expr is not None]
    if len(parts) < len(axes):
        return None
    number = math.prod(part.value for part in parts if isinstance(part, ast.Constant))  # type: ignore[misc]
    result: Expr | None = None if number == 1 and len(parts) else ast.Constant(number)
    for part in parts:
        if not isinstance(part, ast.Constant):
            result = part if result is None else ast.BinOp(result, ast.Mult(), part)
    return result or ast.Constant(1)


def _quotient(total: Expr | None, known: Expr | None) -> Expr | None:
    """`total // known`, reduced where `known` is a factor."""
    if total is None or known is None:
        return None
    names = {name: symbol(name) for expr in (total, known) for name in expressions.names(expr)}
    with suppress(Undecided, *FAILURES), for_class():
        a, b = (expressions.evaluate(expr, names) for expr in (total, known))
        if a // b * b == a:
            return expressions.literal(a // b)
    return ast.BinOp(total, ast.FloorDiv(), known)


def _labels(axes: Sequence[Axis]) -> tuple[str | None, ...]:
    """The labels: those of the tensor, and the pattern's for new axes, where each is one."""
    kept = {axis.label for axis in axes if not axis.new}
    return tuple(None if a.new and a.label in kept else a.label for a in axes)
