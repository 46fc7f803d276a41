"""`mlc fmt` changes no meaning: programs and layouts that are drawn, and all texts that we have."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.compiler.diagnose import MlcError, Source, Span
from mlc.compiler.equal import difference
from mlc.frontends.mdl import load
from mlc.frontends.mdl.format import TOKEN, format
from mlc.frontends.mdl.parse import parse

HERE = Path(__file__).parent
GRAMMAR = files("mlc.grammar")
REFERENCE = re.findall(
    r"^```mdl\n(.*?)^```", GRAMMAR.joinpath("reference.md").read_text("utf-8"), re.DOTALL | re.M
)
EXAMPLES = [path.read_text() for path in sorted((HERE.parents[2] / "examples").glob("*.mdl"))]
CASES = (HERE / "errors.txt").read_text().split("\n=== ")[1:]
ERRORS = [re.split(r"^--- ", case.split("\n", 1)[1], flags=re.M)[0] for case in CASES]
STD = GRAMMAR.joinpath("std.mdl").read_text("utf-8")


def tree(text: str) -> Any:
    """What a text says: its syntax tree without places."""
    return _plain(parse(Source("<text>", text)))


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, Span):
        return None
    names = getattr(value, "__slots__", None)
    if names is None or isinstance(value, str):
        return repr(value)
    fields = sorted({n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())})
    return type(value).__name__, *((n, _plain(getattr(value, n))) for n in fields)


def comments(text: str) -> list[str]:
    """The comments of a text, in order; a # in a string starts none."""
    found = re.findall(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*', text)
    return [piece.rstrip() for piece in found if piece.startswith("#")]


def check(text: str) -> str:
    formatted = format(text)
    assert tree(formatted) == tree(text)
    assert comments(formatted) == comments(text)
    assert format(formatted) == formatted
    assert not re.search(r"[ \t\r]$", formatted, re.M)
    assert formatted == "" or re.search(r"[^\n]\n\Z", formatted)
    return formatted


# ------------------------------------------------------------------- programs that are drawn

NAMES = (
    "x",
    "_",
    "h1",
    "state",
    "noise",
    "out",
    "use",
    "block",
    "repeat",
    "like",
    "training",
    "Layer",
)
LEAVES = (*NAMES, "0", "1_000", "2.5", "1e-5", "2.0e+3", "inf", "true", "false", "none",
          '"a"', '"# -> (\\" \\\\"', '"\\n"')  # fmt: skip
Tokens = list[str]


class Program:
    """Draws a program as lines of tokens, each with its level."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def file(self) -> Iterator[tuple[int, Tokens]]:
        for _ in range(self.chance.randrange(1, 4)):
            kind = self.chance.choice(("use", "block", "model", "block"))
            if kind == "use":
                place = self.chance.choice(("std", "a/b-c.mdl", '"x y.mdl"'))
                yield 0, ["use", place, *self._listed("(", self._used, ")", 1)]
            else:
                yield from self._definition(kind)

    def _used(self) -> Tokens:
        return [self._name(), *(["as", self._name()] if self._maybe() else [])]

    def _definition(self, kind: str) -> Iterator[tuple[int, Tokens]]:
        head = [kind, self._name()]
        if self._maybe():
            head += self._listed("(", self._parameter, ")", 1)
        yield from self._body(0, [*head, ":"], 2)

    def _parameter(self) -> Tokens:
        return [self._name(), *(["=", *self.expression(1)] if self._maybe() else [])]

    def _body(self, level: int, head: Tokens, depth: int) -> Iterator[tuple[int, Tokens]]:
        if self.chance.random() < 0.2:
            line = self._simple()
            while line[0] in ("out", "param", "state", "noise", "require"):
                line = self._simple()
            yield level, [*head, *line]  # what starts a line is a keyword only there
            return
        yield level, head
        for _ in range(self.chance.randrange(1, 4)):
            yield from self._statement(level + 1, depth)

    def _statement(self, level: int, depth: int) -> Iterator[tuple[int, Tokens]]:
        kind = self.chance.randrange(8) if depth else 7
        if kind == 0:
            head = ["for", *self._targets(), "in", *self.expression(2), *self._as(), ":"]
            if self._maybe():
                axis = self.chance.choice((["T"], ["1"], ["-", "1"]))
                way = ["along", *axis, *(["backwards"] if self._maybe() else [])]
                head = ["scan", *self._targets(), "in", *self.expression(2), *way, ":"]
            yield from self._body(level, head, depth - 1)
        elif kind == 1:
            head = ["repeat", *self._not_assigned(), *self._as(), ":"]
            yield from self._body(level, head, depth - 1)
        elif kind == 2:
            head = ["while", *self._not_assigned(), *self._bound(), ":"]
            yield from self._body(level, head, depth - 1)
        elif kind == 3:
            yield from self._body(level, ["if", *self.expression(2), ":"], depth - 1)
            for _ in range(self.chance.randrange(3)):
                yield from self._body(level, ["elif", *self.expression(1), ":"], depth - 1)
            if self._maybe():
                yield from self._body(level, ["else", ":"], depth - 1)
        else:
            yield level, self._simple()

    def _bound(self) -> Tokens:
        return [",", "at", "most", *self.expression(1)] if self._maybe() else []

    def _not_assigned(self) -> Tokens:
        return ["(", *self.expression(1), ")"]

    def _simple(self) -> Tokens:
        name, value = self._name(), self.expression(3)
        init = ["=", *self.level(1, 1), *(["as", '"a.b"'] if self._maybe() else [])]
        lines = [
            ["in", name, ":", *self._type()], ["in", "?", name, ":", *self._type(), "=", "true"],
            ["out", name, ":", *self._type()], ["param", name, ":", *self._type(), *init],
            ["state", name, ":", *self._type(), *init], ["noise", name, ":", *self._type(), *init],
            ["require", *value],
            ["require", *value, ",", '"why {x}"'], [*self._targets(), "=", *value],
            [name, "=", *value, ",", *self.expression(1)], [name, "+=", *value],
            [name, ":=", *value], [name, ":=", *self.level(0, 2), "if", "training"],
            ["(", *value, ")"],
        ]  # fmt: skip
        line = self.chance.choice(lines)
        bare = line[0] in ("require", "repeat") and line[1:2] and line[1] in ("=", ",")
        return ["h", "=", "x"] if bare else line

    def _type(self) -> Tokens:
        if self.chance.random() < 0.2:
            return ["like", self._name()]
        return ["f32", *self._listed("[", self._axis, "]", 0)]

    def _axis(self) -> Tokens:
        return [*([self._name(), "="] if self._maybe() else []), *self.expression(1)]

    # ------------------------------------------------------------------------- expressions

    def expression(self, depth: int) -> Tokens:
        if depth and self.chance.random() < 0.15:
            test, other = self.level(1, depth - 1), self.expression(depth - 1)
            return [*self.level(0, depth - 1), "if", *test, "else", *other]
        return self.level(0, depth)

    def level(self, level: int, depth: int) -> Tokens:
        """An expression of a rule of the grammar, from pipes (0) to atoms (9)."""
        if depth == 0 or level == 9:
            return self._atom(depth)
        chance = self.chance
        if level == 0 and chance.random() < 0.3:
            stages = [self._stage(depth - 1) for _ in range(chance.randrange(1, 4))]
            return [*self.level(1, depth - 1), *(t for stage in stages for t in ("->", *stage))]
        joints = {1: ["or"], 2: ["and"], 5: ["+", "-"], 6: ["*", "/", "//", "%", "@"]}
        if level in joints and chance.random() < 0.2:
            left, right = self.level(level + 1, depth - 1), self.level(level + 1, depth - 1)
            return [*left, chance.choice(joints[level]), *right]
        if level == 3 and chance.random() < 0.1:
            return ["not", *self.level(3, depth - 1)]
        if level == 4 and chance.random() < 0.15:
            sign = chance.choice((["=="], ["!="], ["<="], ["<"], ["in"], ["not", "in"]))
            return [*self.level(5, depth - 1), *sign, *self.level(5, depth - 1)]
        if level == 7 and chance.random() < 0.15:
            return ["-", *self.level(7, depth - 1)]
        if level == 7 and chance.random() < 0.1:
            return [*self.level(8, depth - 1), "**", *self.level(7, depth - 1)]
        return self._postfix(depth) if level == 8 else self.level(level + 1, depth)

    def _postfix(self, depth: int) -> Tokens:
        made = self._atom(depth)
        for _ in range(self.chance.randrange(3)):
            kind = self.chance.randrange(3)
            if kind == 0:
                made += self._listed("(", lambda: self._argument(depth - 1), ")", 0)
            elif kind == 1:
                made += self._listed("[", lambda: self._subscript(depth - 1), "]", 1)
            elif made[-1] not in LEAVES or made[-1].isidentifier():
                made += [".", self._name()]
        return made

    def _argument(self, depth: int) -> Tokens:
        return [*([self._name(), "="] if self._maybe() else []), *self.expression(max(depth, 0))]

    def _subscript(self, depth: int) -> Tokens:
        if self.chance.random() < 0.1:
            return ["..."]
        ends = [self.expression(max(depth, 0)) if self._maybe() else [] for _ in range(3)]
        count = self.chance.randrange(3)
        if count == 0:
            return self.expression(max(depth, 0))
        parts = ends[0] + [t for end in ends[1 : count + 1] for t in (":", *end)]
        return parts

    def _stage(self, depth: int) -> Tokens:
        made = [self._name(), *([".", "w"] if self.chance.random() < 0.1 else [])]
        if self._maybe():
            made += self._listed("(", lambda: self._argument(depth), ")", 0)
        return [*made, *self._as()]

    def _atom(self, depth: int) -> Tokens:
        kind = self.chance.randrange(8)
        inner = max(depth - 1, 0)
        if depth and kind == 0:
            return ["(", *self.expression(inner), ")"]
        if depth and kind == 1:
            return ["(", *self.expression(inner), ",", *self._items(inner), ")"]
        if depth and kind == 2:
            return self._listed("[", lambda: self.expression(inner), "]", 0)
        return [self.chance.choice(LEAVES)]

    def _items(self, depth: int) -> Tokens:
        return [*self.expression(depth), *([","] if self._maybe() else [])] if self._maybe() else []

    def _listed(self, opening: str, item: Any, closing: str, least: int) -> Tokens:
        items = [item() for _ in range(self.chance.randrange(least, 4))]
        made = [t for i, tokens in enumerate(items) for t in ([","] if i else []) + tokens]
        return [opening, *made, *([","] if items and self.chance.random() < 0.1 else []), closing]

    def _targets(self) -> Tokens:
        names = [self._name() for _ in range(self.chance.choice((1, 1, 2)))]
        return [t for i, name in enumerate(names) for t in ([","] if i else []) + [name]]

    def _as(self) -> Tokens:
        return ["as", self._name()] if self.chance.random() < 0.2 else []

    def _name(self) -> str:
        return self.chance.choice(NAMES)

    def _maybe(self) -> bool:
        return self.chance.random() < 0.4


# --------------------------------------------------------------------- layouts that are drawn


def laid_out(lines: Sequence[tuple[int, Tokens]], chance: random.Random) -> str:
    """The lines as text with any spaces, indentation, comments, blank lines and line breaks."""
    end = chance.choice(("\n", "\n", "\r\n"))
    widths, text = [0], ""
    for number, (level, tokens) in enumerate(lines):
        while len(widths) <= level:
            widths.append(widths[-1] + chance.randrange(1, 7))
        del widths[level + 1 :]
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            text += " " * chance.randrange(9) * chance.randrange(2) + _remark(chance) + end
        text += " " * widths[level] + _line(tokens, chance, end)
        text += _remark(chance, 0.15) + ("" if number == len(lines) - 1 else end)
    return text + end * chance.randrange(4)


def _line(tokens: Tokens, chance: random.Random, end: str) -> str:
    made, depth = "", 0
    for i, token in enumerate(tokens):
        if i and (depth or token == "->") and chance.random() < 0.12:
            made += " " * chance.randrange(3) + _remark(chance, 0.3) + end
            while chance.random() < 0.2:
                made += " " * chance.randrange(5) + _remark(chance) + end
            made += " " * chance.randrange(20)
        elif i:
            made += _gap(tokens[i - 1], token, chance)
        made += token
        depth += (token in ("(", "[")) - (token in (")", "]"))
    return made + " " * chance.randrange(3)


def _gap(before: str, token: str, chance: random.Random) -> str:
    if before == "use" and token[0] != '"':
        return " " * chance.randrange(1, 3)
    apart = [m[0] for m in TOKEN.finditer(before + token)] == [before, token]
    worded = before[-1].isdigit() and (token[0].isalpha() or token[0] in "._")
    fewest = 0 if apart and not worded else 1
    return chance.choice((" ", "\t", "  ", " ")) * chance.randrange(fewest, 3) or " " * fewest


def _remark(chance: random.Random, share: float = 0.6) -> str:
    some = ("#", "# a", '#"', "#  -> (b", "# model M:", "## x = 1  ")
    return chance.choice(some) if chance.random() < share else ""


@settings(max_examples=400, deadline=None, database=None)
@given(st.integers(0, 2**48))
def test_any_program_in_any_layout(seed: int) -> None:
    chance = random.Random(seed)
    lines = list(Program(chance).file())
    check(laid_out(lines, chance))


@settings(max_examples=60, deadline=None, database=None)
@given(st.sampled_from([*EXAMPLES, *REFERENCE, STD]), st.integers(0, 2**48))
def test_our_texts_in_any_layout(text: str, seed: int) -> None:
    lines = list(_read(format(text)))
    assert [line for line in check(laid_out(lines, random.Random(seed))).split("\n") if line]


def _read(text: str) -> Iterator[tuple[int, Tokens]]:
    """The statements of a formatted text, each with the lines on which it goes on."""
    level, tokens, depth = 0, [], 0
    for line in text.split("\n"):
        code = re.sub(r'("(?:[^"\\]|\\.)*")|#.*', lambda m: m[1] or "", line)
        found = [m[0] for m in TOKEN.finditer(code)]
        if found and tokens and not depth and found[0] != "->":
            yield level, tokens
            tokens = []
        if found and not tokens:
            level = (len(line) - len(line.lstrip())) // 4
        tokens = tokens + found
        depth += sum(t in ("(", "[") for t in found) - sum(t in (")", "]") for t in found)
    if tokens:
        yield level, tokens


# ------------------------------------------------------------------------------- our own texts


@pytest.mark.parametrize("text", [*EXAMPLES, *REFERENCE], ids=range(len(EXAMPLES + REFERENCE)))
def test_our_texts_mean_what_they_meant(text: str) -> None:
    chance = random.Random(1)
    formatted = check(laid_out(list(_read(text)), chance))
    params = {"layers": 1} if "model GPT(" in text else {}
    assert difference(load(text, params=params), load(formatted, params=params)) is None
    assert format(text) == text


@pytest.mark.parametrize("text", ERRORS, ids=range(len(ERRORS)))
def test_what_is_wrong_keeps_its_error(text: str) -> None:
    try:
        formatted = check(text)
    except MlcError:
        return
    assert _codes(formatted) == _codes(text)


def _codes(text: str) -> list[str]:
    try:
        return [error.code for error in load(text).warnings]
    except MlcError as error:
        return [each.code for each in getattr(error, "errors", (error,))]
