"""Diagnostics as text: code, place, the line with carets under it, notes, and help.

Everything shown may come from a hostile file, so characters that a terminal would obey are shown
as their escapes, and a long line is cut to what surrounds the carets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from .compiler.diagnose import MlcError, Span

WIDTH = 100
"""Columns of a source line that are shown."""

MOST = 20
"""Errors of one source that are shown; the rest is counted."""

RED, YELLOW, BLUE, CYAN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[36m"
GREEN, BOLD, OFF = "\x1b[32m", "\x1b[1m", "\x1b[0m"


def wants_colour(stream: IO[str]) -> bool:
    """Whether `stream` is a terminal to colour; NO_COLOR and FORCE_COLOR decide first."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def render(error: MlcError, *, colour: bool = False, kind: str = "error") -> str:
    """The error, or each of several, as it is printed; ends without a newline.

    `kind` is "error" or "warning".
    """
    errors = getattr(error, "errors", (error,))
    shown = ["\n".join(_lines(each, colour, kind)) for each in errors[:MOST]]
    if len(errors) > MOST:
        shown.append(f"and {len(errors) - MOST} more errors")
    return "\n\n".join(shown)


def _lines(error: MlcError, colour: bool, kind: str) -> Iterator[str]:
    def paint(how: str, text: str) -> str:
        return f"{how}{text}{OFF}" if colour else text

    tone = RED if kind == "error" else YELLOW
    places = [(error.span, "", "-->", "^", tone)]
    places += [(note.span, note.text, ":::", "-", BLUE) for note in error.notes if note.span]
    numbers = [span.line for span, *_ in places if span is not None]
    margin = len(str(max(numbers, default=0)))
    yield paint(tone, f"{kind}[{error.code}]") + paint(BOLD, f": {visible(error.message)}")
    for span, text, arrow, mark, how in places:
        if span is None:
            continue
        line, carets = _excerpt(span, mark)
        bar = paint(BLUE, " " * margin + " |")
        yield f"{' ' * margin}{paint(BLUE, arrow)} {visible(str(span))}"
        yield bar
        yield f"{paint(BLUE, f'{span.line:>{margin}} |')} {line}".rstrip()
        yield f"{bar} {paint(how, f'{carets} {visible(text)}'.rstrip())}"
    for note in error.notes:
        if note.span is None:
            yield f"{' ' * margin}{paint(BLUE, ' =')} note: {visible(note.text)}"
    if error.help:
        yield f"{' ' * margin}{paint(BLUE, ' =')} {paint(CYAN, 'help')}: {visible(error.help)}"


def _excerpt(span: Span, mark: str) -> tuple[str, str]:
    """The part of the source line around the span, and marks that stand under the span."""
    text = span.source.line(span.line)
    start = min(span.column - 1, len(text))
    last = span.end_column - 1 if span.end_line == span.line else len(text)
    first = max(0, start - WIDTH // 2) if len(text) > WIDTH else 0
    end = min(len(text), first + WIDTH)
    before, under, after = (
        text[first:start],
        text[start : min(last, end)],
        text[min(last, end) : end],
    )
    left, right = ("..." if first else ""), ("..." if end < len(text) else "")
    line = left + visible(before) + visible(under) + visible(after) + right
    return line, " " * _width(left + visible(before)) + mark * max(1, _width(visible(under)))


def visible(text: str) -> str:
    """`text` with a tab as a space, and other characters that do not print as their escapes."""
    if text.isprintable():
        return text
    shown = text.replace("\t", " ")
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in shown)


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)
