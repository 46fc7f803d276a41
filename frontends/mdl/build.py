"""From the parser's reductions to the syntax tree: one method a rule of the grammar."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lark import Token

from ...compiler.diagnose import MlcError, Source, Span
from . import syntax as s
from .limits import DEPTH, DIGITS, MESSAGE

Parts: TypeAlias = Sequence[Any]
WORDS = {"true": True, "false": False, "none": None}
NUMBERS = {"inf": math.inf, "nan": math.nan}
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


class Builder:
    """Lark calls `rule(parts)` for each reduction; `make_rule(span, parts)` does the work."""

    source: Source

    def __getattr__(self, rule: str) -> Callable[[Parts], Any]:
        if rule.startswith("make_"):
            raise AttributeError(rule)
        make = getattr(self, f"make_{rule.rstrip('_')}")

        def reduce(parts: Parts) -> Any:
            made = make(self._span(parts), parts)
            if isinstance(made, s.Syntax):
                self._measure(made)
            return made

        return reduce

    def _span(self, parts: Parts) -> Span:
        """From the first to the last part that has a place; a body has none, so heads remain."""
        places: list[tuple[int, int, int, int]] = []
        for part in parts:
            if isinstance(part, s.Syntax):
                at = part.span
                places.append((at.line, at.column, at.end_line, at.end_column))
            elif isinstance(part, Token) and not part.type.startswith("_"):
                line, column = part.line or 1, part.column or 1
                places.append((line, column, part.end_line or line, part.end_column or column))
        if not places:
            return Span(self.source, 1, 1, 1, 1)
        return Span(self.source, *places[0][:2], *places[-1][2:])

    def _measure(self, node: s.Syntax) -> None:
        """Sets depth and number of parts, from those of what lies below."""
        children = list(node.children())
        node.depth = 1 + max((child.depth for child in children), default=0)
        node.parts = 1 + sum(child.parts for child in children)
        if node.depth > DEPTH:
            raise MlcError("limit", f"this nests deeper than {DEPTH} levels", node.span)

    # ---------------------------------------------------------------------------------- files

    def make_start(self, span: Span, parts: Parts) -> s.File:
        file = s.File()
        for part in parts:
            if isinstance(part, s.DefinitionSyntax) and part.kind == "train":
                file.refused.append(s.Refused("train", span=part.head))
            elif isinstance(part, s.DefinitionSyntax):
                file.definitions.append(part)
            elif isinstance(part, s.Use):
                file.uses.append(part)
        return file

    def make_definition(self, span: Span, parts: Parts) -> s.DefinitionSyntax:
        parameters = tuple(p for p in parts if isinstance(p, s.Parameter))
        return s.DefinitionSyntax(
            str(parts[0]), str(parts[1]), parameters, parts[-1], span, self._doc(span), span=span
        )

    def _doc(self, span: Span) -> str:
        """The comment that stands directly above a header."""
        lines: list[str] = []
        number = span.line - 1
        while self.source.line(number).startswith("#"):
            lines.append(self.source.line(number).lstrip("#").strip())
            number -= 1
        return "\n".join(reversed(lines))

    def make_use(self, span: Span, parts: Parts) -> s.Use:
        names = tuple(p for p in parts if isinstance(p, s.Used))
        if not names:
            help = f"name the blocks: {parts[1].value} (Block, Other as Mine)"
            raise MlcError("syntax", "this line does not say what it uses", span, help=help)
        return s.Use(parts[1], names, span=span)

    def make_place(self, span: Span, parts: Parts) -> s.Literal:
        if parts[0].type == "STRING":
            return s.Literal(self._text(parts[0]), span=span)
        path = "".join(parts)
        if span.end_column - span.column != len(path) or span.line != span.end_line:
            message = "a space within a path"
            raise MlcError(
                "syntax", message, span, help='write it in quotes: use "a b.mdl" (Block)'
            )
        return s.Literal(path, span=span)

    def make_used(self, span: Span, parts: Parts) -> s.Used:
        return s.Used(str(parts[0]), str(parts[-1]), span=span)

    def make_parameter(self, span: Span, parts: Parts) -> s.Parameter:
        return s.Parameter(str(parts[0]), parts[2] if parts[1:] else None, span=span)

    def make_body(self, span: Span, parts: Parts) -> tuple[s.Syntax, ...]:
        return _nodes(parts)

    # ----------------------------------------------------------------------------- statements

    def make_line(self, span: Span, parts: Parts) -> s.Syntax:
        statement: s.Syntax = parts[0]
        return statement

    def make_loop(self, span: Span, parts: Parts) -> s.Loop:
        _, targets, _, table = parts[:4]
        return s.Loop(_ids(targets), table, parts[-1], _label(parts), span=span)

    def make_scan(self, span: Span, parts: Parts) -> s.Scan:
        _, targets, _, table, *along = parts[:-2]
        words = [*map(str, along[::2])]
        if words not in (["along"], ["along", "backwards"]):
            raise MlcError(
                "syntax", "a scan goes along an axis", span,
                help="write `scan x_t in x along T:`, or `along T backwards:`",
            )  # fmt: skip
        return s.Scan(_ids(targets), _zipped(table), along[1], parts[-1], len(words) > 1, span=span)

    def make_repeat(self, span: Span, parts: Parts) -> s.Loop:
        return s.Loop((), parts[1], parts[-1], _label(parts), span=span)

    def make_while(self, span: Span, parts: Parts) -> s.While:
        _, condition, *more = parts[:-2]
        if more and [str(word) for word in more[1:3]] != ["at", "most"]:
            raise MlcError("syntax", "what stands behind a condition is a bound", span,
                           help="write `while condition, at most 10:`")  # fmt: skip
        return s.While(condition, more[-1] if more else None, parts[-1], span=span)

    def make_blocks(self, span: Span, parts: Parts) -> s.Blocks:
        regions = tuple(part for part in parts if isinstance(part, s.Region))
        return s.Blocks(_ids(parts[0]), parts[2], regions, span=self._span(parts[:4]))

    def make_region(self, span: Span, parts: Parts) -> s.Region:
        return s.Region(parts[-1], span=span)

    def make_branch(self, span: Span, parts: Parts) -> s.If:
        other: tuple[s.Syntax, ...] = ()
        if len(parts) > 4:
            other = (parts[4],) if isinstance(parts[4], s.If) else parts[4]
        return s.If(parts[1], parts[3], other, span=self._span(parts[:3]))

    def make_otherwise(self, span: Span, parts: Parts) -> tuple[s.Syntax, ...]:
        body: tuple[s.Syntax, ...] = parts[-1]
        return body

    def make_input(self, span: Span, parts: Parts) -> s.In:
        optional = parts[1] == "?"
        rest = parts[2:] if optional else parts[1:]
        default = rest[4] if rest[4:] else None
        return s.In(str(rest[0]), rest[2], default, optional, span=span)

    def make_output(self, span: Span, parts: Parts) -> s.Out:
        return s.Out(str(parts[1]), parts[3], span=span)

    def make_param(self, span: Span, parts: Parts) -> s.Param:
        state = parts[0].type == "STATE"
        return s.Param(str(parts[1]), parts[3], *self._behind(parts, state), span=span)

    make_state = make_param

    def make_noise(self, span: Span, parts: Parts) -> s.Noise:
        return s.Noise(str(parts[1]), parts[3], *self._behind(parts), span=span)

    def _behind(self, parts: Parts, *flags: bool) -> tuple[Any, ...]:
        """What stands behind the type: a value, if any, and the path, between them `flags`."""
        value = next((p for p in parts[4:] if isinstance(p, s.Syntax)), None)
        last = parts[-1]
        quoted = isinstance(last, Token) and last.type == "STRING"
        return value, *flags, self._path(last) if quoted else None

    def make_require(self, span: Span, parts: Parts) -> s.Require:
        message = self._text(parts[3]) if parts[3:] else ""
        return s.Require(parts[1], message, span=span)

    def make_assign(self, span: Span, parts: Parts) -> s.Assign:
        values = _nodes(parts[1:])
        value = values[0] if len(values) == 1 else s.Items(values, True, span=self._span(values))
        self._measure(value)
        return s.Assign(_ids(parts[0]), value, span=span)

    def make_grow(self, span: Span, parts: Parts) -> s.Grow:
        return s.Grow(str(parts[0]), parts[2], span=span)

    def make_update(self, span: Span, parts: Parts) -> s.Update:
        if parts[3:] and parts[4] != "training":
            raise MlcError(
                "syntax", f"a state changes `if training`, or always, not `if {parts[4]}`", span
            )
        return s.Update(str(parts[0]), parts[2], bool(parts[3:]), span=span)

    def make_bare(self, span: Span, parts: Parts) -> s.Bare:
        return s.Bare(parts[0], span=span)

    def make_targets(self, span: Span, parts: Parts) -> s.Items:
        names = tuple(s.Name(str(p), span=self._span([p])) for p in parts if p.type == "NAME")
        return s.Items(names, True, span=span)

    # ---------------------------------------------------------------------------------- types

    def make_type(self, span: Span, parts: Parts) -> s.TypeSyntax:
        axes = tuple(p for p in parts if isinstance(p, s.Axis))
        return s.TypeSyntax(str(parts[0]), axes, span=span)

    def make_like(self, span: Span, parts: Parts) -> s.TypeSyntax:
        if parts[0] != "like":
            raise MlcError(
                "syntax", f"`{parts[1]}` does not fit here", self._span(parts[1:]),
                help=f"write `like {parts[1]}`, or {parts[0]}[sizes]",
            )  # fmt: skip
        return s.TypeSyntax("", (), str(parts[1]), span=span)

    def make_axis(self, span: Span, parts: Parts) -> s.Axis:
        return s.Axis(str(parts[0]) if parts[1:] else None, parts[-1], span=span)

    # ---------------------------------------------------------------------------- expressions

    def make_conditional(self, span: Span, parts: Parts) -> s.Conditional:
        return s.Conditional(parts[0], parts[2], parts[4], span=span)

    def make_pipe(self, span: Span, parts: Parts) -> s.Pipe:
        return s.Pipe(parts[0], _nodes(parts[1:]), span=span)  # type: ignore[arg-type]

    def make_stage(self, span: Span, parts: Parts) -> s.Stage:
        made = parts[0]
        if isinstance(made, s.Call):
            return s.Stage(made.callee, made.arguments, _label(parts), span=span)
        return s.Stage(made, (), _label(parts), span=span)

    def make_boolean(self, span: Span, parts: Parts) -> s.Boolean:
        return s.Boolean(str(parts[1]), _nodes(parts), span=span)

    def make_unary(self, span: Span, parts: Parts) -> s.Syntax:
        operand = parts[1]
        if parts[0] == "-" and isinstance(operand, s.Literal) and operand.value == math.inf:
            return s.Literal(-math.inf, span=span)
        return s.Unary(str(parts[0]), operand, span=span)

    def make_binary(self, span: Span, parts: Parts) -> s.Binary:
        return s.Binary(parts[0], " ".join(parts[1:-1]), parts[-1], span=span)

    make_compare = make_binary

    def make_call(self, span: Span, parts: Parts) -> s.Call:
        arguments = tuple(p for p in parts if isinstance(p, s.Argument))
        return s.Call(parts[0], arguments, span=span)

    def make_argument(self, span: Span, parts: Parts) -> s.Argument:
        return s.Argument(str(parts[0]) if parts[1:] else None, parts[-1], span=span)

    def make_index(self, span: Span, parts: Parts) -> s.Index:
        return s.Index(parts[0], _nodes(parts[1:]), span=span)

    def make_subscript(self, span: Span, parts: Parts) -> s.Syntax:
        item: s.Syntax = parts[0]
        return item

    def make_slice(self, span: Span, parts: Parts) -> s.Slice:
        ends: list[s.Syntax | None] = [None]
        for part in parts:
            if isinstance(part, s.Syntax):
                ends[-1] = part
            else:
                ends.append(None)
        lower, upper, step = (*ends, None, None)[:3]
        return s.Slice(lower, upper, step, span=span)

    def make_ellipsis(self, span: Span, parts: Parts) -> s.Ellipsis_:
        return s.Ellipsis_(span=span)

    def make_attribute(self, span: Span, parts: Parts) -> s.Attribute:
        return s.Attribute(parts[0], str(parts[2]), span=span)

    def make_name(self, span: Span, parts: Parts) -> s.Syntax:
        if parts[0] in NUMBERS:
            return s.Literal(NUMBERS[parts[0]], span=span)
        return s.Name(str(parts[0]), span=span)

    def make_integer(self, span: Span, parts: Parts) -> s.Literal:
        digits = parts[0].replace("_", "")
        if len(digits) > DIGITS:
            raise MlcError("limit", f"a number of more than {DIGITS} digits", span)
        return s.Literal(int(digits), span=span)

    def make_float(self, span: Span, parts: Parts) -> s.Literal:
        value = float(parts[0].replace("_", ""))
        if math.isinf(value):
            raise MlcError("limit", "a number that is too large for a float", span)
        return s.Literal(value, span=span)

    def make_string(self, span: Span, parts: Parts) -> s.Literal:
        return s.Literal(self._text(parts[0]), span=span)

    def _path(self, token: Token) -> str:
        path, span = self._text(token), self._span([token])
        if len(path) > MESSAGE or not all(path.split(".")):
            message = "the path of a weight is names with dots between them"
            raise MlcError("value", message, span, help='as in "encoder.0.weight"')
        return path

    def _text(self, token: Token) -> str:
        def escape(found: re.Match[str]) -> str:
            if found[1] not in ESCAPES:
                span = self._span([token])
                raise MlcError("syntax", f"the escape \\{found[1]} is not known", span)
            return ESCAPES[found[1]]

        return re.sub(r"\\(.)", escape, token[1:-1])

    def make_word(self, span: Span, parts: Parts) -> s.Literal:
        return s.Literal(WORDS[parts[0]], span=span)

    def make_group(self, span: Span, parts: Parts) -> s.Syntax:
        inner: s.Syntax = parts[1]
        return inner

    def make_tuple(self, span: Span, parts: Parts) -> s.Items:
        return s.Items(_nodes(parts), True, span=span)

    def make_list(self, span: Span, parts: Parts) -> s.Items:
        return s.Items(_nodes(parts), span=span)


def _zipped(table: s.Syntax) -> tuple[s.Syntax, ...]:
    """What `zip` takes, or one table alone."""
    match table:
        case s.Call(s.Name("zip"), arguments) if not any(a.name for a in arguments):
            return tuple(argument.value for argument in arguments)
    return (table,)


def _nodes(parts: Parts) -> tuple[s.Syntax, ...]:
    return tuple(part for part in parts if isinstance(part, s.Syntax))


def _ids(targets: s.Items) -> tuple[str, ...]:
    return tuple(item.id for item in targets.items if isinstance(item, s.Name))


def _label(parts: Parts) -> str | None:
    """The name after `as`."""
    for keyword, name in itertools.pairwise(parts):
        if isinstance(keyword, Token) and keyword.type == "AS":
            return str(name)
    return None
