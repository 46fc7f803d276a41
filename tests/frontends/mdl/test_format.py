"""`mlc fmt`: one layout for every text that means the same; comments stay."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.compiler.diagnose import MlcError
from mlc.compiler.equal import difference
from mlc.compiler.text import text
from mlc.frontends.mdl import load
from mlc.frontends.mdl.format import TOKEN, format

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.mdl"))

BEFORE = """

#a block
block  Layer( heads,drop=0.1 ) :
  in x : f32[ B,T,D ]
  in ? keep:bool [B, T]=true     # true = attend
  out y:like x
  require D%heads==0 ,"width {D}   does not divide"


  # before the work
  h=x+( x->layer_norm->attention( heads , causal=true,keep=keep )->dropout(drop) )
    #deeper
  y = h + (h -> linear(4*D) -> gelu -> # why
        linear(D) )
 # half out
# the model
model M(width=-1,list=[1,-2,( 3 , )]) :   # short
        in x:f32[B,T<=64,n=8]
        out y :f32[B , T,8]
        state count:f32[]=zeros as "a.b"
        if width>0 :

            y = x
        else :
          y=x[:,- 1:,...][0:T//2*2] ->relu->linear( 8,bias=false ) as a->linear(2**-1*16)->linear(8)
        repeat (2) :
            y = ( y , )
              # in between
              -> Layer(
              heads=2 , drop = 0.0,   # no dropout
            )
        for a , b in [ (1,2) ] : y = y*a- -b
        count:=count+1 if training
    # the end

"""

AFTER = """\
#a block
block Layer(heads, drop = 0.1):
    in  x: f32[B, T, D]
    in? keep: bool[B, T] = true  # true = attend
    out y: like x
    require D % heads == 0, "width {D}   does not divide"

    # before the work
    h = x + (x -> layer_norm -> attention(heads, causal = true, keep = keep) -> dropout(drop))
    #deeper
    y = h + (h -> linear(4 * D) -> gelu  # why
        -> linear(D))
    # half out

# the model
model M(width = -1, list = [1, -2, (3,)]):  # short
    in  x: f32[B, T <= 64, n = 8]
    out y: f32[B, T, 8]
    state count: f32[] = zeros as "a.b"
    if width > 0:
        y = x
    else:
        y = x[:, -1:, ...][0:T // 2 * 2] -> relu -> linear(8, bias = false) as a
                                         -> linear(2 ** -1 * 16) -> linear(8)
    repeat (2):
        y = (y,)
              # in between
              -> Layer(
                  heads = 2, drop = 0.0,  # no dropout
              )
    for a, b in [(1, 2)]: y = y * a - -b
    count := count + 1 if training
    # the end
"""


def test_layout() -> None:
    formatted = format(BEFORE)
    assert formatted == AFTER
    assert format(formatted) == formatted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_formatted_and_mean_what_they_meant(path: Path) -> None:
    assert format(path.read_text()) == path.read_text()
    source = disturbed(path.read_text(), random.Random(0))
    formatted = format(source)
    assert words(formatted) == words(source)
    assert max(len(line.partition("  #")[0].rstrip()) for line in formatted.splitlines()) <= 100
    assert difference(load(source), load(formatted)) is None


def words(source: str) -> list[str]:
    """Tokens and comments of a text, in order."""
    found: list[str] = []
    for line in source.split("\n"):
        code, sign, comment = line.partition("#")
        found += [match[0] for match in TOKEN.finditer(code)]
        found += [sign + comment.rstrip()] if sign else []
    return found


def disturbed(source: str, chance: random.Random) -> str:
    """The text with other spaces, widths of indentation, blank lines and comments."""
    lines = ["" for _ in range(chance.randrange(3))]
    widths = [0]
    for line in source.split("\n"):
        level = (len(line) - len(line.lstrip())) // 4
        code, sign, comment = line.partition("#")
        tokens = [match[0] for match in TOKEN.finditer(code)]
        while len(widths) <= level:
            widths.append(widths[-1] + chance.randrange(1, 9))
        if tokens and tokens[0] != "->":
            del widths[level + 1 :]
        made = " " * (chance.randrange(20) if tokens[:1] == ["->"] else widths[level])
        for token in tokens:
            glue = made[-1:].isalnum() or made[-1:] in "_." or token[0] in "=->*/:.<!"
            made += " " * max(chance.randrange(3), glue) * (made.strip() != "") + token
        if sign:
            made += " " * chance.randrange(4) * bool(tokens) + sign + comment
        elif chance.random() < 0.1:
            made += " # " + str(chance.random())
        lines += [made.rstrip() + " " * chance.randrange(2)] + [""] * (chance.random() < 0.1)
    return "\n".join(lines)


@settings(max_examples=60, deadline=None, database=None)
@given(st.sampled_from(EXAMPLES), st.integers(0, 2**32))
def test_any_layout_is_brought_to_a_normal_form(path: Path, seed: int) -> None:
    source = format(path.read_text())
    other = disturbed(source, random.Random(seed))
    formatted = format(other)
    assert words(formatted) == words(other)
    assert format(formatted) == formatted
    plain = [re.sub(r" *# \d[\d.e-]*$", "", line) for line in formatted.split("\n")]
    code = [line for line in source.split("\n") if line]
    assert [line.split() for line in plain if line] == [line.split() for line in code]


@pytest.mark.parametrize("path", EXAMPLES[:3], ids=lambda path: path.stem)
def test_the_text_of_a_graph(path: Path) -> None:
    graph = load(path.read_text(), params={"layers": 1} if path.stem == "gpt" else {})
    formatted = format(text(graph))
    assert format(formatted) == formatted
    assert difference(graph, load(formatted)) is None


def test_ends_and_line_breaks() -> None:
    assert format("") == ""
    assert format("\n\n# alone") == "# alone\n"
    assert format("  # aside\r\n\r\n\r\n") == "    # aside\n"
    source = (
        "block A:\r\n  in x: f32[B]\r\n  out y: f32[B]\r\n  y = x\r\nmodel M:\r\n  in x: f32[B]"
    )
    assert format(source + "\n  out x: f32[B]").count("\n\n") == 1


def test_a_syntax_error_is_one() -> None:
    with pytest.raises(MlcError) as caught:
        format("model M:\n    y = = 2\n", "net.mdl")
    assert str(caught.value.span) == "net.mdl:2:9"
