"""Inputs and weights."""

import numpy as np
import pytest

from mlc.compiler.dim import symbol
from mlc.compiler.graph import Graph, Init, Input, Scope, Type, Weight
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from mlc.equivalence import feeds
from mlc.frontends.mdl import load
from tests.equivalence.networks import network

B = symbol("B")


def empty() -> Graph:
    return Graph("g", Scope("model"))


def weight(graph: Graph, path: str, shape: tuple[int, ...], init: str = "normal") -> Weight:
    made = Weight(
        path, Type("f32", shape), Init(init, (1.0,) * (init == "normal")), trainable=True,
        scope=graph.root, part=path.rpartition(".")[2],
    )  # fmt: skip
    graph.weights[path] = made
    return made


def draw(graph: Graph, **options: bool) -> dict[str, np.ndarray]:
    options = {"optional": True} | options
    return feeds.inputs(graph, {"B": 50}, feeds.seeded(0), **options)


def test_floats_have_a_mean_and_are_exact_in_f32() -> None:
    x = draw(network())["x"]
    assert x.dtype == np.float32
    assert abs(x.mean() - feeds.MEAN) < 0.2


def test_an_index_stays_below_the_rows_that_it_is_looked_up_in() -> None:
    g = empty()
    ids = Input("ids", Type("i32", (B, 3)))
    g.inputs.append(ids)
    b = Build(g)
    flat = b(OPS["reshape"], ids, shape=(B * 3,))
    b(OPS["embedding"], flat, weight(g, "token.weight", (7, 4)), count=7, width=4)
    drawn = draw(g)["ids"]
    assert drawn.dtype == np.int32
    assert set(drawn.reshape(-1)) == set(range(7))


def test_free_integers_are_negative_too_and_bools_take_both_values() -> None:
    g = empty()
    g.inputs += [Input("n", Type("i32", (B,))), Input("keep", Type("bool", (B,)))]
    drawn = draw(g)
    assert drawn["n"].min() < 0
    assert set(drawn["keep"].tolist()) == {False, True}


def test_an_input_with_a_default_may_be_left_out() -> None:
    g = empty()
    g.inputs += [Input("x", Type("f32", (B,))), Input("keep", Type("bool", (B,)), True)]
    assert list(draw(g)) == ["x", "keep"]
    assert list(draw(g, optional=False)) == ["x"]


def test_no_weight_starts_where_a_fault_would_hide() -> None:
    g = empty()
    for part, init in [("weight", "ones"), ("bias", "zeros"), ("running_var", "ones")]:
        weight(g, f"norm.{part}", (64,), init)
    drawn = feeds.weights(g, feeds.seeded(0))
    assert all(array.std() > 0.1 for array in drawn.values())
    assert drawn["norm.running_var"].min() > 0


def test_what_goes_into_a_norm_is_small_so_that_eps_shows() -> None:
    g = empty()
    x = Input("x", Type("f32", (B, 16)))
    g.inputs.append(x)
    b = Build(g)
    first = b(OPS["matmul"], x, weight(g, "first", (16, 16)))
    summed = b(OPS["add"], first, b(OPS["matmul"], x, weight(g, "second", (16, 16))))
    gain, shift = weight(g, "norm.weight", (16,), "ones"), weight(g, "norm.bias", (16,), "zeros")
    normed = b(OPS["layer_norm"], summed, gain, shift)
    b(OPS["matmul"], normed, weight(g, "last", (16, 16)))
    drawn = feeds.weights(g, feeds.seeded(0))
    scale = feeds.SMALL * 1e-5**0.5 * drawn["last"].std()
    assert drawn["first"].std() == pytest.approx(scale, rel=0.2)
    assert drawn["second"].std() == pytest.approx(scale, rel=0.2)
    assert drawn["norm.weight"].mean() > 0.5
    assert drawn["last"].std() > 0.5
    assert not feeds.varied(g)


def test_an_eps_that_is_all_but_zero_shows_in_one_draw_of_two() -> None:
    g = empty()
    x = Input("x", Type("f32", (B, 16)))
    g.inputs.append(x)
    b = Build(g)
    made = b(OPS["matmul"], x, weight(g, "first", (16, 16)))
    b(OPS["rms_norm"], made, weight(g, "norm.weight", (16,), "ones"), eps=1e-12)
    assert feeds.varied(g)
    usual, tiny = (feeds.weights(g, feeds.seeded(0), least=least) for least in feeds.LEAST)
    assert usual["first"].std() > 1e-3
    assert tiny["first"].std() < 1e-3 * usual["first"].std()


PLACES = """model M:
    in  x: f32[4, 6]
    in  index: i32[4, 5]
    in  updates: f32[4, 5]
    in  start: i32[]
    in  bits: i32[4]
    out y: f32[4, 6]
    out z: f32[4, 4]
    out w: i32[4]
    y = scatter(x, index, updates, axis = 1)
    z = dynamic_slice(x, start, 4, axis = 1)
    w = shift_right(bits, bits)
"""


def test_places_lie_within_and_none_comes_twice_where_elements_are_put() -> None:
    graph = load(PLACES)
    for seed in range(20):
        feed = feeds.inputs(graph, {}, np.random.default_rng(seed), optional=True)
        assert all(len(set(row)) == 5 and set(row) <= set(range(6)) for row in feed["index"])
        assert 0 <= feed["start"] <= 2
        assert feed["bits"].min() >= 0
