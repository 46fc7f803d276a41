"""How errors of a source are made: suggestions, several at once, and what is refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NoReturn

from ...compiler.diagnose import MlcError, MlcErrors

MOST, LONG = 1_000, 60
"""How many words are compared with one that is not known, and how long that may be."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` may have been meant for; long texts are not compared."""
    near = sorted({name for name in known if abs(len(name) - len(word)) < 20})[:MOST]
    found = difflib.get_close_matches(word, near, n=1, cutoff=0.6) if len(word) < LONG else ()
    return found[0] if found else None


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The help line that goes with an unknown word."""
    best = closest(word, known)
    return f"did you mean {best}?" if best else None


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    all_words = list(words)
    return " and ".join([", ".join(all_words[:-1]), all_words[-1]] if all_words[1:] else all_words)


def raise_all(errors: Sequence[MlcError]) -> NoReturn:
    """Raises the error, or all of them in the order of the text, each once."""
    flat: list[MlcError] = []
    for error in errors:
        flat += error.errors if isinstance(error, MlcErrors) else (error,)
    unique = {(e.code, e.message, str(e.span)): e for e in flat}
    files = list(dict.fromkeys(e.span.source.name for e in flat if e.span))
    ordered = sorted(unique.values(), key=lambda e: _place(e, files))
    raise ordered[0] if len(ordered) == 1 else MlcErrors(ordered)


def _place(error: MlcError, files: Sequence[str]) -> tuple[int, int, int]:
    at = error.span
    return (files.index(at.source.name), at.line, at.column) if at else (0, 0, 0)


REFUSED = {
    "train": "training is not compiled yet; leave the section out",
}
"""What the language has, this version has not, and what to do instead."""


def unsupported(what: str) -> tuple[str, str, str]:
    """Code, message and help for what is refused by name."""
    return "unsupported", f"`{what}` is not supported yet", REFUSED[what]
