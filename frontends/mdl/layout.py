"""The layout filter between lexer and parser: indentation, continuation lines and keywords."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lark import Token

from ...compiler.diagnose import MlcError, Note, Source, Span
from .limits import NAME, TOKENS
from .limits import OPEN as DEEPEST

RESERVED = frozenset(
    ("and", "or", "not", "if", "elif", "else", "in", "for", "as", "true", "false", "none")
)
"""Words that are keywords wherever they stand."""

OUTER = frozenset(("block", "model", "train", "use"))
INNER = frozenset(("out", "param", "state", "noise", "require", "repeat", "scan", "while", "block"))
"""Words that are keywords where a definition, or a statement, starts."""

ASSIGNS = frozenset(("=", "+=", ":=", ","))
OPEN = frozenset("([")
CLOSE = frozenset(")]")


def span_of(source: Source, token: Token) -> Span:
    """The place of a token."""
    line, column = token.line or 1, token.column or 1
    return Span(source, line, column, token.end_line or line, token.end_column or column + 1)


class Layout:
    """Reads the raw tokens of one text and yields those that the grammar knows.

    For error messages: `opened` holds the parentheses that are open, `first` is the first token of
    the statement, `before` the one before the last token that was read.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.opened: list[Token] = []
        self.first: Token | None = None
        self.before: Token | None = None
        self.levels = [0]

    def process(self, tokens: Iterable[Token]) -> Iterator[Token]:
        """The tokens with _INDENT, _DEDENT and keywords; MlcError where lines do not align."""
        starts = True
        before: Token | None = None
        count = 0
        for token, following in _pairs(tokens):
            count += 1
            if count > TOKENS:
                raise MlcError("limit", f"a text of more than {TOKENS} words", self._place(token))
            if token.type == "_NEWLINE":
                if not self.opened and following != "->":
                    yield from self._newline(token, following)
                    starts = True
                continue
            self.before, before = before, token
            self.first = token if starts else self.first
            self._count(token)
            yield self._word(token, following, starts)
            starts = False
        yield from self._end(before, starts)

    def _newline(self, token: Token, following: Token | None) -> Iterator[Token]:
        yield token
        indent = token.rsplit("\n", 1)[1].split("#")[0] if following else ""
        if "\t" in indent:
            raise MlcError(
                "indent", "a tab in the indentation", self._place(following),
                help="indent with spaces",
            )  # fmt: skip
        width = len(indent)
        if width > self.levels[-1]:
            if len(self.levels) > DEEPEST:
                raise MlcError("limit", "bodies nest too deep", self._place(following))
            self.levels.append(width)
            yield Token.new_borrow_pos("_INDENT", "", following or token)
        while width < self.levels[-1]:
            self.levels.pop()
            if width > self.levels[-1]:
                columns = " or ".join(str(level) for level in (self.levels[-1],))
                raise MlcError(
                    "indent", f"this line is indented by {width}, which no line above it is",
                    self._place(following), help=f"indent by {columns} to leave the body",
                )  # fmt: skip
            yield Token.new_borrow_pos("_DEDENT", "", following or token)

    def _end(self, last: Token | None, ended: bool) -> Iterator[Token]:
        """The newline that the last line may lack, and the dedents that are due."""
        if self.opened:
            raise self.unclosed()
        if last is None or ended:
            return
        place = Token("_NEWLINE", "\n", 0, last.end_line, last.end_column)
        yield place
        for _ in self.levels[1:]:
            yield Token.new_borrow_pos("_DEDENT", "", place)

    def _count(self, token: Token) -> None:
        if token in OPEN:
            self.opened.append(token)
            if len(self.opened) > DEEPEST:
                raise MlcError("limit", "parentheses nest too deep", self._place(token))
        elif token in CLOSE:
            expected = {"(": ")", "[": "]"}[self.opened.pop()] if self.opened else None
            if token != expected:
                wanted = f", expected '{expected}'" if expected else ", and nothing is open"
                raise MlcError("syntax", f"'{token}'{wanted}", self._place(token))

    def _word(self, token: Token, following: Token | None, starts: bool) -> Token:
        if token.type != "NAME":
            return token
        word = str(token)
        if len(word) > NAME:
            message = f"a name of more than {NAME} characters"
            raise MlcError("limit", message, self._place(token))
        if word.startswith("__"):
            message = "names do not start with two underscores: the targets keep such names"
            raise MlcError("syntax", message, self._place(token))
        soft = starts and (word in OUTER if self.levels == [0] else word in INNER)
        if word in RESERVED or (soft and following is not None and following not in ASSIGNS):
            return Token.new_borrow_pos(word.upper(), word, token)
        return token

    def unclosed(self) -> MlcError:
        """The error of a parenthesis that is still open."""
        token = self.opened[-1]
        return MlcError("syntax", f"'{token}' is never closed", self._place(token))

    def unclosed_before(self, token: Token) -> MlcError | None:
        """The same, if `token` stands on a later line than the parenthesis."""
        if not self.opened or (self.opened[-1].line or 0) >= (token.line or 0):
            return None
        error = self.unclosed()
        error.notes = (Note(f"and {token.value!r} cannot stand here", self._place(token)),)
        return error

    def _place(self, token: Token | None) -> Span | None:
        return span_of(self.source, token) if token is not None else None


def _pairs(tokens: Iterable[Token]) -> Iterator[tuple[Token, Token | None]]:
    """Each token with the one that follows it."""
    stream = iter(tokens)
    token = next(stream, None)
    while token is not None:
        following = next(stream, None)
        yield token, following
        token = following
