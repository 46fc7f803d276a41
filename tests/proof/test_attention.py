"""Attention with every mask, causal and not, to itself and to something else, on all targets."""

from itertools import combinations
from pathlib import Path

import pytest

import mlc
from mlc.backends import TARGETS
from mlc.equivalence import verify
from mlc.equivalence.engines.pool import Pool

pytestmark = pytest.mark.xdist_group("engines")

TENSORS = {"context": "f32[B, S, 10]", "keep": "bool[B, {n}]", "mask": "bool[B, 1, T, {n}]"}
GIVEN = {"alone": (), **{"-".join(c): c for r in (1, 2, 3) for c in combinations(TENSORS, r)}}


def declared(given: tuple[str, ...], optional: bool) -> list[str]:
    """The lines of the inputs; masks may be left out where `optional`."""
    n = "S" if "context" in given else "T"
    lines = [f"in  {name}: {TENSORS[name].format(n=n)}" for name in given]
    loose = [line.replace("in ", "in?", 1) + " = true" for line in lines]
    return [b if optional and "bool" in b else a for a, b in zip(lines, loose, strict=True)]


def attended(given: tuple[str, ...], causal: bool, optional: bool = False) -> str:
    """A model of one attention that is given these."""
    options = "".join(f", {name} = {name}" for name in given)
    lines = [
        *("in  x: f32[B, T, 12]", *declared(given, optional), "out y: like x"),
        f"y = x -> attention(3, causal = {str(causal).lower()}{options})",
    ]
    return "\n    ".join(["model Net():", *lines]) + "\n"


def check(text: str, pool: Pool, directory: Path) -> None:
    """Outputs and gradients of the model on all targets, at two choices of its sizes."""
    graph = mlc.load(text)
    pool.start(TARGETS)
    folders = {target: mlc.compile(graph, target).save(directory) for target in TARGETS}
    report = verify(graph, folders, pool=pool)
    report.assert_equivalent()
    assert {row.target for row in report.rows} == {*TARGETS}
    assert not [row for row in report.rows if row.verdict != "equal"]


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_causal_attention(pool: Pool, tmp_path: Path, given: tuple[str, ...]) -> None:
    check(attended(given, True), pool, tmp_path)


@pytest.mark.proof
@pytest.mark.parametrize("optional", [False, True], ids=["given", "optional"])
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_attention(
    pool: Pool, tmp_path: Path, given: tuple[str, ...], causal: bool, optional: bool
) -> None:
    check(attended(given, causal, optional), pool, tmp_path)


MIXED = """
block Layer(heads):
    in  x: f32[B, T, D]
    in? keep: bool[B, T] = true
    out y: like x
    y = x + (x -> layer_norm -> attention(heads, causal = true, keep = keep))

model Mixed(layers = 2):
    in  x: f32[B, T, 12]
    in  context: f32[B, S, 10]
    in? keep: bool[B, T] = true
    in? mask: bool[B, 1, T, S] = true
    out y: like x
    h = x -> attention(3) -> attention(4, keep = keep, bias = false, scale = 0.3)
    repeat layers:
        h = h -> Layer(3, keep = keep)
    h = h -> Layer(2) -> attention(2, causal = true, context = context)
    y = h -> attention(3, context = context, mask = mask)
"""


def test_every_kind_in_one_file(pool: Pool, tmp_path: Path) -> None:
    check(MIXED, pool, tmp_path)


ROWS = """
model Rows():
    in  x: f32[B, T, 12]
    in  context: f32[B, S, 10]
    in  mask: bool[B, 1, T, S]
    in  seeing: bool[B, T]
    out early: like x
    out masked: like x
    require S < T, "some queries come before every key"
    open = logical_and(mask, unsqueeze(seeing, axes = [1, 3]))
    early = x -> attention(3, causal = true, context = context)
    masked = x -> attention(3, context = context, mask = open)
"""


def test_a_query_that_may_attend_to_nothing_gets_zeros(pool: Pool, tmp_path: Path) -> None:
    check(ROWS, pool, tmp_path)


SDPA = """
model Plain():
    in  q: f32[B, 2, T, 12]
    in  k: f32[B, 2, S, 12]
    in  v: f32[B, 2, S, 5]
    in  mask: bool[B, 1, T, S]
    in  seeing: bool[B, T]
    out full: f32[B, 2, T, 5]
    out causal: f32[B, 2, T, 5]
    out masked: f32[B, 2, T, 5]
    out both: f32[B, 2, T, 5]
    open = logical_and(mask, unsqueeze(seeing, axes = [1, 3]))
    full = sdpa(q, k, v, scale = 0.4)
    causal = sdpa(q, k, v, causal = true)
    masked = sdpa(q, k, v, mask = open)
    both = sdpa(q, k, v, mask = open, causal = true)
"""


@pytest.mark.parametrize("order", ["S < T", "T < S"])
def test_attention_without_projections(pool: Pool, tmp_path: Path, order: str) -> None:
    require = f'    require {order}, "of unequal lengths"\n    open ='
    check(SDPA.replace("    open =", require), pool, tmp_path)
