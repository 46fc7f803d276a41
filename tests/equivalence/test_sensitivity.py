"""Faults planted in the reference: each kind where it has a place, and what a run says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mlc.compiler.graph import Graph
from mlc.equivalence import feeds
from mlc.equivalence.case import MODES, Case, settle
from mlc.equivalence.compare import LIMIT
from mlc.equivalence.faults import FAULTS, look
from mlc.equivalence.faults.sensitivity import measure, run, spots
from mlc.equivalence.reference import joint
from mlc.equivalence.sizes import choose
from mlc.frontends.mdl import load

IMAGES = """model Images():
    in  x: f32[B, 4, H, W]
    out y: f32[B, 5]
    out z: f32[B, 6, 2 * H, 2 * W]
    require H >= 6 and W >= 6, "images that are large enough"
    h = x -> conv(6, 3, pad = 1, bias = false) -> batch_norm -> leaky_relu
    h = h + (h -> group_norm(2) -> conv(6, 3, pad = 1) -> silu)
    z = resize(h, [2, 2], mode = "linear")
    a = h -> max_pool(3, stride = 2, pad = 1)
    b = h -> avg_pool(3, stride = 2, pad = 1)
    c = concat(a - b, relu6(a) / (2 + sigmoid(b)), axis = 1) -> instance_norm -> tanh
    d = c -> mean(H, W) -> linear(6) -> relu -> linear(6)
    y = (d -> linear(6) -> rms_norm -> linear(5)) + var(c, axes = [2, 3])[:, :5]
"""

TEXT = """model Text(D = 6):
    in  ids: i32[B, T <= 20]
    in  keep: bool[B, T]
    out y: f32[B, T, 9]
    out shares: f32[B, T, T]
    token = embedding(9, D)
    param position: f32[20, D] = normal(0.5)
    param turn: f32[D, D] = normal(0.5)
    h = token(ids) + position[:T]
    h = h + (h -> layer_norm -> attention(2, causal = true))
    h = h + (h -> layer_norm -> attention(2, keep = keep))
    h = h + (h -> layer_norm -> linear(D) -> gelu -> linear(D))
    h = (h @ turn) -> layer_norm
    shares = softmax(h @ transpose(h, axes = [0, 2, 1]))
    y = h @ transpose(token.weight)
"""

FLAT = """model Flat():
    in  x: f32[B, 3, 2, 4]
    out y: f32[B, 5]
    y = relu(9 * (x -> conv(3, 1))) -> flatten -> linear(5)
"""

GATES = """model Gates():
    in  x: f32[B, T, 3]
    out y: f32[B, T, 4]
    y, last, cell = x -> lstm(4)
"""

NEVER_SMALL = """model NeverSmall():
    in  x: f32[B, 7]
    out y: f32[B, 7]
    y = tanh(x) -> rms_norm
"""


def cases(graph: Graph) -> list[Case]:
    found = []
    for variant, sizes in enumerate(choose(graph, 1)):
        weights = feeds.weights(graph, feeds.seeded(0), least=feeds.LEAST[variant])
        for mode in MODES:
            both = joint(graph, mode == "training")
            found.append(
                settle(graph, both, mode, sizes, 0, weights, optional=True, free=list(weights))
            )
    return found


@pytest.fixture(scope="module")
def known() -> Mapping[str, Sequence[Case]]:
    return {text.split("(")[0]: cases(load(text)) for text in (IMAGES, TEXT, FLAT, GATES)}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_a_place_and_is_seen(known: Mapping[str, Sequence[Case]], name: str) -> None:
    sights = [look(FAULTS[name], each) for each in known.values()]
    assert {sight.verdict for sight in sights} <= {"seen", "no place", "no effect"}, sights
    assert any(sight.verdict == "seen" for sight in sights)
    for sight in sights:
        if sight.verdict == "seen":
            assert sight.ratio > 2 * LIMIT
            assert sight.tensor


def test_what_no_weight_can_make_visible_is_said() -> None:
    sight = look(FAULTS["eps of rms norm"], cases(load(NEVER_SMALL)))
    assert sight.verdict == "not seen"
    assert 0 < sight.ratio < LIMIT
    assert sight.where == "<text>:4:20"


def test_no_fault_is_planted_where_sizes_would_have_to_be_equal() -> None:
    cross = """model Cross():
    in  x: f32[B, T, 4]
    in  memory: f32[B, S, 4]
    in  mask: bool[B, T, S]
    out y: f32[B, T, 4]
    y = sdpa(x, memory, memory, mask = mask)
"""
    assert look(FAULTS["queries and keys exchanged"], cases(load(cross))).verdict == "no place"


def test_without_a_fault_the_reference_is_itself(known: Mapping[str, Sequence[Case]]) -> None:
    for case in (case for each in known.values() for case in each):
        for name in ("relu6 for relu", "two rows exchanged"):
            assert measure(case, run(FAULTS[name], [], case))[0] == 0


def test_gradient_faults_leave_the_outputs_as_they_are(
    known: Mapping[str, Sequence[Case]],
) -> None:
    for fault in (fault for fault in FAULTS.values() if fault.family == "gradient"):
        for case in (case for each in known.values() for case in each):
            outputs: dict[str, Any] = {case.mode: {k for k in case.truth if k.kind == "output"}}
            for place in spots(fault, case)[:2]:
                assert measure(case, run(fault, [place], case), outputs)[0] < 1e-6
