"""Types of what resizes, samples, shuffles and places: symbolic sizes, labels, facts, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.op import TypeMismatch
from mlc.compiler.ops.position import slopes, thresholds
from tests.compiler.ops.test_infer import IMAGE, TEXT, B, D, H, T, W, apply, type_of

PASSING: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("resize", (IMAGE,), {"scale": 2}, "f32[B, 3, H = 2 * H, W = 2 * W]"),
    ("resize", (IMAGE,), {"scale": (3, 1), "mode": "linear"}, "f32[B, 3, H = 3 * H, W = W]"),
    ("resize", (IMAGE,), {"size": (H // 2, 7), "mode": "cubic"}, "f32[B, 3, H = H // 2, W = 7]"),
    ("pixel_shuffle", ("f32[B, C = 12, H, W]",), {"factor": 2},
     "f32[B, C = 3, H = 2 * H, W = 2 * W]"),
    ("pixel_unshuffle", (IMAGE,), {"factor": 2}, "f32[B, 12, H = H // 2, W = W // 2]"),
    ("unfold", (IMAGE,), {"kernel": 2}, "f32[B, 12, (H - 1) * (W - 1)]"),
    ("fold", ("f32[B, 12, T]",), {"sizes": (H, W), "kernel": 2}, "f32[B, 3, H, W]"),
    ("grid_sample", (IMAGE, "f32[B, T, S, 2]"), {}, "f32[B, 3, T, S]"),
    ("global_avg_pool", ("f32[B, C, H, W]",), {}, "f32[B, C]"),
    ("global_max_pool", ("f32[B, C, H, W]",), {"keep": True}, "f32[B, C, 1, 1]"),
    ("adaptive_avg_pool", (IMAGE,), {"size": (2, 3)}, "f32[B, 3, H = 2, W = 3]"),
    ("lp_pool", (IMAGE,), {"kernel": 2}, "f32[B, 3, H = H // 2, W = W // 2]"),
    ("pad_circular", ("f32[B, T]",), {"pads": ((0, 0), (1, 2))}, "f32[B, T = T + 3]"),
    ("local_response_norm", (IMAGE,), {"size": 3}, IMAGE),
    ("l2_normalize", (TEXT,), {}, TEXT),
    ("weight_norm", ("f32[E, D]", "f32[E]"), {}, "f32[E, D]"),
    ("rotary", ("f32[B, N, T, D]", "i32[B, T]"), {}, "f32[B, N, T, D]"),
    ("alibi", (), {"heads": 3, "queries": T, "keys": T + 1}, "f32[3, T, T + 1]"),
    ("relative_buckets", (), {"queries": T, "keys": D}, "i32[T, D]"),
    ("window_offsets", (), {"window": (3, 2)}, "i32[6, 6]"),
    ("sdpa", ("f32[B, 8, T, D]", "f32[B, 2, S, D]", "f32[B, 2, S, E]"), {"grouped": True},
     "f32[B, 8, T, E]"),
    ("embedding_bag", ("i32[B, T]",), {"count": 7, "width": 5}, "f32[B, 5]"),
    ("channel_dropout", (IMAGE, "bool[B, 3, 1, 1]"), {}, IMAGE),
    ("drop_path", (TEXT, "bool[B, 1, 1]"), {}, TEXT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attrs", "wanted"), PASSING)
def test_types(name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], wanted: str) -> None:
    assert apply(name, inputs, attrs)[0] == str(type_of(wanted))


FACTS: list[tuple[str, tuple[Any, ...], dict[str, Any], list[str]]] = [
    ("resize", (IMAGE,), {"scale": 2}, []),
    ("resize", (IMAGE,), {"size": (H // 2, W)}, ["1 <= H // 2"]),
    ("pixel_unshuffle", (IMAGE,), {"factor": 2}, ["2 | H", "2 | W"]),
    ("grid_sample", (IMAGE, "f32[N, T, S, 2]"), {}, ["B == N"]),
    ("pad_symmetric", ("f32[T]",), {"pads": ((2, 0),)}, ["2 <= T"]),
    ("rotary", (TEXT,), {}, ["2 | D"]),
    ("rotary", (TEXT, "i32[S]"), {"width": 4}, ["4 <= D", "S == T"]),
]


@pytest.mark.parametrize(("name", "inputs", "attrs", "wanted"), FACTS)
def test_what_cannot_be_decided_becomes_a_fact(
    name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], wanted: list[str]
) -> None:
    assert apply(name, inputs, attrs)[1] == wanted


REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("resize", (IMAGE,), {}, "a size or a scale"),
    ("resize", (IMAGE,), {"scale": 2, "size": (3, 3)}, "a size or a scale"),
    ("resize", (IMAGE,), {"scale": (2, 2, 2)}, "a scale for each of 2 spatial axes"),
    ("resize", (IMAGE,), {"scale": 0}, "sizes of at least 1"),
    ("resize", (IMAGE,), {"scale": B}, "scales that are numbers"),
    ("resize", ("i32[2, 3, 4]",), {"scale": 2, "mode": "linear"}, "resize takes floats"),
    ("resize", (TEXT.replace("T, ", ""),), {"scale": 2}, "1 to 3 spatial axes"),
    ("pixel_shuffle", (IMAGE,), {"factor": 2}, "3 channels do not divide by 4"),
    ("pixel_shuffle", (TEXT,), {"factor": 2}, "(batch, channels, height, width)"),
    ("pixel_unshuffle", ("f32[1, 2, 3, 4]",), {"factor": 2}, "2 does not divide height"),
    ("fold", ("f32[B, 12, 7]",), {"sizes": (3, 3), "kernel": 2}, "takes 4 windows"),
    ("grid_sample", (IMAGE, "f32[B, T, S, 3]"), {}, "places (batch, rows, columns, 2)"),
    ("adaptive_avg_pool", (IMAGE,), {"size": (2, H)}, "a number for each of 2 axes"),
    ("lp_pool", (IMAGE,), {"kernel": 2, "power": 0.5}, "a power of at least 1"),
    ("pad_circular", ("f32[3]",), {"pads": ((4, 0),)}, "by 4 elements of an axis of 3"),
    ("pad_circular", ("f32[3]",), {"pads": 1}, "takes 1 pairs"),
    ("l2_normalize", (TEXT,), {"eps": 0.0}, "an eps above 0"),
    ("local_response_norm", (IMAGE,), {"size": 0}, "a size of at least 1"),
    ("weight_norm", ("f32[3, 4]", "f32[4]"), {}, "takes lengths [3]"),
    ("rotary", ("f32[T, 3]",), {}, "a width of 3 is odd"),
    ("rotary", ("f32[T, 4]",), {"width": 6}, "turns 6 elements"),
    ("rotary", (TEXT, "f32[T]"), {}, "rotary takes integers"),
    ("relative_buckets", (), {"queries": 3, "keys": 3, "buckets": 6}, "6 buckets"),
    ("relative_buckets", (), {"queries": 3, "keys": 3, "farthest": 8}, "a distance of 8"),
    ("sdpa", ("f32[B, 8, T, 4]", "f32[B, 3, T, 4]", "f32[B, 3, T, 4]"), {"grouped": True},
     "8 heads do not divide into 3 groups"),
    ("sdpa", ("f32[2, 3]", "f32[4, 3]", "f32[4, 3]", None, "f32[2, 5]"), {}, "does not broadcast"),
    ("embedding", ("i32[B]",), {"count": 3, "width": 5, "padding": 3}, "no row 3"),
    ("embedding_bag", ("i32[B]",), {"count": 3, "width": 5}, "takes (bags, indices)"),
    ("embedding_bag", ("i32[B, T]", "f32[B, T]"), {"count": 3, "width": 5}, "a sum alone"),
    ("channel_dropout", (IMAGE, "bool[B, 3, 4, 4]"), {}, "takes a mask [B, 3, 1, 1]"),
    ("drop_path", ("f32[B]",), {}, "drop_path takes (batch, ...)"),
    ("swiglu", ("f32[B, 5]",), {}, "which is odd"),
    ("attention", ("f32[B, T, 8]",), {"heads": 4, "kv_heads": 3}, "4 heads do not divide into 3"),
    ("attention_shares", ("f32[2, 3]", "f32[4, 5]"), {}, "widths must be equal"),
    ("uniform", ("f32[3]",), {"low": 1.0, "high": 1.0}, "which is not above"),
    ("bernoulli", ("f32[3]", "i32[3]"), {}, "bernoulli takes floats"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attrs", "words"), REFUSED)
def test_refusals_say_why(
    name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], words: str
) -> None:
    with pytest.raises((MlcError, TypeMismatch)) as caught:
        apply(name, inputs, attrs)
    assert words in str(caught.value)


def test_buckets_start_where_logarithms_are_whole() -> None:
    assert thresholds(16, 128) == [12, 16, 23, 32, 46, 64, 91]
    assert thresholds(4, 8) == [4]


def test_slopes_are_powers_and_those_between() -> None:
    assert slopes(4) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]
    assert slopes(3) == [2.0**-4, 2.0**-8, 2.0**-2]
