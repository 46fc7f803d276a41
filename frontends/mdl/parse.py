"""Text to syntax tree: the LALR parser, and recovery so that several errors are reported."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ... import grammar
from ...compiler.diagnose import MlcError, Source, Span
from .build import Builder
from .errors import raise_all
from .layout import INNER, OUTER, Layout
from .limits import LENGTH, SYNTAX_ERRORS
from .mistake import describe
from .syntax import File


def parse(source: Source) -> File:
    """The syntax tree of a text; raises MlcError, or MlcErrors where there are several."""
    if len(source.text) > LENGTH:
        raise MlcError("limit", f"the text is longer than {LENGTH} characters")
    errors: list[MlcError] = []
    text = source.text
    while True:
        layout = Layout(source)
        try:
            tree = _parse(text, source, layout)
        except MlcError as error:
            errors.append(error)
            rest = _without(text, layout, error)
            if rest is None or rest == text or len(errors) == SYNTAX_ERRORS:
                break
            text = rest
        else:
            if not errors:
                return tree
            break
    raise_all(errors)


def _parse(text: str, source: Source, layout: Layout) -> File:
    try:
        tree = _lark(source, layout).parse(text)
        assert isinstance(tree, File)
        return tree
    except UnexpectedCharacters as error:
        raise MlcError("syntax", *_characters(text, source, error)) from None
    except UnexpectedToken as error:
        raise describe(error, layout) from None
    except UnexpectedInput as error:  # pragma: no cover - no other kind is known
        raise MlcError("syntax", str(error).splitlines()[0]) from None


@functools.cache
def _grammar() -> str:
    return files(grammar).joinpath("mdl.lark").read_text("utf-8")


class _Hooks:
    """What Lark calls: the layout filter of the text that is being parsed."""

    always_accept = ()
    layout: Layout

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return self.layout.process(stream)


@functools.cache
def _parser() -> tuple[Lark, _Hooks, Builder]:
    """Lark's tables take 0.1 s to make and are made once a process: no cache file is kept."""
    hooks, builder = _Hooks(), Builder()
    lark = Lark(
        _grammar(), parser="lalr", lexer="basic", postlex=hooks, transformer=builder,
        keep_all_tokens=True, maybe_placeholders=False,
    )  # fmt: skip
    return lark, hooks, builder


def _lark(source: Source, layout: Layout) -> Any:
    lark, hooks, builder = _parser()
    hooks.layout, builder.source = layout, source
    return lark


def _characters(text: str, source: Source, error: UnexpectedCharacters) -> tuple[str, Span]:
    character = text[error.pos_in_stream] if error.pos_in_stream is not None else ""
    line, column = error.line, error.column
    span = Span(source, line, column, line, column + 1)
    if character in "\"'":
        return "a string that does not end on its line, or not in double quotes", span
    return f"the character {character!r} has no meaning here", span


# ------------------------------------------------------------------------------------ recovery


def _without(text: str, layout: Layout, error: MlcError) -> str | None:
    """The text with the statement of the error replaced by one that means nothing."""
    if error.code != "syntax" or error.span is None:
        return None
    lines = text.splitlines()
    last = min(error.span.line, len(lines))
    first = min(layout.first.line or last, last) if layout.first else last
    if "never closed" not in error.message:
        balance = _balance("\n".join(lines[first - 1 : last]))
        while last < len(lines) and _goes_on(balance, lines[last]):
            balance += _balance(lines[last])
            last += 1
    indent = _indent(lines[first - 1])
    inner = next((_indent(line) for line in lines[last:] if _code(line)), 0)
    lines[first - 1 : last] = [""] * (last - first + 1)
    if inner > indent:
        lines[first - 1] = " " * indent + ("if true:" if indent else f"block _{first}:")
    elif indent:
        lines[first - 1] = " " * indent + "_ = 0"
    return "\n".join(lines) + "\n"


def _balance(text: str) -> int:
    """How many parentheses are open behind a text."""
    return sum(text.count(c) for c in "([") - sum(text.count(c) for c in ")]")


def _goes_on(balance: int, following: str) -> bool:
    head = following.split(maxsplit=1)[:1]
    opens = head and head[0] in OUTER | INNER | {"in", "in?", "for", "if"}
    return following.lstrip().startswith("->") or (balance > 0 and not opens)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
