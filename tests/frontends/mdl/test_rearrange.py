"""`rearrange`: what it computes, its labels and facts, the ops it stands for, and its classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc import compile
from mlc.compiler.diagnose import MlcError
from mlc.compiler.equal import difference
from mlc.compiler.run import run
from mlc.compiler.text import text
from mlc.frontends.mdl import load
from mlc.frontends.mdl.pattern import Quoted, read

Groups = Sequence[Sequence[str]]


def model(pattern: str, given: str = "", x: str = "B, N, C", y: str = "B, N, C") -> str:
    sizes = f", {given}" if given else ""
    return (
        f"model M:\n    in  x: f32[{x}]\n    out y: f32[{y}]\n"
        f'    y = x -> rearrange("{pattern}"{sizes})\n'
    )


def ops(source: str) -> list[str]:
    return [node.op.name for node in load(source)]


# ------------------------------------------------------------------------------ what it computes


def moved(x: np.ndarray, left: Groups, right: Groups, sizes: dict[str, int]) -> np.ndarray:
    """The oracle: each element is carried by hand to where the names of its axes say."""
    y = np.zeros([int(np.prod([sizes[n] for n in group])) for group in right])
    names = list(sizes)
    for places in itertools.product(*(range(sizes[name]) for name in names)):
        at = dict(zip(names, places, strict=True))
        y[_index(right, sizes, at)] = x[_index(left, sizes, at)]
    return y


def _index(groups: Groups, sizes: dict[str, int], at: dict[str, int]) -> tuple[int, ...]:
    index = []
    for group in groups:
        place = 0
        for name in group:
            place = place * sizes[name] + at[name]
        index.append(place)
    return tuple(index)


@st.composite
def patterns(draw: st.DrawFn) -> tuple[Groups, Groups, dict[str, int]]:
    names = "abcde"[: draw(st.integers(1, 5))]
    sizes = {name: draw(st.integers(1, 4)) for name in names}
    return draw(_grouped(names)), draw(_grouped(draw(st.permutations(names)))), sizes


@st.composite
def _grouped(draw: st.DrawFn, names: Sequence[str]) -> Groups:
    groups: list[list[str]] = []
    for name in names:
        while draw(st.integers(0, 6)) == 6:
            groups.append([])
        if groups and draw(st.booleans()):
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def written(groups: Groups) -> str:
    return " ".join(g[0] if len(g) == 1 else f"({' '.join(g)})" if g else "1" for g in groups)


@settings(max_examples=150, deadline=None, database=None)
@given(patterns(), st.booleans())
def test_elements_go_where_their_names_say(
    drawn: tuple[Groups, Groups, dict[str, int]], symbolic: bool
) -> None:
    left, right, sizes = drawn
    shape = [int(np.prod([sizes[n] for n in group])) for group in left]
    found = [int(np.prod([sizes[n] for n in group])) for group in right]
    given = ", ".join(f"{n} = {sizes[n]}" for g in left for n in g[1:])
    axes = [f"S{i}" if symbolic and n > 1 else str(n) for i, n in enumerate(shape)]
    source = (
        f"model M:\n    in  x: f32[{', '.join(axes)}]\n    out z: f32[]\n"
        f'    y = x -> rearrange("{written(left)} -> {written(right)}"{", " if given else ""}'
        f"{given})\n    z = sum(y)\n"
    )
    source = source.replace("out z: f32[]", f"out y: f32[{', '.join(map(str, found))}]")
    source = source.replace("    z = sum(y)\n", "")
    graph = load(source)
    x = np.arange(np.prod(shape), dtype=float).reshape(shape)
    assert (run(graph, {"x": x}, {}).outputs["y"] == moved(x, left, right, sizes)).all()
    assert len(graph) <= 3
    assert difference(graph, load(text(graph))) is None


# ---------------------------------------------------------------------------- the ops it becomes


@pytest.mark.parametrize(
    ("pattern", "given", "y", "expected"),
    [
        ("b n c -> b n c", "", "B, N, C", []),
        ("b n c -> b c n", "", "B, C, N", ["transpose"]),
        ("b n c -> (b n) c", "", "B * N, C", ["flatten"]),
        ("b n c -> (b n c)", "", "B * N * C", ["flatten"]),
        ("b n c -> b c 1 n", "", "B, C, 1, N", ["transpose", "unsqueeze"]),
        ("b (h w) c -> b h w c", "h = 7", "B, 7, N / 7, C", ["reshape"]),
        ("b (h w) c -> b c h w", "w = 7", "B, C, N / 7, 7", ["reshape", "transpose"]),
        ("b (h w) c -> (b h) w c", "h = 7", "7 * B, N / 7, C", ["reshape"]),
        ("b (h w) c -> b h (w c)", "w = 2", "B, N / 2, 2 * C", ["reshape"]),
        ("b ... -> b (...)", "", "B, C * N", ["flatten"]),
        ("... c -> c ...", "", "C, B, N", ["transpose"]),
        ("b (...) c -> c b ...", "", "", []),
        ("b () c -> b c", "", "B, C", ["squeeze"]),
        ("b 1 c -> 1 c b", "", "1, C, B", ["transpose"]),
    ],
)
def test_ops(pattern: str, given: str, y: str, expected: list[str]) -> None:
    source = model(pattern, given, y=y)
    if not y:
        with pytest.raises(MlcError, match="in no parentheses"):
            load(source)
        return
    assert ops(source) == expected


def test_it_applies_to_its_first_argument_too() -> None:
    piped = model("b (h w) c -> b h w c", "h = 7", y="B, 7, N / 7, C")
    applied = piped.replace('x -> rearrange("', 'rearrange(x, "')
    assert difference(load(piped), load(applied)) is None


def test_facts_say_what_must_divide() -> None:
    graph = load(model("b (h w) c -> b h w c", "h = 7", y="B, 7, N / 7, C"))
    assert [str(fact) for fact in graph.facts] == ["7 | N"]
    graph = load(model("b 1 c -> b c", y="B, C"))
    assert [str(fact) for fact in graph.facts] == ["1 == N"]
    graph = load(model("b (h w) c -> b h w c", "h = 7, w = 3", y="B, 7, 3, C"))
    assert [str(fact) for fact in graph.facts] == ["21 == N"]


def test_hyper_parameters_of_sizes_are_no_facts() -> None:
    text = model("b (c h) k -> b c h k", "h = half / 2", x="B, half, C", y="B, 2, half / 2, C")
    assert load(text.replace("model M:", "model M(half = 6):")).facts == []


def test_axes_keep_their_labels_and_new_ones_are_called_as_in_the_pattern() -> None:
    source = model("b (h w) c -> b h w c", "h = 7", y="B, C")
    assert load(source.replace(")\n", ") -> mean(h, w)\n")).warnings == []
    source = model("b n c -> c n b", y="C, B")
    assert load(source.replace(")\n", ") -> mean(N)\n"))
    with pytest.raises(MlcError, match="is labelled n") as caught:
        load(source.replace(")\n", ") -> mean(n)\n"))
    assert caught.value.help == "its labels are C, N, B"


def test_a_block_may_be_called_rearrange() -> None:
    own = "block rearrange:\n    in  x: f32[B]\n    out y: like x\n    y = relu(x)\n"
    main = "model M:\n    in  x: f32[B]\n    out y: like x\n    y = x -> rearrange\n"
    assert ops(own + main) == ["relu"]


# ------------------------------------------------------------------------------------- windows

WINDOWS = """
block Windows(window, heads):
    in  x: f32[B, H, W, C]
    out y: like x

    h = x -> rearrange("b (h p) (w q) c -> (b h w) (p q) c", p = window, q = window)
          -> rearrange("n t (k d) -> n k t d", k = heads) -> softmax(-1)
    y = h -> rearrange("n k t d -> n t (k d)") -> linear(C)
          -> rearrange("(b h w) (p q) c -> b (h p) (w q) c",
                       p = window, h = H / window, w = W / window)

