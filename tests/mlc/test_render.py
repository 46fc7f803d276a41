"""How errors look, character by character."""

from __future__ import annotations

import io
import re

import pytest

from mlc.compiler.diagnose import MlcError, MlcErrors, Note, Source, Span
from mlc.render import MOST, render, visible, wants_colour

TEXT = "input x: f32[batch, 256]\n\nlet y = linear(x, 10, in=512)\nlet ü = 宽度\t+ w\n"
SOURCE = Source("net.mdl", TEXT)


def _span(line: int, start: int, end: int, *, to: int | None = None) -> Span:
    return Span(SOURCE, line, start, to or line, end)


ERROR = MlcError(
    "shape",
    "linear takes 512 features, and x has 256",
    _span(3, 9, 30),
    notes=[Note("x is declared here", _span(1, 7, 25)), Note("sizes are whole numbers")],
    help="declare in=256",
)


def test_an_error_with_its_places_notes_and_help() -> None:
    assert render(ERROR) == (
        "error[shape]: linear takes 512 features, and x has 256\n"
        " --> net.mdl:3:9\n"
        "  |\n"
        "3 | let y = linear(x, 10, in=512)\n"
        "  |         ^^^^^^^^^^^^^^^^^^^^^\n"
        " ::: net.mdl:1:7\n"
        "  |\n"
        "1 | input x: f32[batch, 256]\n"
        "  |       ------------------ x is declared here\n"
        "  = note: sizes are whole numbers\n"
        "  = help: declare in=256"
    )


def test_an_error_without_a_place() -> None:
    error = MlcError("file", "cannot read net.mdl", help="did you mean nets.mdl?")
    assert render(error) == ("error[file]: cannot read net.mdl\n  = help: did you mean nets.mdl?")


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render(ERROR, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(ERROR)


def test_carets_stand_under_wide_characters_and_tabs() -> None:
    lines = render(MlcError("syntax", "no", _span(4, 9, 11))).splitlines()
    assert lines[3:] == ["4 | let ü = 宽度 + w", "  |         ^^^^"]
    lines = render(MlcError("syntax", "no", _span(4, 14, 15))).splitlines()
    assert lines[3:] == [
        "4 | let ü = 宽度 + w",
        "  |               ^".replace("      ^", "       ^"),
    ]


@pytest.mark.parametrize(
    ("span", "carets"),
    [
        (_span(1, 25, 25), "                        ^"),
        (_span(1, 400, 402), "                        ^"),
        (_span(1, 7, 3, to=3), "      ^^^^^^^^^^^^^^^^^^"),
        (_span(99, 1, 2), "^"),
    ],
)
def test_a_span_at_an_end_or_over_several_lines(span: Span, carets: str) -> None:
    assert render(MlcError("syntax", "no", span)).splitlines()[-1].partition("| ")[2] == carets


def test_a_long_line_is_cut_around_the_carets() -> None:
    source = Source("net.mdl", "a" * 5000 + "HERE" + "b" * 5000)
    error = MlcError("syntax", "no", Span(source, 1, 5001, 1, 5005))
    line, carets = (text.partition("| ")[2] for text in render(error).splitlines()[3:])
    assert len(line) < 120
    assert line.startswith("...aaa")
    assert line.endswith("bbb...")
    assert line[carets.index("^") : carets.index("^") + 4] == "HERE"


def test_a_hostile_text_cannot_drive_the_terminal() -> None:
    source = Source("\x1b[2Jnet.mdl", "x = '\x1b]0;title\x07'")
    note = Note("\x1b[31mred", Span(source, 1, 1, 1, 2))
    error = MlcError("syntax", "\x1b[1mno\x00", Span(source, 1, 5, 1, 9), notes=[note], help="\x9b")
    text = render(error)
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "\\x1b]0;title\\x07" in text


def test_several_errors_and_no_more_than_a_screen_can_hold() -> None:
    text = render(MlcErrors([ERROR, MlcError("axis", "no axis W")]))
    assert text == render(ERROR) + "\n\nerror[axis]: no axis W"
    text = render(MlcErrors([MlcError("axis", str(i)) for i in range(MOST + 3)]))
    assert text.endswith(f"error[axis]: {MOST - 1}\n\nand 3 more errors")


def test_visible_leaves_text_as_it_is() -> None:
    assert visible("größe 宽度 'x'") == "größe 宽度 'x'"
    assert visible("a\tb\r") == "a b\\r"


@pytest.mark.parametrize(
    ("variables", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_when_there_is_colour(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], terminal: bool, wanted: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert wants_colour(stream) == wanted
