"""Where something stands in a source, and the one exception that users see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Source:
    """A text that spans point into: its name (a path, or `<text>`) and its characters."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """Line `number`, counted from 1, without its end; empty past the end of the text."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    """Cut once: a line is asked for at every doubtful place of a text."""
    return text.splitlines()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source; lines and columns count from 1, the end column is exclusive."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that explains an error (where x is declared), or a bare remark."""

    text: str
    span: Span | None = None


class MlcError(Exception):
    """What a user did wrong, or asked for that cannot be had.

    `code` is stable and explained by `mlc explain CODE`; `message` says what was expected and
    what was received; `help` is one way on. Rendered by `mlc.cli`, never as a traceback.
    """

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        notes: Iterable[Note] = (),
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.notes = tuple(notes)
        self.help = help


class MlcErrors(MlcError):
    """Several errors of one source, collected before giving up; `errors` holds at least one."""

    def __init__(self, errors: Iterable[MlcError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.code, first.message, first.span, notes=first.notes, help=first.help)
