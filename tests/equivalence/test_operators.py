"""Operators within models, on all five engines with gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlc.backends import TARGETS
from mlc.equivalence import verify
from mlc.equivalence.engines.pool import Pool
from mlc.frontends.mdl import load
from mlc.request import emitted

MODES = ("inference", "training")

MODELS = {
    "images": """
block Stage(width, shift):
    in x: f32[B, C, H, W]
    out y: f32[B, width, H, W]
    require H >= 3 and W >= 4
    h = x -> conv(width, 3, pad = 1) -> relu
    h = roll(h, shift, [2, 3])
    s = sort(h, axis = 1)
    t, places = top_k(h, 2, axis = 1)
    m = scatter_max(s, places, t, axis = 1)
    y = m[:, :, ::-1, ::-1] -> conv(width, 3, pad = 1)
model Images:
    in x: f32[B, 3, H, W]
    in label: i32[B, H, W]
    out y: f32[B, 4, H, W]
    out loss: f32[]
    out n: f32[B, H, W]
    out c: f32[B, 4, H, W]
    out e: f32[B, 4, 4]
    require H >= 3 and W >= 4
    y = x -> Stage(5, [1, 0]) -> Stage(4, [-1, 2])
    loss = cross_entropy(y, label, axis = 1, ignore = 1, smoothing = 0.1)
    n = lp_norm(y, 3.0, axes = [1])
    c = cumprod(y, axis = 1)
    e = einsum(y, y, spec = "bchw,bdhw->bcd")
""",
    "numbers": """
model Numbers(k = 3, mask = 5):
    in x: f32[B, 6]
    in i: i32[B, 6]
    out a: f32[B, 6]
    out b: i32[B, 6]
    out c: f32[B, 6]
    out m: i32[k]
    out n: i32[B]
    out o: f32[B, 6]
    out p: f32[B, 6]
    out q: f32[B, k]
    far = abs(x) + 1.0
    a = atan2(x, 1.0) + atan2(0.5, x) + fmod(x, 0.7) + fmod(5.0, far) + logaddexp(x, 0.0)
    b = bitwise_and(i, mask) + bitwise_or(1, i) + trunc_div(i, 2) + trunc_div(7, i * i + 1)
    b = b + shift_left(i, 2) - shift_right(i, 1) + bitwise_xor(i, 3) + fmod(i, 3)
    c = xlogy(1.5, far) + trunc_div(2.0, far) + where(isfinite(x), exp2(x), trunc(x))
    m = arange(2, 2 + k)
    n = arange(B, 0, step = -1)
    o = scatter(x, cast(argsort(x, axis = 1), i64), x * 2.0, axis = 1)
    p = dynamic_update(x, x[:, :k], i[0, 1] * 0 + 2, axis = 1)
    q = dynamic_slice(x, i[0, 0] * 0 + 1, k, axis = 1)
""",
    "rows": """
model Rows(k = 2):
    in x: f32[B, 6]
    in y: f32[B, 6]
    in label: i32[B]
    in start: i32[]
    param w: f32[6] = ones
    out best: f32[B, k]
    out places: i32[B, k]
    out loss: f32[]
    out bi: f32[B, 3]
    out d: f32[B, 2]
    out cs: f32[B]
    best, places = top_k(x, k, largest = false)
    loss = cross_entropy(x, label, w, smoothing = 0.1) + cosine_loss(x, y) + hinge(x, y)
    loss = loss + nll_loss(log_softmax(x), label) + triplet_loss(x, y, y * 2.0)
    bi = x -> bilinear(3, b = y)
    d = dynamic_slice(x, start, 2, axis = 1)
    cs = cosine_similarity(x, y) + l1_norm(x, axes = [1]) + max_norm(y, axes = [1])
""",
}


@pytest.mark.parametrize("name", MODELS)
def test_every_target_computes_them_and_their_gradients(
    name: str, pool: Pool, tmp_path: Path
) -> None:
    graph = load(MODELS[name], name)
    files = {target: emitted(graph, target, str(tmp_path), MODES) for target in TARGETS}
    report = verify(graph, files, pool=pool, sizes=1)
    report.assert_equivalent()
    seen = {row.target for row in report.rows if row.kind == "input gradient"}
    assert seen == set(TARGETS)


def test_an_attribute_that_is_called_like_a_rate_is_none(pool: Pool, tmp_path: Path) -> None:
    """PyTorch's dropout has a `p`, Keras' and Flax' a `rate`: a model may have its own."""
    text = (
        "block Power(p, rate = 1.5, dropout = 0.5):\n    in x: f32[B, C]\n    out y: like x\n"
        "    y = (abs(x) + dropout) ** p * rate\n"
        "model M(p = 3.0):\n    in x: f32[B, 4]\n    out y: f32[B, 3]\n"
        "    y = x -> Power(p) -> Power(2.5, rate = 2.0, dropout = 0.25) -> linear(3)\n"
    )
    graph = load(text, "m")
    files = {t: emitted(graph, t, str(tmp_path), MODES) for t in ("pytorch", "keras", "jax")}
    verify(graph, files, pool=pool, sizes=1).assert_equivalent()
