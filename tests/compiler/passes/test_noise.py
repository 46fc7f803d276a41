"""Noise: no two draws are one, and as inputs each is called by its key."""

from __future__ import annotations

import mlc
from mlc.compiler.check import check, checked
from mlc.compiler.clone import clone
from mlc.compiler.equal import difference
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.passes.adjoint import adjoint
from mlc.compiler.passes.mode import resolve
from mlc.compiler.passes.noise import as_inputs
from mlc.compiler.text import text

TWICE = """
block Jitter:
    in  x: f32[B, D]
    out y: like x
    noise e: like x = normal
    noise lost: f32[D] = uniform
    y = x + e

model M:
    in  e: f32[B, D = 4]
    out y: f32[B, D]
    out u: f32[B]
    shake = Jitter()
    y = e -> shake -> shake
    repeat 2 as layers:
        noise w: f32[B, 1] = uniform
        y = y + w -> Jitter
    noise u: f32[B] = uniform
"""

KEYS = ["shake.e", "shake.e_1", "w", "layers.0.e", "w_1", "layers.1.e", "u"]
"""The keys of what reaches an output, in order."""


def test_draws_are_never_merged_and_dropped_where_nothing_reads_them() -> None:
    graph = mlc.load(TWICE)
    assert len({node.attrs["key"] for node in graph if node.op.name == "noise"}) == 11
    for step in CLEAN:
        checked(graph, step)
    assert [node.attrs["key"] for node in graph if node.op.name == "noise"] == KEYS


def test_each_is_an_input_that_no_name_clashes_with() -> None:
    graph = mlc.load(TWICE)
    apply(graph, CLEAN)
    copy, _ = clone(graph)
    made = as_inputs(copy)
    check(copy)
    assert list(made) == KEYS
    assert [given.name for given in made.values()] == [*KEYS[:-1], "u_1"]
    kinds = ["", "normal", "normal", "uniform", "normal", "uniform", "normal", "uniform"]
    assert [given.noise for given in copy.inputs] == kinds
    assert [given.noise for given in clone(copy)[0].inputs] == kinds


def test_no_gradient_goes_to_noise() -> None:
    graph = mlc.load(TWICE)
    as_inputs(graph)
    resolve(graph, training=True)
    assert adjoint(graph).inputs == {"e": "grad.e"}


def test_a_graph_with_noise_is_text() -> None:
    graph = mlc.load(TWICE)
    again = text(graph)
    assert 'noise e_2: f32[B, 4] = normal as "shake.e"' in again
    assert difference(graph, mlc.load(again)) is None
