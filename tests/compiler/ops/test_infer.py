"""Types of what moves, indexes, multiplies and slides: symbolic sizes, labels, facts, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from mlc.compiler import expr
from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import Dim, Size, symbol
from mlc.compiler.graph import Fact, Graph, Input, Scope, Type, Value
from mlc.compiler.op import Build, TypeMismatch, complete
from mlc.compiler.ops import OPS

NAMES = ("B", "C", "D", "E", "H", "I", "M", "N", "S", "T", "V", "W")
SYMBOLS = {name: symbol(name) for name in NAMES}


def size(text: str) -> Dim:
    found = expr.evaluate(expr.parse(text), SYMBOLS)
    assert isinstance(found, (int, Size))
    return found


def type_of(text: str) -> Type:
    """`f32[B, 3, rows = H // 2]`; a bare symbol is its own label."""
    dtype, rest = text.rstrip("]").split("[")
    shape, labels = [], []
    for axis in filter(None, rest.split(", ")):
        label, equals, written = axis.rpartition(" = ")
        shape.append(size(written))
        labels.append(label if equals else written if written in NAMES else None)
    return Type(dtype, tuple(shape), tuple(labels))


def apply(name: str, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[str, list[str]]:
    """The types of the outputs, and the facts; weights get the types that `params` gives them."""
    op, graph = OPS[name], Graph("g", Scope("model"))
    types = [None if text is None else type_of(text) for text in inputs]
    slots: list[Value | None] = [
        None if t is None else Input(f"x{i}", t) for i, t in enumerate(types)
    ]
    if op.params is not None:
        absent = len(op.inputs) - len(slots)
        slots += [None] * absent
        made = op.params(*types, *[None] * absent, **complete(op, attrs))
        for key in op.weights:
            param = made.get(key.rstrip("?"))
            slots.append(Input(key, param.type) if param is not None else None)
    node = Build(graph).node(op, slots, attrs)
    return " and ".join(str(output.type) for output in node.outputs), [str(f) for f in graph.facts]


IMAGE = "f32[B, 3, H, W]"
TEXT = "f32[B, T, D]"
B, D, H, T, W = (SYMBOLS[name] for name in ("B", "D", "H", "T", "W"))

PASSING: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("reshape", (TEXT,), {"shape": (B, T, 4, -1)}, "f32[B, T, 4, D // 4]"),
    ("reshape", (TEXT,), {"shape": (B * T, D)}, "f32[B * T, D]"),
    ("reshape", ("f32[B, T, 4, D]",), {"shape": (B, T, 4 * D)}, "f32[B, T, 4 * D]"),
    ("reshape", (TEXT,), {"shape": (-1,)}, "f32[B * D * T]"),
    ("reshape", ("f32[N = 2, M = 3]",), {"shape": (2, 1, 3)}, "f32[N = 2, 1, M = 3]"),
    ("reshape", ("f32[N = 2, M = 1]",), {"shape": (2, 1, 1)}, "f32[N = 2, M = 1, 1]"),
    ("flatten", (IMAGE,), {}, "f32[B, 3 * H * W]"),
    ("flatten", (IMAGE,), {"start": 2}, "f32[B, 3, H * W]"),
    ("transpose", (TEXT,), {}, "f32[B, D, T]"),
    ("transpose", (IMAGE,), {"axes": (0, 2, 3, 1)}, "f32[B, H, W, 3]"),
    ("squeeze", ("f32[B, C = 1, T]",), {"axes": (1,)}, "f32[B, T]"),
    ("unsqueeze", ("f32[B, T]",), {"axes": (1, -1)}, "f32[B, 1, T, 1]"),
    ("expand", ("f32[C = 3, 1]",), {"shape": (B, 3, T)}, "f32[B, C = 3, T]"),
    ("tile", ("f32[B, T]",), {"repeats": (1, 3)}, "f32[B, T = 3 * T]"),
    ("concat", ("f32[B, T, D]", "f32[B, S, D]"), {"axis": 1}, "f32[B, T = S + T, D]"),
    ("stack", ("f32[B, D]", "f32[B, D]"), {"axis": 1}, "f32[B, 2, D]"),
    ("split", ("f32[B, 3 * D]",), {"parts": 3, "axis": 1}, " and ".join(["f32[B, D]"] * 3)),
    ("pad", ("f32[B, H, W]",), {"pads": ((0, 0), (1, 2), (T, 0))}, "f32[B, H = H + 3, W = T + W]"),
    ("slice", (TEXT,), {"starts": (0,), "ends": (-1,), "axes": (1,)}, "f32[B, T = T - 1, D]"),
    ("slice", (TEXT,), {"starts": (-1,), "ends": (None,), "axes": (1,)}, "f32[B, T = 1, D]"),
    (
        "slice",
        (IMAGE,),
        {"starts": (0, 1), "ends": (None, None), "steps": 2, "axes": (2, 3)},
        "f32[B, 3, H = (H + 1) // 2, W = W // 2]",
    ),
    ("gather", ("f32[V, D]", "i32[B, T]"), {}, "f32[B, T, D]"),
    ("gather", (TEXT, "i64[N]"), {"axis": 1}, "f32[B, N, D]"),
    ("gather_elements", ("f32[B, T]", "i32[B, S]"), {"axis": 1}, "f32[B, T = S]"),
    ("scatter_add", ("f32[B, T]", "i32[B, S]", "f32[B, S]"), {"axis": 1}, "f32[B, T]"),
    ("embedding", ("i32[B, T]",), {"count": 7, "width": 5}, "f32[B, T, 5]"),
    (
        "slice",
        (IMAGE,),
        {"starts": (None, 3), "ends": (None, 0), "steps": (-2, -1), "axes": (2, 3)},
        "f32[B, 3, H = (H + 1) // 2, W = 3]",
    ),
    ("scatter", ("f32[B, T]", "i32[B, S]", "f32[B, S]"), {"axis": 1}, "f32[B, T]"),
    ("dynamic_slice", (TEXT, "i32[]"), {"size": 2, "axis": 1}, "f32[B, T = 2, D]"),
    ("dynamic_update", (TEXT, "f32[B, 1, D]", "i32[]"), {"axis": 1}, TEXT),
    ("top_k", (TEXT,), {"k": 2}, "f32[B, T, 2] and i32[B, T, 2]"),
    ("argsort", (TEXT,), {"axis": 1}, "i32[B, T, D]"),
    ("roll", (IMAGE,), {"shift": (-1, 2), "axes": (2, 3)}, IMAGE),
    ("arange", (), {"start": 1, "end": T}, "i32[T - 1]"),
    ("arange", (), {"start": T, "end": 0, "step": -2}, "i32[(T + 1) // 2]"),
    ("einsum", (TEXT, "f32[D, E]"), {"spec": "btd,de->bte"}, "f32[B, T, E]"),
    ("einsum", (TEXT, "f32[B, S, D]"), {"spec": "btd, bsd -> bts"}, "f32[B, T, S]"),
    ("einsum", (TEXT,), {"spec": "btd->"}, "f32[]"),
    ("cosine_similarity", ("f32[B, 1, D]", "f32[1, T, D]"), {}, "f32[B, T]"),
    ("bilinear", ("f32[B, T, 8]", "f32[B, T, 3]"), {"features": 5}, "f32[B, T, 5]"),
    ("trunc_div", ("i32[B, T]", "i32[T]"), {}, "i32[B, T]"),
    ("soft_cross_entropy", (TEXT, TEXT), {"reduction": "none"}, "f32[B, T]"),
    ("iota", (), {"size": T}, "i32[T]"),
    ("one_hot", ("i32[B]",), {"depth": T}, "f32[B, T]"),
    ("matmul", (TEXT, "f32[D, E]"), {}, "f32[B, T, E]"),
    ("matmul", ("f32[B, N, T, D]", "f32[N, D, S]"), {}, "f32[B, N, T, S]"),
    ("linear", ("f32[B, T, 8]",), {"features": 5}, "f32[B, T, 5]"),
    ("outer", ("f32[B, T]", "f32[B, S]"), {}, "f32[B, T, S]"),
    ("conv", (IMAGE,), {"features": 8, "kernel": 3, "pad": 1}, "f32[B, 8, H, W]"),
    ("conv", (IMAGE,), {"features": 8, "kernel": 4, "pad": "same"}, "f32[B, 8, H, W]"),
    (
        "conv",
        (IMAGE,),
        {"features": 8, "kernel": 3, "stride": 2, "pad": 1},
        "f32[B, 8, H = (H + 1) // 2, W = (W + 1) // 2]",
    ),
    (
        "conv",
        ("f32[B, C = 6, T]",),
        {"features": 9, "kernel": 3, "dilation": 2, "groups": 3, "pad": ((4, 0),)},
        "f32[B, C = 9, T]",
    ),
    ("conv", ("f32[2, 3, 9]",), {"features": 4, "kernel": 3, "stride": 2, "pad": "same"},
     "f32[2, 4, 5]"),
    (
        "conv_transpose",
        (IMAGE,),
        {"features": 8, "kernel": 3, "stride": 2, "pad": 1, "output_pad": 1},
        "f32[B, 8, H = 2 * H, W = 2 * W]",
    ),
    ("max_pool", (IMAGE,), {"kernel": 2}, "f32[B, 3, H = H // 2, W = W // 2]"),
    ("avg_pool", ("f32[B, C, T]",), {"kernel": 3, "stride": 1, "pad": 1}, "f32[B, C, T]"),
    ("batch_norm", (IMAGE,), {}, f"{IMAGE} and f32[3] and f32[3]"),
    ("layer_norm", ("f32[B, T, 8]",), {}, "f32[B, T, 8]"),
    ("group_norm", ("f32[B, 6, H, W]",), {"groups": 3}, "f32[B, 6, H, W]"),
    ("instance_norm", (IMAGE,), {}, IMAGE),
    ("sdpa", ("f32[B, N, T, D]", "f32[B, N, S, D]", "f32[B, N, S, E]"), {}, "f32[B, N, T, E]"),
    ("attention", ("f32[B, T, 8]", "f32[B, S, 5]"), {"heads": 2}, "f32[B, T, 8]"),
    ("dropout", (TEXT,), {}, TEXT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attrs", "wanted"), PASSING)
def test_types(name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], wanted: str) -> None:
    found, _ = apply(name, inputs, attrs)
    assert found == " and ".join(str(type_of(text)) for text in wanted.split(" and "))


FACTS: list[tuple[str, tuple[Any, ...], dict[str, Any], list[str]]] = [
    ("reshape", (TEXT,), {"shape": (B, T, 4, -1)}, ["4 | D"]),
    ("reshape", (TEXT,), {"shape": (B, T, 4, 8)}, ["D == 32"]),
    ("reshape", (TEXT,), {"shape": (B * T, D)}, []),
    ("split", (TEXT,), {"parts": 3, "axis": 2}, ["3 | D"]),
    ("slice", ("f32[1024, D]",), {"starts": (0,), "ends": (T,), "axes": (0,)}, ["T <= 1024"]),
    ("slice", (TEXT,), {"starts": (0,), "ends": (-1,), "axes": (1,)}, ["1 <= T - 1"]),
    ("concat", ("f32[B, D]", "f32[N, D]"), {"axis": 1}, ["B == N"]),
    ("top_k", (TEXT,), {"k": 3, "axis": 1}, ["3 <= T"]),
    ("roll", (TEXT,), {"shift": -2, "axes": (1,)}, ["1 <= T - 2"]),
    ("dynamic_slice", (TEXT, "i32[]"), {"size": 4, "axis": 1}, ["4 <= T"]),
    ("einsum", (TEXT, "f32[8, E]"), {"spec": "btd,de->bte"}, ["D == 8"]),
    ("matmul", (TEXT, "f32[8, 3]"), {}, ["D == 8"]),
    ("conv", (IMAGE,), {"features": 8, "kernel": 3, "pad": 1}, []),
    ("conv", (IMAGE,), {"features": 8, "kernel": 3}, ["3 <= H", "3 <= W"]),
    ("max_pool", (IMAGE,), {"kernel": 2}, ["2 <= H", "2 <= W"]),
    ("batch_norm", ("f32[B, 3]",), {"training": True}, ["2 <= B"]),
    ("batch_norm", ("f32[B, 3]",), {"training": False}, []),
    ("sdpa", ("f32[T, D]", "f32[S, D]", "f32[S, D]", "bool[T, T]"), {}, ["T == S"]),
]


@pytest.mark.parametrize(("name", "inputs", "attrs", "wanted"), FACTS)
def test_what_cannot_be_decided_becomes_a_fact(
    name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], wanted: list[str]
) -> None:
    assert apply(name, inputs, attrs)[1] == wanted


REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("reshape", ("f32[2, 3]",), {"shape": (4, 2)}, "6 elements, and is reshaped to [4, 2]"),
    ("reshape", ("f32[2, 3]",), {"shape": (-1, -1)}, "one size can be left open, not 2"),
    ("reshape", ("f32[2, 3]",), {"shape": (4, -1)}, "is reshaped to [4, -1]"),
    ("reshape", ("f32[2, 3]",), {"shape": (0, -1)}, "sizes of at least 1"),
    ("flatten", ("f32[2, 3, 4]",), {"start": 2, "end": 1}, "goes from axis 2 back to axis 1"),
    ("transpose", ("f32[3]",), {}, "swaps the last two axes"),
    ("transpose", ("f32[2, 3]",), {"axes": (0, 0)}, "must name each axis once"),
    ("squeeze", ("f32[2, 3]",), {"axes": (1,)}, "axis 1 is not of size 1"),
    ("flip", ("f32[2, 3]",), {"axes": (1, -1)}, "names an axis twice"),
    ("expand", ("f32[2, 3]",), {"shape": (5, 3)}, "2 is not 5"),
    ("expand", ("f32[2, 3]",), {"shape": (3,)}, "it has more axes"),
    ("concat", ("f32[2, 3]", "f32[4, 3]"), {"axis": 1}, "of one shape but for axis 1"),
    ("concat", ("f32[2, 3]", "i32[2, 3]"), {"axis": 1}, "one dtype"),
    ("split", ("f32[2, 7]",), {"parts": 2, "axis": 1}, "does not divide into 2 parts"),
    ("pad", ("f32[2, 3]",), {"pads": ((0, 0),)}, "takes 2 pairs (low, high)"),
    ("pad", ("f32[2, 3]",), {"pads": 1}, "takes 2 pairs (low, high)"),
    ("pad", ("f32[2, 3]",), {"pads": ((0, 0), (-1, 0))}, "by -1"),
    ("pad", ("f32[3]",), {"pads": ((3, 0),), "mode": "reflect"}, "reflects 3 elements"),
    ("slice", ("f32[5]",), {"starts": (0,), "ends": (6,), "axes": (0,)}, "goes beyond its end"),
    ("slice", ("f32[5]",), {"starts": (-6,), "ends": (None,), "axes": (0,)}, "starts before it"),
    ("slice", ("f32[5]",), {"starts": (3,), "ends": (3,), "axes": (0,)}, "is empty"),
    ("slice", ("f32[5]",), {"starts": (3,), "ends": (4,), "steps": -1, "axes": (0,)}, "step -1"),
    ("slice", ("f32[5]",), {"starts": (0,), "ends": (1,), "steps": 0, "axes": (0,)}, "step 0"),
    ("slice", ("f32[5]",), {"starts": (5,), "ends": (1,), "steps": -1, "axes": (0,)}, "its end"),
    ("gather", ("f32[5]", "f32[2]"), {}, "gather takes integers"),
    ("scatter", ("f32[5]", "i32[2]", "f32[3]"), {"axis": 0}, "of one shape"),
    ("scatter_max", ("bool[5]", "i32[2]", "bool[2]"), {"axis": 0}, "takes numbers"),
    ("dynamic_slice", ("f32[5]", "i32[1]"), {"size": 2}, "one number as its start"),
    ("dynamic_slice", ("f32[5]", "i32[]"), {"size": 6}, "takes 6 of 5 elements"),
    ("dynamic_update", ("f32[5]", "f32[6]", "i32[]"), {}, "puts f32[6] into axis 0"),
    ("top_k", ("f32[5]",), {"k": 6}, "picks 6 of 5"),
    ("sort", ("f32[]",), {}, "axis -1 of a tensor of rank 0"),
    ("roll", ("f32[5]",), {"shift": (1, 2), "axes": (0,)}, "a shift for each"),
    ("arange", (), {"start": 3, "end": 3}, "has no elements"),
    ("arange", (), {"start": 3, "end": 5, "step": 0}, "other than 0"),
    ("einsum", ("f32[2, 3]",), {"spec": "ij"}, "does not read 'ij'"),
    ("einsum", ("f32[2, 3]",), {"spec": "...j->j"}, "does not read"),
    ("einsum", ("f32[3, 3]",), {"spec": "ii->i"}, "names an axis of 'ii' twice"),
    ("einsum", ("f32[2, 3]",), {"spec": "ij->k"}, "no tensor has an axis k"),
    ("einsum", ("f32[2, 3]",), {"spec": "ijk->k"}, "which has 2 axes"),
    ("einsum", ("f32[2, 3]", "f32[2]"), {"spec": "ij,j->i"}, "j is 3, and 2"),
    ("einsum", ("f32[2, 3]",), {"spec": "ij,j->i"}, "takes 2 tensors, and gets 1"),
    ("bitwise_and", ("f32[2]", "f32[2]"), {}, "takes integers"),
    ("shift_left", ("i32[2]", "i64[2]"), {}, "one dtype"),
    ("lp_norm", ("f32[2]",), {"power": 0.5}, "a power of at least 1"),
    ("cosine_similarity", ("f32[2, 3]", "f32[3]"), {}, "of as many axes"),
    ("bilinear", ("f32[2, 3]", "f32[4, 3]"), {"features": 2}, "alike but for the last axis"),
    ("cross_entropy", ("f32[B, 3]", "i32[B]", "f32[4]"), {}, "a weight for each class"),
    ("cross_entropy", ("f32[B, 3]", "i32[B]"), {"smoothing": 1.0}, "from 0 to below 1"),
    ("soft_cross_entropy", ("f32[B, 3]", "f32[B, 4]"), {}, "two tensors of one shape"),
    ("embedding", ("i32[B]",), {"count": SYMBOLS["V"], "width": 5}, "size V, which is not known"),
    ("matmul", ("f32[3]", "f32[3, 2]"), {}, "matmul takes matrices"),
    ("matmul", ("f32[2, 3]", "f32[4, 5]"), {}, "3 columns, and 4 rows"),
    ("linear", ("f32[3]",), {"features": 5}, "last axis of at least two"),
    ("linear", ("i32[2, 3]",), {"features": 5}, "linear takes floats"),
    ("linear", (TEXT,), {"features": 5}, "size D, which is not known"),
    ("conv", ("f32[2, 3]",), {"features": 5, "kernel": 3}, "1 to 3 spatial axes"),
    ("conv", ("f32[2, 3, 2, 5]",), {"features": 5, "kernel": 3}, "window of 3 does not fit"),
    ("conv", (IMAGE,), {"features": 5, "kernel": (3, 3, 3)}, "one number for each of 2 axes"),
    ("conv", (IMAGE,), {"features": 5, "kernel": 3, "stride": 0}, "numbers of at least 1"),
    ("conv", (IMAGE,), {"features": 5, "kernel": 3, "pad": -1}, "at least 0"),
    ("conv", (IMAGE,), {"features": 5, "kernel": 3, "pad": "valid"}, 'or "same"'),
    ("conv", (IMAGE,), {"features": 4, "kernel": 3, "groups": 2}, "3 channels do not divide"),
    ("conv", (IMAGE,), {"features": 4, "kernel": 3, "groups": 3}, "4 features do not divide"),
    ("conv", (IMAGE,), {"features": 4, "kernel": 3, "stride": 2, "pad": "same"}, "at stride 2"),
    ("conv_transpose", (IMAGE,), {"features": 4, "kernel": 3, "output_pad": 1}, "below the stride"),
    ("conv_transpose", (IMAGE,), {"features": 4, "kernel": 3, "pad": "same"}, "in numbers"),
    ("max_pool", (IMAGE,), {"kernel": 2, "pad": 2}, "more than half a window"),
    ("batch_norm", ("f32[1, 3]",), {"training": True}, "at least 2 elements"),
    ("batch_norm", ("f32[3]",), {}, "axes for batch and channels"),
    ("layer_norm", ("f32[2, 3]",), {"axes": (1, 0)}, "axes in order"),
    ("group_norm", (IMAGE,), {"groups": 2}, "3 channels do not divide into 2 groups"),
    ("instance_norm", ("f32[2, 3]",), {}, "and spatial axes"),
    ("sdpa", ("f32[2, 3]", "f32[2, 4]", "f32[2, 4]"), {}, "widths must be equal"),
    ("sdpa", ("f32[2, 3]", "f32[4, 3]", "f32[5, 3]"), {}, "unequal places"),
    ("sdpa", ("f32[2, 3]", "f32[4, 3]", "f32[4, 3]", "bool[2, 3]"), {}, "does not broadcast"),
    ("sdpa", ("f32[2, 3]", "f32[4, 3]", "f32[4, 3]", "f32[2, 4]"), {}, "takes bools"),
    ("attention", ("f32[B, T, 8]",), {"heads": 3}, "8 of f32[B, T, 8] does not divide into 3"),
    ("attention", ("f32[B, T, 8]", None, "bool[B, 1, T]"), {"heads": 2}, "keep of shape [B, T]"),
    ("dropout", (TEXT,), {"rate": 1.0}, "a rate from 0 to below 1"),
    ("dropout", (TEXT, "bool[B, T]"), {}, "a mask of its shape"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attrs", "words"), REFUSED)
def test_refusals_say_why(
    name: str, inputs: tuple[Any, ...], attrs: dict[str, Any], words: str
) -> None:
    # `params` raises the TypeMismatch itself; the builder makes an MlcError of it.
    with pytest.raises((MlcError, TypeMismatch)) as caught:
        apply(name, inputs, attrs)
    assert words in str(caught.value)


def test_facts_are_facts() -> None:
    graph = Graph("g", Scope("model"))
    x = Input("x", type_of(TEXT))
    Build(graph)(OPS["split"], x, parts=3, axis=2)
    assert graph.facts == [Fact("divides", 3, symbol("D"))]
