"""Errors of .mdl texts: cases in a file, one of every code at least, and texts that mean harm."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from mlc.compiler.codes import CODES
from mlc.compiler.diagnose import MlcError, MlcErrors
from mlc.frontends import mdl
from mlc.frontends.mdl import load
from mlc.frontends.mdl.errors import REFUSED

HERE = Path(__file__).parent
CASES = (HERE / "errors.txt").read_text().split("\n=== ")[1:]
FRONTEND = Path(mdl.__file__).parent


def errors_of(text: str) -> list[MlcError]:
    """The errors of a text, or its warnings."""
    try:
        return load(text).warnings
    except MlcErrors as errors:
        return list(errors.errors)
    except MlcError as error:
        return [error]


def shown(error: MlcError) -> str:
    """An error on a few lines: place, code, message, notes, help."""
    at = "-" if error.span is None else f"{error.span.line}:{error.span.column}"
    lines = [f"{at} {error.code}: {error.message}"]
    for note in error.notes:
        place = f"{note.span.line}:{note.span.column} " if note.span else ""
        lines.append(f"    note: {place}{note.text}")
    return "\n".join([*lines, *([f"    help: {error.help}"] if error.help else [])])


def parts(case: str) -> tuple[str, str, str]:
    title, rest = case.split("\n", 1)
    text, expected = rest.split("--- ", 1) if rest.startswith("--- ") else rest.split("\n--- ", 1)
    return title, text, expected.split("\n", 1)[1].strip()


@pytest.mark.parametrize("case", CASES, ids=[case.split("\n")[0] for case in CASES])
def test_case(case: str) -> None:
    _, text, expected = parts(case)
    assert "\n".join(map(shown, errors_of(text))) == expected


def codes_raised() -> set[str]:
    """The codes that the frontend's own files raise, read off their text."""
    found: set[str] = set()
    for path in FRONTEND.glob("*.py"):
        found |= set(re.findall(r'MlcError\(\s*"([a-z-]+)"', path.read_text()))
    return found | {"unsupported"}


def test_every_code_is_documented_and_has_a_case() -> None:
    seen = {e.code for case in CASES for e in errors_of(parts(case)[1])}
    assert codes_raised() <= CODES.keys()
    assert seen == codes_raised()


def test_what_is_refused_by_name_has_a_case() -> None:
    told = "\n".join(parts(case)[2] for case in CASES)
    assert [word for word, help in REFUSED.items() if help not in told] == []


HEADER = "model M:\n    in x: f32[B, 8]\n    out y: like x\n    "


@pytest.mark.parametrize(
    "body",
    [
        "y = " + "(" * 1000 + "x" + ")" * 1000,
        "y = " + "-" * 5000 + "x",
        "y = " + "x + " * 5000 + "x",
        "y = " + "x if true else " * 2000 + "x",
        "y = " + "not " * 2000 + "true",
        "n = 2 ** 99999\n    y = x",
        "n = 9 ** 9 ** 9\n    y = x",
        "n = " + "9" * 50_000 + "\n    y = x",
        "n = 1e999\n    y = x",
        "n = [0] * 10 ** 12\n    y = x",
        'n = "a" * 10 ** 12\n    y = x',
        "n = range(10 ** 12)\n    y = x",
        "n = sum(range(20000)) ** 20\n    y = x",
        "n = [1]\n    repeat 64:\n        n = n + n\n    y = x",
        "y = x\n    repeat 10 ** 12:\n        y = relu(y)",
        "y = x\n    repeat 20000:\n        repeat 20000:\n            y = relu(y)",
        "y = x" + "".join(f"\n{'    ' * i}if true:" for i in range(1, 90)),
        "y = x -> linear(2 ** 40) -> linear(2 ** 40)",
        "y = x -> reshape(" + "1, " * 5000 + "8)",
        "y = x[" + ":, " * 5000 + "0]",
        "y = x -> " * 3000 + "relu",
    ],
)
def test_texts_that_mean_harm_are_refused_in_time(body: str) -> None:
    errors = errors_of(HEADER + body + "\n")
    assert errors
    assert {e.code for e in errors} <= {"limit", "syntax", "value", "shape", "axis"}


def test_blocks_within_blocks_are_bounded() -> None:
    blocks = "".join(
        f"block B{i}:\n    in x: f32[B]\n    out y: like x\n    y = x -> B{i + 1} -> B{i + 1}\n"
        for i in range(30)
    )
    last = "model B30:\n    in x: f32[B]\n    out y: like x\n    y = x -> B0\n"
    (error,) = errors_of(blocks + last)
    assert error.code in ("limit", "recursion")


def test_bytes_that_are_no_text_are_errors() -> None:
    chance = random.Random(3)
    for _ in range(200):
        text = "".join(chr(chance.choice([*range(1, 128), 0x3BB, 0x2028])) for _ in range(60))
        assert errors_of(text)
