"""Patterns of `rearrange`: `b (h w) c -> b c h w`, read strictly, each part with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...compiler.diagnose import MlcError, Span
from .errors import listed
from .limits import AXES

Element: TypeAlias = "str | tuple[str, ...]"
"""One axis of a tensor: a name, or the names that it is made of (none: an axis of size 1)."""

DOTS = "..."
TOKEN = re.compile(r"\s*(->|\.\.\.|[A-Za-z_]\w*|[0-9]+|\S)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text that a string of the source stands for, and the span of that string."""

    text: str
    span: Span

    def place(self, start: int, end: int) -> Span:
        """The span of some of its characters; of the whole string where that cannot be told."""
        at = self.span
        line = at.source.line(at.line) if at.line == at.end_line else ""
        if line[at.column - 1 : at.end_column - 1] != f'"{self.text}"':
            return at
        return Span(at.source, at.line, at.column + 1 + start, at.line, at.column + 1 + end)


@dataclass(frozen=True, slots=True)
class Side:
    """What stands on one side of the arrow, and the span of each element."""

    elements: tuple[Element, ...]
    spans: tuple[Span, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(name for element in self.elements for name in members(element))


def members(element: Element) -> tuple[str, ...]:
    """The names that an axis is made of."""
    return (element,) if isinstance(element, str) else element


def read(pattern: Quoted) -> tuple[Side, Side]:
    """Both sides of a pattern; MlcError `pattern` where it is none, or drops or repeats an axis."""
    tokens = [(m[1], pattern.place(m.start(1), m.end(1))) for m in TOKEN.finditer(pattern.text)]
    arrows = [i for i, (token, _) in enumerate(tokens) if token == "->"]
    if len(arrows) != 1:
        span = tokens[arrows[1]][1] if arrows else pattern.span
        raise MlcError("pattern", f"a pattern has one `->`, and this has {len(arrows)}", span,
                       help='write it as in `rearrange("b c h w -> b (h w) c")`')  # fmt: skip
    if len(tokens) > 4 * AXES:
        raise MlcError("limit", f"a pattern of more than {AXES} names", pattern.span)
    left, right = _side(tokens[: arrows[0]]), _side(tokens[arrows[0] + 1 :])
    for element, span in zip(left.elements, left.spans, strict=True):
        if isinstance(element, tuple) and DOTS in element:
            raise MlcError("pattern", "`...` stands for whole axes, and on the left in no"
                           " parentheses", span)  # fmt: skip
    _compare(left, right)
    return left, right


def _side(tokens: Sequence[tuple[str, Span]]) -> Side:
    elements: list[Element] = []
    spans: list[Span] = []
    group: list[str] | None = None
    seen: set[str] = set()
    for token, span in tokens:
        if token == "(" and group is None:
            group = []
            spans.append(span)
        elif token == ")" and group is not None:
            elements.append(tuple(group))
            spans[-1] = _joined(spans[-1], span)
            group = None
        else:
            _check(token, span, group, seen)
            if group is None:
                elements.append(() if token == "1" else token)
                spans.append(span)
            elif token != "1":
                group.append(token)
            seen |= {token} - {"1"}
    if group is not None:
        raise MlcError("pattern", "a `(` that is never closed", spans[-1])
    return Side(tuple(elements), tuple(spans))


def _check(token: str, span: Span, group: list[str] | None, seen: set[str]) -> None:
    if token == "(":
        raise MlcError("pattern", "parentheses within parentheses", span)
    if token == ")":
        raise MlcError("pattern", "a `)` that closes nothing", span)
    if token.isdigit() and token != "1":
        raise MlcError("pattern", f"{token} is no name; only 1 stands for itself", span,
                       help=f"name the axis, and give its size: n = {token}")  # fmt: skip
    if not (token[0].isalnum() or token[0] == "_" or token == DOTS):
        raise MlcError("pattern", f"{token!r} has no meaning in a pattern", span,
                       help="it has names, 1, ..., parentheses and one ->")  # fmt: skip
    if token in seen:
        raise MlcError("pattern", f"{token} stands twice on this side", span)


def _joined(first: Span, last: Span) -> Span:
    return Span(first.source, first.line, first.column, last.end_line, last.end_column)


def _compare(left: Side, right: Side) -> None:
    """Both sides must have the same names: nothing is summed, and nothing repeated."""
    for here, other, where, help in (
        (left, right, "left", "rearrange drops no axis: take a mean or an element of it first"),
        (right, left, "right", "rearrange repeats nothing: `unsqueeze`, `expand` and `tile` do"),
    ):
        known = set(other.names)
        for element, span in zip(here.elements, here.spans, strict=True):
            for name in members(element):
                if name not in known:
                    message = f"{name} stands only on the {where}"
                    raise MlcError("pattern", message, span, help=help)


def spread(side: Side, names: Iterable[str]) -> Side:
    """The side with `...` replaced by names of its axes."""
    new = tuple(names)
    elements: list[Element] = []
    spans: list[Span] = []
    for element, span in zip(side.elements, side.spans, strict=True):
        made: tuple[Element, ...] = (element,)
        if element == DOTS:
            made = new
        elif isinstance(element, tuple) and DOTS in element:
            at = element.index(DOTS)
            made = ((*element[:at], *new, *element[at + 1 :]),)
        elements += made
        spans += [span] * len(made)
    return Side(tuple(elements), tuple(spans))


def pair(left: Side, right: Side) -> tuple[Side, Side]:
    """Both sides with names for axes of size 1, where they have equally many: these only move."""
    count = left.elements.count(())
    if count != right.elements.count(()):
        return left, right
    sides = []
    for side in (left, right):
        names = iter([f"1.{i}" for i in range(count)])
        elements = tuple(next(names) if element == () else element for element in side.elements)
        sides.append(Side(elements, side.spans))
    return sides[0], sides[1]


def shown(element: Element) -> str:
    """An element as a pattern writes it."""
    if isinstance(element, str):
        return element
    return f"({' '.join(element)})" if element else "1"


def fits(left: Side, rank: int, what: str, pattern: Quoted) -> tuple[str, ...]:
    """Names for the axes that `...` stands for; MlcError where the tensor has another rank."""
    dots = left.elements.count(DOTS)
    count = len(left.elements) - dots
    if rank < count or (rank != count and not dots):
        least = "at least " if dots else ""
        message = f"the pattern has {least}{count} axes on the left, and {what} has {rank}"
        raise MlcError("pattern", message, pattern.span)
    return tuple(f"{DOTS}{i}" for i in range(rank - count)) if dots else ()


def open_names(element: Element, sizes: Iterable[str], span: Span) -> str | None:
    """The one name of an axis that has no size yet; MlcError where there are several."""
    unknown = [name for name in members(element) if name not in set(sizes)]
    if len(unknown) > 1:
        some = f"the sizes of {listed(unknown)} in {shown(element)} are not known"
        raise MlcError("pattern", some, span, help=f"give all but one: {unknown[0]} = ...")
    return unknown[0] if unknown else None