block Merge:
    in  x: f32[B, H, W, C]
    out y: f32[B, H / 2, W / 2, 2 * C]
    y = x -> rearrange("b (h p) (w q) c -> b h w (p q c)", p = 2, q = 2) -> linear(2 * C)

model Swin(window = 2, width = 8):
    in  image: f32[B, 3, H, W]
    out y: f32[B, 2 * width]
    h = image -> conv(width, 2, stride = 2) -> rearrange("b c h w -> b h w c")
    y = h -> Windows(window, 2) -> Merge -> Windows(window, 4) -> mean(h, w)
"""


def test_classes_stay_parametric() -> None:
    source = compile(load(WINDOWS), "pytorch").source
    assert source.count("class Windows(") == source.count("class Merge(") == 1
    assert "class Windows2" not in source
    assert "self.windows2 = Windows(2 * width, window, 4)" in source
    assert "self.linear = nn.Linear(4 * C, 2 * C)" in source
    assert ".reshape(B, H, W, C)" in source


def test_windows_are_those_that_are_cut_by_hand() -> None:
    graph = load(model("b (h p) (w q) c -> (b h w) (p q) c", "p = 2, q = 3", "B, H, W, C",
                       "B * (H / 2) * (W / 3), 6, C"))  # fmt: skip
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 5))
    cut = [x[b, h : h + 2, w : w + 3].reshape(6, 5) for b in (0, 1) for h in (0, 2) for w in (0, 3)]
    assert (run(graph, {"x": x}, {}).outputs["y"] == np.stack(cut)).all()
    assert [str(fact) for fact in graph.facts] == ["2 | H", "3 | W"]


def test_the_place_of_an_error_is_within_the_pattern() -> None:
    source = model("b (h w) c -> b h c")
    with pytest.raises(MlcError) as caught:
        load(source)
    span = caught.value.span
    assert span is not None
    assert source.splitlines()[3][span.column - 1 : span.end_column - 1] == "(h w)"
    span = caught.value.span
    through = source.replace("    y = ", '    p = "b (h w) c -> b h c"\n    y = ')
    with pytest.raises(MlcError) as caught:
        load(through.replace('rearrange("b (h w) c -> b h c")', "rearrange(p)"))
    assert str(caught.value.span).endswith(":5:24")


@settings(max_examples=300, deadline=None, database=None)
@given(st.text('abc1 ()->.7\n"_é', max_size=24))
def test_any_text_is_a_pattern_or_an_error(pattern: str) -> None:
    from mlc.compiler.diagnose import Source, Span

    span = Span(Source("<text>", ""), 1, 1, 1, 1)
    try:
        left, right = read(Quoted(pattern, span))
    except MlcError as error:
        code = error.code
    else:
        code = "pattern" if sorted(left.names) == sorted(right.names) else "differs"
    assert code == "pattern"
