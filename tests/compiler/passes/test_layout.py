"""Channels last: where transposes stand, that orders fit together, and what features become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlc.compiler.clone import clone
from mlc.compiler.graph import Graph, Node
from mlc.compiler.init import initialise
from mlc.compiler.ops.shape import permutation
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.passes.features import fold
from mlc.compiler.passes.layout import channels_last, last, statements
from mlc.compiler.passes.mode import resolve
from mlc.compiler.passes.outline import outline
from mlc.compiler.passes.tokens import tokens
from mlc.compiler.run import run
from mlc.compiler.weight import Entry
from mlc.frontends.mdl import load
from tests.backends.models import MODELS
from tests.backends.truth import draw

EXAMPLES = Path(__file__).parents[3] / "examples"
TEXTS = {**MODELS, "lenet": (EXAMPLES / "lenet.mdl").read_text(),
         "tiny_resnet": (EXAMPLES / "tiny_resnet.mdl").read_text()}  # fmt: skip


def model(body: str, given: str = "x: f32[B, 3, H, W]", out: str = "y: f32[B, 4, H, W]") -> Graph:
    lines = "".join(f"    {line}\n" for line in (f"in {given}", f"out {out}", *body.split("; ")))
    graph = load(f"model Net:\n{lines}", "net")
    apply(graph, CLEAN)
    return graph


def relayouts(graph: Graph) -> list[Node]:
    return [node for node in graph if node.op.name == "relayout"]


def misfits(graph: Graph, free: bool) -> Iterator[str]:
    """Nodes that take or give a tensor in an order that they do not work in."""
    for node in graph:
        orders = [v.order for v in node.values]
        if node.op.name == "relayout":
            if node.output.order == orders[0]:
                yield f"{node} does nothing"
        elif node.op.name == "transpose" and free:
            axes = permutation(node.output.type.rank, node.attrs["axes"])
            before = orders[0] or tuple(range(len(axes)))
            view = tuple(axes.index(axis) for axis in before)
            after = node.output.order or tuple(range(len(axes)))
            if orders[0] and view != after:
                yield f"{node} is stored as {after}, and not {view}"
        elif node.op.layout == "channels":
            x = node.values[0]
            if x.type.rank > 2 and {x.order, node.outputs[0].order} != {last(x.type.rank)}:
                yield f"{node} takes {x.order} and gives {node.outputs[0].order}"
        elif node.op.layout == "source":
            if any(orders) or any(o.order for o in node.outputs):
                yield f"{node} takes {orders}"
        else:
            full = {v.order for v in node.values if v.type.rank == node.outputs[0].type.rank > 1}
            if len(full) > 1:
                yield f"{node} takes {full}"


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_every_node_takes_what_it_works_on(name: str, free: bool) -> None:
    graph = load(TEXTS[name], "net")
    channels_last(graph, free=free)
    assert not list(misfits(graph, free))


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_changes_but_the_storage(name: str) -> None:
    graph = load(TEXTS[name], "net")
    resolve(graph, training=False)
    copied, _ = clone(graph)
    tokens(copied)
    channels_last(copied, free=True)
    fold(copied)
    feed, weights = draw(graph), initialise(graph, 1)
    before, after = (run(g, feed, weights).outputs for g in (graph, copied))
    for output, array in before.items():
        np.testing.assert_array_equal(after[output], array)


@pytest.mark.parametrize("name", TEXTS)
def test_one_statement_stores_its_results_alike(name: str) -> None:
    graph = load(TEXTS[name], "net")
    channels_last(graph, free=True)
    orders: dict[object, set[object]] = {}
    for key, node in statements(graph):
        for i, output in enumerate(node.outputs):
            orders.setdefault((key, i, output.type.rank), set()).add(output.order)
    assert {len(found) for found in orders.values()} == {1}


def test_images_need_no_transpose() -> None:
    graph = model("y = x -> conv(4, 3, pad = 1) -> batch_norm -> relu -> max_pool(1)")
    assert channels_last(graph) == 4
    assert not relayouts(graph)
    assert graph.inputs[0].order == graph.outputs["y"].order == (0, 2, 3, 1)


@pytest.mark.parametrize(
    ("rank", "order"), [(3, (0, 2, 1)), (4, (0, 2, 3, 1)), (5, (0, 2, 3, 4, 1))]
)
def test_of_one_to_three_spatial_axes(rank: int, order: tuple[int, ...]) -> None:
    axes = ", ".join("HWD"[: rank - 2])
    graph = model("y = x -> conv(4, 1)", f"x: f32[B, 3, {axes}]", f"y: f32[B, 4, {axes}]")
    channels_last(graph)
    assert last(rank) == order == graph.outputs["y"].order


def test_ports_may_be_kept() -> None:
    graph = model("y = x -> conv(4, 3, pad = 1) -> relu")
    channels_last(graph, keep_ports=True)
    assert [n.output.order for n in relayouts(graph)] == [(0, 2, 3, 1), None]
    assert graph.inputs[0].order is None and graph.outputs["y"].order is None
    assert graph.outputs["y"].node is list(graph)[-1]
    outline(graph)


def test_a_flatten_sees_the_source() -> None:
    graph = model("y = x -> conv(4, 1) -> flatten", out="y: f32[B, 4 * H * W]")
    channels_last(graph)
    assert [n.op.name for n in graph] == ["conv", "relayout", "flatten"]


def test_a_mean_takes_what_it_gets() -> None:
    graph = model("y = x -> conv(4, 1) -> mean(axes = [2])", out="y: f32[B, 4, W]")
    channels_last(graph)
    assert not relayouts(graph)
    assert graph.outputs["y"].order == (0, 2, 1)


def test_a_tensor_that_broadcasts_is_turned() -> None:
    graph = model("param s: f32[4, 1, 1] = ones; y = (x -> conv(4, 1)) * s")
    channels_last(graph)
    assert [n.op.name for n in graph] == ["conv", "unsqueeze", "relayout", "mul"]
    graph = model("param s: f32[4, 1, 1] = ones; y = (x -> conv(4, 1)) * s")
    channels_last(graph, free=True)
    assert [n.op.name for n in graph] == ["conv", "mul"]
    assert graph.weights["s"].order == (1, 2, 0)


def test_what_is_reshaped_to_an_image_is_turned_at_once() -> None:
    text = """
