"""What a target can write as a literal alone becomes one; what tells it is no argument then."""

from __future__ import annotations

import re

import pytest

from mlc.backends import TARGETS
from mlc.frontends.mdl import load

HEAD = """
    in  x: f32[B, 3, H = 17, W = 16]
    out y: f32[B, free]
"""
PADDED = f"""
model M(mode = "reflect", free = 5):{HEAD}
    y = x -> pad(((0, 0), (0, 0), (1, 2), (2, 2)), mode = mode) -> mean(2, 3) -> linear(free)
"""
STRIDED = f"""
model M(s = 2, free = 5):{HEAD}
    y = x -> conv(4, 3, stride = s, pad = "same") -> mean(2, 3) -> linear(s) -> linear(free)
"""
UP = f"""
block Up(width, s):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, (H - 1) * s + 2, (W - 1) * s + 2]
    y = x -> conv_transpose(width, 4, stride = s, pad = 1)
model M(s = 2, free = 5):{HEAD}
    h = x
    for width, stride in [(4, s), (6, s)]:
        h = h -> Up(width, stride) -> relu
    y = h -> mean(2, 3) -> linear(free)
"""
STANDARD = f"""
block Std(width, k):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H - k + 1, W - k + 1]
    param w: f32[width, C, k, k] = normal(0.1)
    y = conv(x, width, k, weight = w - mean(w, 1, 2, 3, keep = true))
model M(k = 3, free = 5):{HEAD}
    y = x -> Std(4, k) -> relu -> Std(6, k) -> mean(2, 3) -> linear(free)
"""
CASES = [
    ("pytorch", PADDED), ("jax", PADDED), ("keras", PADDED), ("openvino", PADDED),
    ("pytorch", STRIDED), ("keras", UP), ("openvino", STANDARD),
]  # fmt: skip


@pytest.mark.parametrize(("target", "text"), CASES)
def test_what_must_be_a_literal_is_one(target: str, text: str) -> None:
    made = TARGETS[target].emit(load(text), "m").source
    assert ("free: int = 5" in made) == (target != "openvino")
    assert not re.search(r"\b(mode|s|k): (int|str)", made)
