"""What the types of elementwise ops, reductions and losses say, keep and refuse."""

from __future__ import annotations

from typing import Any

import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Fact, Graph, Input, Scope, Type
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS

B, C, H, W = (symbol(name) for name in "BCHW")


def apply(name: str, *types: Type, **attrs: Any) -> tuple[Type, list[Fact]]:
    """The type of an op on inputs of these types, and the facts that it needs."""
    graph = Graph("types", Scope("model"))
    inputs = [Input(f"x{i}", t) for i, t in enumerate(types)]
    graph.inputs += inputs
    return Build(graph)(OPS[name], *inputs, **attrs).type, graph.facts


def f32(*shape: Any, labels: tuple[str | None, ...] = ()) -> Type:
    return Type("f32", shape, labels)


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        ((3, 5), (3, 5), (3, 5)),
        ((3, 5), (5,), (3, 5)),
        ((), (2, 3), (2, 3)),
        ((2, 1, 7), (3, 1), (2, 3, 7)),
        ((B, C, H, W), (C, 1, 1), (B, C, H, W)),
        ((B, 1), (1, H), (B, H)),
        ((1,), (1,), (1,)),
    ],
)
def test_shapes_broadcast_from_the_right(a: Any, b: Any, shape: Any) -> None:
    assert apply("add", f32(*a), f32(*b)) == (f32(*shape), [])
    assert apply("add", f32(*b), f32(*a)) == (f32(*shape), [])


def test_sizes_that_may_be_equal_become_a_fact() -> None:
    assert apply("mul", f32(B, H), f32(W)) == (f32(B, W), [Fact("==", H, W)])
    assert apply("mul", f32(B, H), f32(7)) == (f32(B, 7), [Fact("==", H, 7)])


@pytest.mark.parametrize(
    ("name", "types", "attrs", "code", "words"),
    [
        ("add", (f32(2, 3), f32(2, 4)), {}, "shape", ["f32[2, 3]", "f32[2, 4]", "3 is not 4"]),
        ("add", (f32(H), f32(H + 1)), {}, "shape", ["f32[H]", "f32[H + 1]"]),
        ("add", (f32(3), Type("i32", (3,))), {}, "dtype", ["f32[3]", "i32[3]"]),
        ("add", (Type("bool", (3,)), Type("bool", (3,))), {}, "dtype", ["add", "bool[3]"]),
        ("div", (Type("i32", ()), Type("i32", ())), {}, "dtype", ["div", "i32[]"]),
        ("exp", (Type("i32", (3,)),), {}, "dtype", ["exp takes floats", "i32[3]"]),
        ("where", (f32(3), f32(3), f32(3)), {}, "dtype", ["condition", "f32[3]"]),
        ("where", (Type("bool", (3,)), f32(3), f32(2)), {}, "shape", ["3 is not 2"]),
        ("logical_and", (f32(3), f32(3)), {}, "dtype", ["logical_and takes bools"]),
        ("less", (Type("bool", ()), Type("bool", ())), {}, "dtype", ["less takes numbers"]),
        ("clamp", (f32(3),), {}, "value", ["min or a max"]),
        ("clamp", (Type("i32", (3,)),), {"min": 0.5}, "dtype", ["integers", "0.5"]),
        ("celu", (f32(3),), {"alpha": 0.0}, "value", ["alpha"]),
        ("sum", (f32(2, 3),), {"axes": (0, 0)}, "axis", ["twice", "f32[2, 3]"]),
        ("sum", (f32(2, 3),), {"axes": (2,)}, "axis", ["axis 2", "rank 2"]),
        ("mean", (Type("i32", (3,)),), {}, "dtype", ["mean takes floats"]),
        ("any", (f32(3),), {}, "dtype", ["any takes bools"]),
        ("var", (f32(1),), {"correction": 1}, "shape", ["correction 1", "f32[1]"]),
        ("softmax", (f32(),), {}, "axis", ["rank 0"]),
        ("glu", (f32(2, 5),), {}, "shape", ["f32[2, 5]", "odd"]),
        ("mse", (f32(3, 1), f32(3)), {}, "shape", ["f32[3, 1]", "f32[3]"]),
        ("cross_entropy", (f32(4, 9), f32(4)), {}, "dtype", ["label", "f32[4]"]),
        ("cross_entropy", (f32(4, 9), Type("i32", (5,))), {}, "shape", ["f32[4, 9]", "i32[5]"]),
        ("cross_entropy", (f32(4, 9), Type("i32", (4, 9))), {}, "shape", ["i32[4, 9]"]),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, types: tuple[Type, ...], attrs: dict[str, Any], code: str, words: list[str]
) -> None:
    with pytest.raises(MlcError) as caught:
        apply(name, *types, **attrs)
    assert caught.value.code == code
    assert [word for word in words if word not in caught.value.message] == []


def test_an_axis_keeps_the_label_that_is_known() -> None:
    image = f32(B, 3, H, W, labels=("B", None, "H", "W"))
    assert apply("add", image, f32(3, 1, 1))[0] == image
    assert apply("add", f32(3, 1, 1), image)[0] == image
    row, column = f32(1, labels=("row",)), f32(5, labels=("column",))
    assert apply("add", row, column)[0].labels == ("column",)
    assert apply("equal", image, image)[0] == image.with_(dtype="bool")
    assert apply("cast", image, dtype="f16")[0] == image.with_(dtype="f16")


def test_a_reduction_drops_the_labels_of_its_axes() -> None:
    image = f32(B, 3, H, W, labels=("B", None, "H", "W"))
    assert apply("mean", image, axes=(2, 3))[0] == f32(B, 3, labels=("B", None))
    assert apply("max", image, axes=(-1,), keep=True)[0].labels == ("B", None, "H", None)
    assert apply("argmax", image, axis=1)[0] == Type("i32", (B, H, W), ("B", "H", "W"))
    assert apply("sum", image)[0] == f32()


def test_losses_are_scalars_unless_told() -> None:
    assert apply("mse", f32(B, 3), f32(B, 3))[0] == f32()
    assert apply("mse", f32(B, 3), f32(B, 3), reduction="none")[0] == f32(B, 3)
    label = Type("i32", (B, H))
    assert apply("cross_entropy", f32(B, 9, H), label, axis=1, reduction="none")[0] == f32(B, H)


def test_unknown_sizes_leave_facts_behind() -> None:
    assert apply("glu", f32(B, C)) == (f32(B, C // 2), [Fact("divides", 2, C)])
    assert apply("std", f32(B, H), axes=(1,), correction=1)[1] == [Fact("<=", 2, H)]
    assert apply("mae", f32(B), f32(H))[1] == [Fact("==", B, H)]
