"""Arguments of an op's configuration: their values in the kind that its record asks for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ...compiler import dim
from ...compiler.array import np
from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import Size
from ...compiler.expr import Expr, Ratio
from ...compiler.graph import DTYPES, Fact
from ...compiler.op import Config, TypeMismatch, collecting, require_divides
from . import syntax as s
from .context import AxisName, Tensor, holds_tensors, kind_of
from .errors import suggest
from .symbolic import as_tuple, plain

AXES = frozenset(("axis", "axes", "new_axis", "new_axes"))
GATHERS = frozenset(("axes", "new_axes", "shape"))
HIDDEN = frozenset(("training",))
"""Configurations that passes set, and that only the text of a graph writes."""


class Attributes:
    """Makes configuration values; `evaluate` and `express` read syntax in the present frame."""

    def __init__(
        self,
        evaluate: Callable[[s.Syntax], Any],
        express: Callable[[s.Syntax], Expr | None],
        facts: list[Fact],
    ) -> None:
        self.evaluate = evaluate
        self.express = express
        self.facts = facts

    def make(
        self, callee: str, name: str, config: Config, arguments: Sequence[s.Argument]
    ) -> tuple[Any, Expr | None]:
        """The value of one configuration, and its expression unless it is a plain literal."""
        syntaxes = [argument.value for argument in arguments]
        what = f"{name} of {callee}"
        if config.kind in AXES:
            return self._axes(what, config, syntaxes), None
        if config.kind == "dtype":
            return self._dtype(what, syntaxes[0]), None
        if config.kind == "shape" and not _is_list(syntaxes):
            node: s.Syntax = s.Items(tuple(syntaxes), True, span=syntaxes[0].span)
            if len(syntaxes) == 1 and isinstance(self.evaluate(syntaxes[0]), (list, tuple)):
                node = syntaxes[0]
        else:
            node = syntaxes[0]
        value = self.evaluate(node)
        if holds_tensors(value):
            raise MlcError(
                "argument", f"{what} takes no tensor", node.span,
                help="after `->`, further tensors go by keyword",
            )  # fmt: skip
        coerced = self.coerce(what, config, value, node.span)
        expr = self.express(node)
        if isinstance(coerced, tuple) and expr is not None:
            expr = as_tuple(expr)
        if expr is None or plain(expr):
            return coerced, None
        return coerced, _divided(expr, value)

    def coerce(self, what: str, config: Config, value: Any, span: Span) -> Any:
        """`value` in the kind of the configuration; MlcError where it is of another."""
        if value is None and config.default is None:
            return None
        match config.kind:
            case "int":
                return self._integer(what, value, span)
            case "size":
                return self.size(what, value, span)
            case "float":
                return self._float(what, value, span)
            case "bool" if isinstance(value, bool):
                return value
            case "str" if isinstance(value, str):
                return _choice(what, config, value, span)
            case "shape" if isinstance(value, (list, tuple)):
                return tuple(None if v is None else self.size(what, v, span) for v in value)
            case "ints" | "pads":
                return self._integers(what, config, value, span)
            case "value":
                return _array(value, span) if isinstance(value, (list, tuple)) else value
        kinds = {"bool": "true or false", "str": "a string", "shape": "a list of sizes"}
        raise _wrong(what, kinds.get(config.kind, config.kind), value, span)

    def size(self, what: str, value: Any, span: Span) -> dim.Dim:
        """An int or a symbolic size; a quotient must divide, which may become a fact."""
        if isinstance(value, (int, Size)) and not isinstance(value, bool):
            return value
        if isinstance(value, Ratio):
            with collecting(self.facts):
                try:
                    message = f"{value} is not whole"
                    return require_divides(value.denominator, value.numerator, message)
                except TypeMismatch as clash:
                    raise MlcError("shape", str(clash), span) from None
        raise _wrong(what, "a whole number", value, span)

    def sized(self, what: str, node: s.Syntax) -> tuple[dim.Dim, Expr | None]:
        """A size as `size` reads it, and its expression if it has one."""
        value = self.evaluate(node)
        if holds_tensors(value):
            raise MlcError("argument", f"{what} is no tensor", node.span)
        size = self.size(what, value, node.span)
        expr = self.express(node)
        return size, None if expr is None else _divided(expr, value)

    def _integer(self, what: str, value: Any, span: Span) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, (Size, Ratio)):
            raise MlcError(
                "static", f"{what} takes a number, and the size {value} is not known", span
            )
        raise _wrong(what, "an integer", value, span)

    def _float(self, what: str, value: Any, span: Span) -> float:
        if isinstance(value, (int, float, Fraction)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, (Size, Ratio)):
            raise MlcError(
                "static", f"{what} takes a number, and the size {value} is not known", span
            )
        raise _wrong(what, "a number", value, span)

    def _integers(self, what: str, config: Config, value: Any, span: Span) -> Any:
        if isinstance(value, str) and config.kind == "pads":
            return value  # the op's own check knows which words it takes
        if not isinstance(value, (list, tuple)):
            return self.size(what, value, span)
        if config.kind == "pads" and any(isinstance(v, (list, tuple)) for v in value):
            return tuple(
                self._pair(what, v, span)
                if isinstance(v, (list, tuple))
                else self.size(what, v, span)
                for v in value
            )
        return tuple(self.size(what, v, span) for v in value)

    def _pair(self, what: str, value: Any, span: Span) -> tuple[dim.Dim, dim.Dim]:
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return self.size(what, value[0], span), self.size(what, value[1], span)
        raise _wrong(what, "a (low, high) pair for each axis", value, span)

    def _dtype(self, what: str, node: s.Syntax) -> str:
        value = node.id if isinstance(node, s.Name) else self.evaluate(node)
        if isinstance(node, s.Name) and value not in DTYPES:
            try:
                value = self.evaluate(node)
            except MlcError:
                value = node.id
        if isinstance(value, str) and value in DTYPES:
            return value
        help = suggest(str(value), DTYPES) or f"one of {', '.join(DTYPES)}"
        message = f"{what} takes an element type, and gets {kind_of(value)}"
        raise MlcError("dtype", message, node.span, help=help)

    def _axes(self, what: str, config: Config, nodes: Sequence[s.Syntax]) -> Any:
        """Axes as they are named, for `resolve` to look up."""
        if len(nodes) == 1 and isinstance(nodes[0], s.Literal) and nodes[0].value is None:
            return None
        items = nodes[0].items if _is_list(nodes) and isinstance(nodes[0], s.Items) else nodes
        named = tuple(axis_name(what, node) for node in items)
        if config.kind in ("axis", "new_axis"):
            if len(named) != 1:
                raise MlcError("axis", f"{what} takes one axis, and gets {len(named)}",
                               nodes[0].span)  # fmt: skip
            return named[0]
        return named


def _is_list(nodes: Sequence[s.Syntax]) -> bool:
    return len(nodes) == 1 and isinstance(nodes[0], s.Items)


def axis_name(what: str, node: s.Syntax) -> AxisName:
    """An axis as it is written: a label, or an integer."""
    match node:
        case s.Name(id):
            return AxisName(id, node.span)
        case s.Literal(int() as value) if not isinstance(value, bool):
            return AxisName(value, node.span)
        case s.Unary("-", s.Literal(int() as value)):
            return AxisName(-value, node.span)
    raise MlcError(
        "axis", f"{what} takes the label of an axis, or an integer as it stands", node.span
    )


def resolve(axis: AxisName, tensor: Tensor | None, rank: int) -> int:
    """The number of an axis, from the front, of `tensor` (its labels) among `rank` axes."""
    shown = f"{tensor.type}" if tensor else "nothing"
    if isinstance(axis.axis, int):
        if not -rank <= axis.axis < rank:
            message = f"there is no axis {axis.axis} in {shown}, which has {rank}"
            raise MlcError("axis", message, axis.span)
        return axis.axis % rank
    labels = tensor.labels if tensor else ()
    found = [i for i, label in enumerate(labels) if label == axis.axis]
    if len(found) == 1:
        return found[0]
    if found:
        raise MlcError("axis", f"{len(found)} axes of {shown} are labelled {axis.axis}", axis.span,
                       help="name the axis by its number")  # fmt: skip
    known = [label for label in labels if label]
    help = suggest(axis.axis, known) or (
        f"its labels are {', '.join(known)}" if known else "its axes have no labels: use numbers"
    )
    raise MlcError("axis", f"no axis of {shown} is labelled {axis.axis}", axis.span, help=help)


def resolved(
    attrs: dict[str, Any], kinds: dict[str, str], tensor: Tensor | None, span: Span
) -> dict[str, Any]:
    """The attributes with axes as numbers from the front."""
    rank = tensor.type.rank if tensor else 0
    made = dict(attrs)
    for name, value in attrs.items():
        more = rank
        if kinds.get(name) in ("new_axis", "new_axes"):
            more += len(value) if isinstance(value, tuple) else 1
        if isinstance(value, AxisName):
            made[name] = resolve(value, tensor, more)
        elif isinstance(value, tuple) and any(isinstance(v, AxisName) for v in value):
            made[name] = tuple(resolve(v, tensor, more) for v in value)
        elif isinstance(value, int) and kinds.get(name) in AXES:
            made[name] = resolve(AxisName(value, span), tensor, more)
            made[name] = (made[name],) if kinds[name] in ("axes", "new_axes") else made[name]
        elif isinstance(value, tuple) and kinds.get(name) in AXES:
            made[name] = tuple(v % more if more else v for v in value)
    return made


def _choice(what: str, config: Config, value: str, span: Span) -> str:
    if config.choices and value not in config.choices:
        help = suggest(value, config.choices) or f"one of {', '.join(config.choices)}"
        raise MlcError("value", f'{what} cannot be "{value}"', span, help=help)
    return value


def _array(value: Any, span: Span) -> Any:
    """A list of numbers, or of such lists of one length, as an array."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = None
    if array is None or array.dtype.kind not in "bif":
        raise MlcError("value", "a constant takes numbers, or lists of one length", span)
    return array