block Up:
    in  x: f32[B, C, H, W]
    out y: like x
    y = x -> conv(C, 3, pad = 1) -> relu

model Net:
    in  x: f32[B, 36]
    out y: f32[B, 4, 3, 3]
    h = x -> reshape(B, 4, 3, 3)
    repeat 3:
        h = h -> Up
    y = h
"""
    graph = load(text, "net")
    channels_last(graph)
    assert [n.op.name for n in graph].count("relayout") == 1
    (loop,) = outline(graph).model.body[-1:]
    assert type(loop).__name__ == "Repeat"


def test_a_loop_carries_its_tensor_in_one_order() -> None:
    """The body ends with the source's order, and begins with a convolution."""
    body = """
model Net:
    in  x: f32[B, 4, H, W]
    out y: f32[B, 4, H, W]
    h = x
    repeat 3:
        h = h -> conv(4, 1) -> reshape(B, 4, H * W) -> reshape(B, 4, H, W)
    y = h
"""
    graph = load(body, "net")
    channels_last(graph)
    orders = {n.outputs[0].order for n in graph if n.op.name == "conv"}
    assert orders == {(0, 2, 3, 1)}
    (loop,) = [s for s in outline(graph).model.body if type(s).__name__ == "Repeat"]
    assert len(loop.body) == 5 and loop.carried[0].current.order == (0, 2, 3, 1)  # type: ignore[union-attr]


def test_a_transpose_may_be_another_view() -> None:
    body = "h = x -> conv(4, 1) -> transpose(axes = [0, 2, 3, 1]) -> layer_norm; "
    graph = model(body + "y = h -> transpose(axes = [0, 3, 1, 2]) -> conv(4, 1)")
    channels_last(graph, free=True)
    assert not relayouts(graph)
    assert [n.outputs[0].order is None for n in graph] == [False, True, True, False, False]
    graph = model(body + "y = h -> transpose(axes = [0, 3, 1, 2]) -> conv(4, 1)")
    channels_last(graph)
    assert len(relayouts(graph)) == 2


