"""Numbers for symbolic sizes."""

import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Definition, Fact, Graph, Input, Scope, Type
from mlc.equivalence.sizes import choose, describe

B, H, W, T = map(symbol, "BHWT")


def graph(*facts: Fact) -> Graph:
    result = Graph("g", Scope("model", Definition("g", "model")))
    result.inputs.append(Input("x", Type("f32", (B, H, W))))
    result.facts += facts
    return result


def test_sizes_differ_from_each_other_and_in_parity() -> None:
    first, second = choose(graph())
    assert len({*first.values()}) == len({*second.values()}) == 3
    assert all(size % 2 == 1 for size in first.values())
    assert all(size % 2 == 0 for size in second.values())
    assert 1 not in (*first.values(), *second.values())


@pytest.mark.parametrize(
    ("fact", "check"),
    [
        (Fact("divides", 32, H), lambda s: s["H"] % 32 == 0),
        (Fact("==", H, W), lambda s: s["H"] == s["W"]),
        (Fact("<=", H, 6), lambda s: s["H"] <= 6),
        (Fact("<", 40, W), lambda s: s["W"] > 40),
        (Fact("divides", H, W), lambda s: s["W"] % s["H"] == 0),
        (Fact("==", H * W, 21), lambda s: s["H"] * s["W"] == 21),
    ],
    ids=lambda part: str(part) if isinstance(part, Fact) else "sizes",
)
def test_facts_hold(fact: Fact, check) -> None:  # type: ignore[no-untyped-def]
    choices = choose(graph(fact))
    assert len(choices) == 2
    assert all(check(sizes) for sizes in choices)


def test_what_cannot_be_is_an_error_that_shows_the_facts() -> None:
    with pytest.raises(MlcError, match="H <= 4") as error:
        choose(graph(Fact("<=", H, 4), Fact("<", 6, H)))
    assert error.value.code == "sizes"


def test_no_size_inside_the_graph_is_zero() -> None:
    from mlc.compiler.op import Build
    from mlc.compiler.ops import OPS

    g = graph()
    x = g.inputs[0]
    Build(g)(OPS["slice"], x, starts=(30,), ends=(H,), steps=(1,), axes=(1,))
    assert all(sizes["H"] > 30 for sizes in choose(g))


@pytest.mark.parametrize(("norm", "least"), [("batch_norm", 12), ("instance_norm", 2)])
def test_a_norm_has_enough_elements(norm: str, least: int) -> None:
    import mlc

    text = f"""
model Net():
    in  x: f32[B, 3, H, W]
    out y: f32[B, 3, ceil(H / 32), ceil(W / 32)]
    y = x -> conv(3, 1, stride = 32) -> {norm}
"""
    for sizes in choose(mlc.load(text)):
        batch = sizes["B"] if norm == "batch_norm" else 1
        assert batch * -(-sizes["H"] // 32) * -(-sizes["W"] // 32) >= least


def test_a_graph_without_symbols_has_one_choice() -> None:
    g = Graph("g", Scope("model", Definition("g", "model")))
    g.inputs.append(Input("x", Type("f32", (2, 3))))
    assert choose(g) == [{}]
    assert describe({"B": 5, "T": 7}) == "B = 5, T = 7"
