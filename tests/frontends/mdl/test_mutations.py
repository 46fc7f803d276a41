"""A thousand slips of the keyboard: no traceback, and the error stands where the slip is."""

from __future__ import annotations

import random
import re
from pathlib import Path

from mlc.compiler.diagnose import MlcError
from mlc.frontends.mdl import load

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.mdl"))
TOKEN = re.compile(r"->|:=|//|\*\*|[<>=!]=|\w+|[^\w\s]")
PARAMS = {"gpt": {"layers": 2}}
COUNT = 1000


def _mutated(text: str, source: random.Random) -> tuple[str, int]:
    """The text with one token deleted, doubled, swapped with its neighbour, or replaced by another;
    and the line where that happened."""
    code = [
        m
        for m in TOKEN.finditer(text)
        if "#" not in text[text.rfind("\n", 0, m.start()) + 1 : m.start()]
    ]
    tokens = [m for m in code if m[0] != "#"]
    i = source.randrange(len(tokens) - 1)
    a, b = tokens[i], tokens[i + 1]
    gap = text[a.end() : b.start()]
    new = {
        "delete": text[: a.start()] + text[a.end() :],
        "double": text[: a.end()] + " " + a[0] + text[a.end() :],
        "swap": text[: a.start()] + b[0] + gap + a[0] + text[b.end() :],
        "replace": text[: a.start()] + source.choice(tokens)[0] + text[a.end() :],
    }[source.choice(("delete", "double", "swap", "replace"))]
    return new, text.count("\n", 0, a.start()) + 1


def _error(text: str, path: Path) -> MlcError | None:
    try:
        load(text, path.name, params=PARAMS.get(path.stem, {}))
    except MlcError as error:
        return error
    return None


def test_mutations_give_errors_at_their_place() -> None:
    source = random.Random(20)
    near = total = 0
    for number in range(COUNT):
        path = EXAMPLES[number % len(EXAMPLES)]
        text, line = _mutated(path.read_text(), source)
        error = _error(text, path)
        if error is None:
            continue
        total += 1
        errors = getattr(error, "errors", (error,))
        places = [e.span for e in errors] + [n.span for e in errors for n in e.notes]
        near += any(p is not None and abs(p.line - line) <= 1 for p in places)
        assert errors[0].span is not None, f"{error}: no place in\n{text}"
    assert total > COUNT // 2
    assert near >= 0.9 * total, f"{near} of {total} errors stand within a line of the slip"