# -------------------------------------------------------------------------- features and tokens


def turned(graph: Graph, path: str) -> np.ndarray:
    """The weight as the fold stores it, its elements numbered as the graph has them."""
    channels_last(graph, free=True)
    folds = fold(graph)
    weight = graph.weights[path]
    assert list(folds) == [w for w in graph.weights.values() if w in folds]
    numbered = np.arange(np.prod(weight.type.shape)).reshape(weight.type.shape)
    return Entry("", (path,), folds[weight]).convert({path: numbered})


def test_features_of_a_flattened_image_are_turned_in_the_weight() -> None:
    body = "y = x -> conv(4, 1) -> flatten -> relu -> dropout(0.5) -> linear(5)"
    graph = model(body, "x: f32[B, 3, H = 2, W = 3]", "y: f32[B, 5]")
    got = turned(graph, "linear.weight")
    want = np.arange(120).reshape(5, 4, 2, 3).transpose(0, 2, 3, 1).reshape(5, 24)
    np.testing.assert_array_equal(got, want)
    assert not relayouts(graph)


def test_features_that_become_an_image_are_turned_in_the_weight() -> None:
    body = "y = x -> linear(24) -> tanh -> reshape(B, 4, 2, 3) -> conv(4, 1)"
    graph = model(body, "x: f32[B, 5]", "y: f32[B, 4, 2, 3]")
    got = turned(graph, "linear.weight")
    want = np.arange(120).reshape(4, 2, 3, 5).transpose(1, 2, 0, 3).reshape(24, 5)
    np.testing.assert_array_equal(got, want)
    assert not relayouts(graph)


@pytest.mark.parametrize(
    "body",
    [
        "h = x -> conv(4, 1) -> flatten; y = (h -> linear(5)) + sum(h)",
        "h = x -> conv(4, 1) -> flatten; y = (h * h[:, 0:1]) -> linear(5)",
        "h = x -> conv(4, 1) -> flatten -> softmax; y = h -> linear(5)",
        "d = linear(5); y = d(x -> conv(4, 1) -> flatten) + d(sum(x, axes = [2, 3]) -> linear(24))",
    ],
    ids=["read elsewhere", "mixed", "not elementwise", "shared"],
)
def test_features_that_others_see_stay(body: str) -> None:
    graph = model(body, "x: f32[B, 3, H = 2, W = 3]", "y: f32[B, 5]")
    channels_last(graph, free=True)
    assert fold(graph) == {}
    assert relayouts(graph)


def test_a_pooled_image_is_flat_already() -> None:
    body = "y = x -> conv(4, 1) -> mean(axes = [2, 3], keep = true) -> flatten"
    graph = model(body, out="y: f32[B, 4]")
    channels_last(graph, free=True)
    assert fold(graph) == {}
    assert not relayouts(graph)


def test_tokens_of_an_image_need_no_transpose() -> None:
    body = "y = x -> conv(4, 2, stride = 2) -> flatten(start = 2) -> transpose(axes = [0, 2, 1])"
    graph = model(body, "x: f32[B, 3, H = 4, W = 6]", "y: f32[B, 6, 4]")
    assert tokens(graph) == 1
    channels_last(graph, free=True)
    assert [n.op.name for n in graph] == ["conv", "transpose", "flatten"]
    assert not relayouts(graph)


def test_an_image_of_tokens_needs_no_transpose() -> None:
    body = "y = x -> transpose(axes = [0, 2, 1]) -> reshape(B, 4, 2, 3) -> conv(4, 1)"
    graph = model(body, "x: f32[B, N = 6, D = 4]", "y: f32[B, 4, 2, 3]")
    assert tokens(graph) == 1
    channels_last(graph, free=True)
    assert [n.op.name for n in graph] == ["reshape", "transpose", "conv"]
    assert not relayouts(graph)
