"""`mlc fmt`: the one layout of a text. Spaces and indentation change; tokens and comments stay.

Works on tokens and physical lines, not on the syntax tree, so that comments and the author's line
breaks survive. A pipe that is too long is broken before `->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...compiler.diagnose import Source
from .layout import ASSIGNS, CLOSE, INNER, OPEN, OUTER, RESERVED

COLUMNS = 100
SOURCE = 30
"""How wide what is piped may be for the lines of a pipe to start below its first `->`."""

INDENT = 4
VALUES = frozenset(("true", "false", "none"))
TOKEN = re.compile(
    r"""[A-Za-z_]\w*|[0-9][0-9_]*(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)?"""
    r"""|"(?:[^"\\\n]|\\.)*"|->|\*\*|//|==|!=|<=|>=|:=|\+=|\.\.\.|[^\s]""",
    re.ASCII,
)
ATTACHED = frozenset((",", ":", ".", "?"))
"""Tokens that no space precedes."""


def format(text: str, name: str = "<text>") -> str:
    """The text in its normal form; `name` is its name in messages.

    Formatting again changes nothing, and the text means what it meant. Raises MlcError where it
    does not follow the grammar.
    """
    from .parse import parse

    parse(Source(name, text))
    lines: list[str] = []
    before = ""
    for statement in _statements(text):
        lines += statement.lines(bool(lines), before)
        before = statement.keyword
    return "".join(f"{line}\n" for line in lines)


# ------------------------------------------------------------------------------------- reading


@dataclass(slots=True)
class Comment:
    """A comment and the column where it starts; text "" is a blank line."""

    column: int
    text: str


@dataclass(slots=True)
class Piece:
    """One physical line of a statement: its tokens, what ends it, and the comments above it."""

    tokens: list[str]
    comment: Comment | None
    above: list[Comment]
    depth: int


@dataclass(slots=True)
class Statement:
    """A statement (none at the end of the text), its level, and the lines above that are its own.

    `levels` are the widths of indentation that were open before it, `opens` says whether it starts
    a body.
    """

    pieces: list[Piece] = field(default_factory=list)
    above: list[Comment] = field(default_factory=list)
    level: int = 0
    levels: tuple[int, ...] = (0,)
    opens: bool = False

    @property
    def keyword(self) -> str:
        """The keyword that it starts with, if any."""
        return self._first(self.pieces[0].tokens) if self.pieces else ""

    def lines(self, follows: bool, before: str = "") -> Iterator[str]:
        """Its lines; `follows` where lines stand before it, those of a statement `before`."""
        together = before == self.keyword == "use"
        yield from self._above(follows, together)
        if not self.pieces:
            return
        margin = base = INDENT * self.level
        first = self.keyword
        aligned = margin + _aligned(_head(self.pieces[0], margin, first), first)
        for i, piece in enumerate(self.pieces):
            start = margin if i == 0 else aligned
            if piece.depth:
                start = base + INDENT * max(piece.depth - _closers(piece.tokens), 0)
            else:
                base = start
            for comment in piece.above:
                yield " " * start + comment.text
            yield from _broken(piece, start, aligned, "" if i else first)

    def _first(self, tokens: Sequence[str]) -> str:
        """The first token, if it is a keyword here."""
        first, following = tokens[0], tokens[1] if tokens[1:] else "\n"
        soft = first in (OUTER if self.level == 0 else INNER) and following not in ASSIGNS
        return first if soft or first in RESERVED else ""

    def _above(self, follows: bool, together: bool) -> Iterator[str]:
        """Comments and blank lines before it: one blank line at most, one before a definition."""
        entries = [(c.text, self._comment_level(c)) for c in self.above]
        entries = _stripped(entries, front=self.opens or not follows, back=not self.pieces)
        blank = any(not text for text, _ in entries)
        if self.pieces and self.level == 0 and follows and not (blank or together):
            last = len(entries)
            while last and entries[last - 1][1] == 0:
                last -= 1
            entries.insert(last, ("", 0))
        twice = False
        for text, level in entries:
            if text or not twice:
                yield " " * INDENT * level + text if text else ""
            twice = not text

    def _comment_level(self, comment: Comment) -> int:
        """The level of a comment: that of its column, and at least that of what follows."""
        if self.opens:
            return self.level
        deeper = [i for i, width in enumerate(self.levels) if width >= comment.column]
        level = deeper[0] if deeper else len(self.levels) - 1
        return max(level, self.level, 1 if comment.column else 0)


def _statements(text: str) -> Iterator[Statement]:
    """The statements of a text, and what stands behind the last."""
    levels = [0]
    pending: list[Comment] = []
    current: Statement | None = None
    depth, last = 0, ""
    for line in text.replace("\r\n", "\n").split("\n"):
        tokens, comment = _tokens(line)
        if not tokens:
            pending.append(comment or Comment(0, ""))
            continue
        if current is None or not (depth or tokens[0] == "->" or last == "->"):
            if current is not None:
                yield current
            current = _start(line, levels, pending)
            pending = []
        piece = Piece(tokens, comment, [c for c in pending if c.text], depth)
        if last == "->" and current.pieces:
            _move_arrow(current.pieces, piece)
        current.pieces.append(piece)
        pending = []
        depth += sum(t in OPEN for t in tokens) - sum(t in CLOSE for t in tokens)
        last = tokens[-1]
    if current is not None:
        yield current
    yield Statement(above=pending, levels=tuple(levels))


def _move_arrow(pieces: list[Piece], piece: Piece) -> None:
    """Moves the `->` that ends a line to the next one."""
    before = pieces[-1]
    before.tokens.pop()
    piece.tokens.insert(0, "->")
    if not before.tokens:
        pieces.pop()
        behind = [before.comment] if before.comment else []
        piece.above[:0] = [*before.above, *behind]


