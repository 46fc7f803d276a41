"""The language reference: its examples run, and it leaves out nothing that the language has."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from mlc.compiler.expr import FUNCTIONS
from mlc.compiler.graph import DTYPES
from mlc.frontends.mdl import load
from mlc.frontends.mdl.build import ESCAPES
from mlc.frontends.mdl.errors import REFUSED
from mlc.frontends.mdl.layout import INNER, OUTER, RESERVED
from mlc.frontends.mdl.params import INITS
from mlc.frontends.mdl.static import BINARY, COMPARE

TEXT = files("mlc.grammar").joinpath("reference.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```mdl\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run(text: str) -> None:
    graph = load(text)
    assert len(graph) > 0
    assert graph.warnings == []


def test_nothing_is_left_out() -> None:
    code = " ".join(re.findall(r"`([^`\n]+)`", TEXT)) + " ".join(EXAMPLES)
    words = set(re.findall(r"[A-Za-z_]\w*|[^\s\w]+", code))
    known = {*FUNCTIONS, *DTYPES, *REFUSED, *INNER, *OUTER, *RESERVED, *INITS}
    assert known - words == set()
    signs = {sign for sign in (*BINARY, *COMPARE) if not sign[0].isalpha()}
    assert signs - set(code.split()) == set()
    assert all(f"\\{escape}" in TEXT for escape in ESCAPES)


def test_facts_of_the_examples() -> None:
    pyramid = next(text for text in EXAMPLES if "model Pyramid" in text)
    assert [str(fact) for fact in load(pyramid).facts] == ["4 | H", "4 | W"]
