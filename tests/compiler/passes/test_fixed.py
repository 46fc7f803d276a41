"""What a class is written for one value of is no argument, neither of it nor of its callers."""

from __future__ import annotations

from mlc.compiler import expr
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