def _start(line: str, levels: list[int], above: list[Comment]) -> Statement:
    """A statement that begins with this line; `levels` follow its indentation."""
    before = tuple(levels)
    width = len(line) - len(line.lstrip())
    opens = width > levels[-1]
    if opens:
        levels.append(width)
    while width < levels[-1]:
        levels.pop()
    return Statement([], above, len(levels) - 1, before, opens)


def _tokens(line: str) -> tuple[list[str], Comment | None]:
    """The tokens of a physical line, and its comment."""
    tokens: list[str] = []
    for found in TOKEN.finditer(line):
        if found[0] == "#":
            return tokens, Comment(found.start(), line[found.start() :].rstrip())
        tokens.append(found[0])
    return tokens, None


# ------------------------------------------------------------------------------------- writing


def _closers(tokens: Sequence[str]) -> int:
    """How many closing brackets the tokens start with."""
    return next((i for i, token in enumerate(tokens) if token not in CLOSE), len(tokens))


def _aligned(tokens: Sequence[str], first: str) -> int:
    """Where lines that go on with `->` start, counted from the margin.

    Below the first `->` if only a short source stands before it, else just behind the start of the
    value.
    """
    arrow = _place(tokens, ("->",))
    start = _place(tokens[:arrow], ("=", ":=", "+="))
    value = len(_joined(tokens[: start + 1], first)) + 1 if start < arrow else 0
    if arrow < len(tokens) and "if" not in tokens[:arrow]:
        column = len(_joined(tokens[:arrow], first)) + 1
        if column <= value + SOURCE:
            return column
    return value + 2


def _head(piece: Piece, margin: int, first: str) -> Sequence[str]:
    """The tokens of a first line, as far as they stay on it: a pipe may be broken at once."""
    stages = _stages(piece.tokens, first)
    whole = margin + len(_joined(piece.tokens, first)) <= COLUMNS
    if whole or len(stages) == 1 or margin + len(f"{stages[0]} {stages[1]}") <= COLUMNS:
        return piece.tokens
    return piece.tokens[: _place(piece.tokens, ("->",))]


def _place(tokens: Sequence[str], wanted: Sequence[str]) -> int:
    """The first of these tokens outside brackets; the number of tokens where there is none."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token in OPEN) - (token in CLOSE)
        if not depth and token in wanted:
            return i
    return len(tokens)


def _broken(piece: Piece, start: int, aligned: int, first: str) -> Iterator[str]:
    """The line of a piece; a pipe that is too long as several, its comment behind the last."""
    line = " " * start + _joined(piece.tokens, first)
    if len(line) > COLUMNS and not piece.depth:
        line, *rest = _stages(piece.tokens, first)
        line = " " * start + line
        for stage in rest:
            if len(f"{line} {stage}") > COLUMNS:
                yield line
                line = " " * aligned + stage
            else:
                line = f"{line} {stage}"
    if piece.comment is not None:
        line = line.ljust(max(piece.comment.column, len(line) + 2)) + piece.comment.text
    yield line


def _stages(tokens: Sequence[str], first: str) -> list[str]:
    """The text of a pipe cut before each `->` that stands outside parentheses."""
    starts, depth = [0], 0
    for i, token in enumerate(tokens):
        depth += (token in OPEN) - (token in CLOSE)
        if token == "->" and not depth and i:
            starts.append(i)
    if depth:
        return [_joined(tokens, first)]
    ends = [*starts[1:], len(tokens)]
    return [
        _joined(tokens[a:b], first if a == 0 else "") for a, b in zip(starts, ends, strict=True)
    ]


def _joined(tokens: Sequence[str], first: str) -> str:
    """Tokens with the spaces between them; `first` is the keyword that they start with, or ""."""
    if first == "use":
        names = next((i for i, token in enumerate(tokens) if token == "("), len(tokens))
        return f"use {''.join(tokens[1:names])} {_joined(tokens[names:], '')}".rstrip()
    text, before, opened = "", "", ["", *("(" for token in tokens if token in CLOSE)]
    sign = False
    for i, token in enumerate(tokens):
        keyword = bool(first) and i == 1
        if before and not sign and _spaced(before, token, opened[-1], keyword):
            text += " "
        if i == 1 and first == "in" and token != "?":
            text += " "
        sign = token == "-" and not _is_value(before, keyword)
        text += token
        if token in OPEN:
            opened.append(token)
        elif token in CLOSE:
            opened.pop()
        before = token
    return text


def _spaced(before: str, token: str, opened: str, keyword: bool) -> bool:
    """Whether a space stands between two tokens; `keyword` where the first is one that is soft."""
    if before in OPEN or token in CLOSE or token in ATTACHED or before == ".":
        return False
    if before == ":":
        return opened != "["
    return not (token in OPEN and _is_value(before, keyword))


def _is_value(token: str, keyword: bool) -> bool:
    """Whether a token can end a value: then a bracket behind it is a call, and a minus a sum."""
    if keyword or not token:
        return False
    named = token[0].isalnum() or token[0] in '_"'
    return token in CLOSE or token == "..." or (named and token not in RESERVED - VALUES)


def _stripped(
    entries: Iterable[tuple[str, int]], *, front: bool, back: bool
) -> list[tuple[str, int]]:
    """The lines without blank ones at either end."""
    kept = list(entries)
    told = [i for i, (text, _) in enumerate(kept) if text]
    first = (told[0] if told else len(kept)) if front else 0
    last = (told[-1] + 1 if told else 0) if back else len(kept)
    return kept[first:last]
