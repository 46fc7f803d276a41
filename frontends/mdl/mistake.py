"""What a syntax error is called: from the token that does not fit to a sentence."""

from __future__ import annotations

from lark import Token, UnexpectedToken

from ...compiler.diagnose import MlcError
from .errors import closest
from .layout import INNER, OUTER, RESERVED, Layout, span_of

PLACES = {"_NEWLINE": "the end of the line", "_INDENT": "a deeper indentation",
          "_DEDENT": "the end of the body", "$END": "the end of the text"}  # fmt: skip


def describe(error: UnexpectedToken, layout: Layout) -> MlcError:
    """The error of a token that the grammar does not allow at its place."""
    token: Token = error.token
    unclosed = layout.unclosed_before(token)
    if unclosed:
        return unclosed
    first = layout.first
    if "_INDENT" in error.expected and first is not None:
        message = "a body must follow, indented by more than this line"
        return MlcError("syntax", message, span_of(layout.source, first))
    message, help = _sentence(token, set(error.expected), layout)
    place = token
    if token.type in ("_DEDENT", "$END") and layout.before is not None:
        place = layout.before
    return MlcError("syntax", message, span_of(layout.source, place), help=help)


def _sentence(token: Token, expected: set[str], layout: Layout) -> tuple[str, str | None]:
    found = PLACES.get(token.type, f"`{token}`")
    keyword = _misspelt(token, layout)
    if keyword:
        return f"{found} does not fit here", f"did you mean `{keyword}`?"
    if token.type == "_INDENT":
        return "this line is indented deeper than its body", "align it with the line above"
    if token.lower() in RESERVED and "NAME" in expected:
        return f"`{token}` is a keyword and cannot be a name", None
    if token == "=" and "COMPARE" in expected:
        return "`=` assigns and cannot stand here", "write `==` to compare"
    for terminal, text in (("COLON", ":"), ("RPAR", ")"), ("RSQB", "]")):
        if terminal in expected and token.type in ("_NEWLINE", "_INDENT"):
            return f"`{text}` is missing at the end of the line", None
    if "BLOCK" in expected and "PLUS" not in expected:
        return f"{found} does not start a definition", "definitions start with `block` or `model`"
    wanted = _wanted(expected)
    return f"{found} does not fit here{wanted}", None


def _wanted(expected: set[str]) -> str:
    if {"NAME", "INT", "LPAR"} <= expected:
        return ": a value is expected"
    if expected == {"NAME"}:
        return ": a name is expected"
    if len(expected) == 1 and "COLON" in expected:
        return ": `:` is expected"
    return ""


def _misspelt(token: Token, layout: Layout) -> str | None:
    """The keyword that the first word of the statement may have been meant for."""
    first = layout.first
    if first is None or first.type != "NAME" or not (layout.before is first or token is first):
        return None
    outer = layout.levels == [0]
    if str(first) in OUTER | INNER | RESERVED:
        return None
    return closest(str(first), OUTER if outer else INNER | {"in", "for", "if"})