def _wrong(what: str, wanted: str, value: Any, span: Span) -> MlcError:
    help = None
    if isinstance(value, Fraction):
        help = "`//` divides and rounds down"
    return MlcError("value", f"{what} takes {wanted}, and gets {kind_of(value)}", span, help=help)


def _divided(expr: Expr, value: Any) -> Expr | None:
    """The expression of a coerced value: `H / 2` as `H // 2` where the quotient is whole."""
    if isinstance(expr, ast.Tuple) and isinstance(value, (list, tuple)):
        parts = [_divided(e, v) for e, v in zip(expr.elts, value, strict=True)]
        known = [part for part in parts if part is not None]
        return ast.Tuple(list(known), ast.Load()) if len(known) == len(parts) else None
    if isinstance(value, Ratio):
        if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Div):
            return ast.BinOp(expr.left, ast.FloorDiv(), expr.right)
        return None
    if isinstance(value, Fraction):
        number = isinstance(expr, ast.BinOp) and isinstance(expr.left, ast.Constant)
        if isinstance(expr, ast.BinOp) and number and isinstance(expr.op, ast.Div):
            assert isinstance(expr.left, ast.Constant)
            top = ast.Constant(float(expr.left.value))  # type: ignore[arg-type]
            return ast.BinOp(top, ast.Div(), expr.right)
        return None
    return expr
