"""What a class is written for one value of is no argument, neither of it nor of its callers."""

from __future__ import annotations

import re

import pytest

from mlc.backends import TARGETS
from mlc.compiler import expr
from mlc.frontends.mdl import load
from tests.compiler.passes.test_outline import classes


def test_what_a_block_fixes_is_fixed_for_what_its_callers_pass() -> None:
    text = """
block Act(kind):
    in  x: f32[B, C]
    out y: f32[B, C]
    h = x
    for i in range(3):
        if i < kind:
            h = h -> [relu, tanh, gelu][i]
    y = h
block Mid(n, w):
    in  x: f32[B, C]
    out y: f32[B, w]
    h = x -> Act(C - 4)
    for v in [w, w, w][0:n]:
        h = h -> linear(v) -> Act(v - 3)
    y = h
model Net(k = 2, deep = 2, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    y = x -> linear(free) -> Mid(deep, k + 3) -> linear(8 * k) -> linear(deep) -> linear(2)
"""
    made = classes(text)
    assert [hyper.name for hyper in made["Net"].params] == ["free"]
    assert [hyper.name for hyper in made["Mid"].params] == []
    (check,) = made["Mid"].checks
    assert expr.show(check.condition) == "C == 5"


def test_numbers_that_are_only_seen_to_be_equal_are_checked() -> None:
    text = """
block Res(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    skip = x if C == width else x -> linear(width)
    y = skip + (x -> linear(width) -> relu)
model Net(width = 4, n = 2):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x -> linear(width)
    repeat n:
        h = h -> Res(width)
    y = h -> linear(2)
"""
    made = classes(text)
    assert [hyper.name for hyper in made["Net"].params] == ["width", "n"]
    assert [hyper.name for hyper in made["Res"].params] == ["width"]
    (check,) = made["Res"].checks
    assert expr.show(check.condition) == "C == width"


CHOSEN = """
block Act(f):
    in  x: f32[B, C]
    out y: f32[B, C]
    y = x -> f
block Deep(fs, n):
    in  x: f32[B, C]
    out y: f32[B, C]
    h = x
    for i, f in zip(range(n), fs[0:n]):
        h = h -> linear(C) -> Act(f)
    y = h
model Net(k = 1, n = 2, j = 1, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    acts = [relu, tanh, gelu]
    f = acts[k]
    h = x -> linear(free) -> Act(f) -> Deep(acts, n) -> linear(n) -> linear(k)
    y = h -> [tanh, sigmoid][j] -> linear(j) -> linear(2)
"""


def test_what_chooses_an_op_is_fixed() -> None:
    assert [hyper.name for hyper in classes(CHOSEN)["Net"].params] == ["free"]


@pytest.mark.parametrize("target", ["pytorch", "keras", "jax", "openvino"])
def test_no_source_offers_what_it_is_written_for_one_value_of(target: str) -> None:
    made = TARGETS[target].emit(load(CHOSEN), "net")
    text = made.source
    assert ("free: int = 5" in text) == (target != "openvino")
    assert not re.search(r"\b[knj]: int", text)


HELD = """
block Act(kind):
    in  x: f32[B, C]
    out y: f32[B, C]
    y = x -> [relu, tanh, gelu][kind]
block Twice(unit, w):
    in  x: f32[B, C]
    out y: f32[B, C]
    y = x -> linear(w) -> unit -> linear(C) -> unit
model Net(k = 1, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    unit = Act(k)
    y = x -> Twice(unit, free) -> linear(k) -> linear(2)
"""
ELEMENT = """
model Net(k = 1, n = 2, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    layers = [linear(4), linear(4)]
    h = x -> layers[k]
    for layer in layers:
        h = h -> layer
    y = h -> linear(k) -> linear(free) -> linear(2)
"""
TURNS = """
block Act(kind):
    in  x: f32[B, C]
    out y: f32[B, C]
    h = x
    for i in range(3):
        if i < kind:
            h = h -> linear(C) -> relu
    y = h
model Net(k = 3, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    y = x -> Act(k) -> linear(free) -> Act(k + 1) -> linear(k) -> linear(2)
"""


@pytest.mark.parametrize("text", [HELD, ELEMENT, TURNS])
def test_what_is_passed_on_or_compared_in_turns_is_fixed(text: str) -> None:
    assert [hyper.name for hyper in classes(text)["Net"].params] == ["free"]


def test_a_loop_that_nobody_has_seen_run_is_checked() -> None:
    text = """
block Deep(n, w):
    in  x: f32[B, C]
    out y: f32[B, w]
    h = x -> linear(w)
    repeat max(n - 5, 0):
        h = h -> relu -> linear(w)
    for i in range(n - 3):
        h = i * (h -> linear(w))
    y = h
model Net(k = 2, free = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    y = x -> Deep(k, free) -> Deep(k + 1, 4) -> linear(2)
"""
    made = classes(text)
    assert [hyper.name for hyper in made["Net"].params] == ["k", "free"]
    shown = [expr.show(check.condition) for check in made["Deep"].checks]
    assert shown == ["max(n - 5, 0) <= 0", "n - 3 <= 0"]
