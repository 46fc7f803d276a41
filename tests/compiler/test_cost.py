"""What models cost on a matrix unit, by sums that were done by hand."""

from __future__ import annotations

import pytest

import mlc
from mlc.compiler.cost import cost


def costs(body: str, out: str, given: str = "f32[B, 4, 6, 6]", **sizes: int):
    text = f"model M():\n    in  x: {given}\n    out y: {out}\n\n    y = {body}\n"
    graph = mlc.load(text)
    return cost(graph, sizes)


def forms(found) -> list[tuple[int, ...]]:
    return [(p.count, p.repeats, p.rows, p.depth, p.columns) for p in found.products]


def test_a_linear_layer_is_one_product() -> None:
    found = costs("x -> linear(7)", "f32[B, T, 7]", "f32[B, T, 5]", B=3, T=2)
    (product,) = found.products
    assert forms(found) == [(1, 1, 6, 5, 7)]
    assert product.flops == found.on_unit == 2 * 6 * 5 * 7
    assert found.other == 6 * 7  # the bias
    assert product.done == 2 * 8 * 128 * 128
    assert product.padded == pytest.approx(1 - 6 * 5 * 7 / (8 * 128 * 128))
    assert product.bytes == 2 * (6 * 5 + 5 * 7 + 6 * 7)


def test_whole_tiles_are_not_padded() -> None:
    found = costs("x -> linear(256)", "f32[B, 256]", "f32[B, 128]", B=16)
    assert (found.padded, found.products[0].padded) == (0, 0)


@pytest.mark.parametrize(
    ("layer", "out", "form"),
    [
        ("conv(8, 3, pad = 1)", "8, 6, 6", (1, 9, 2 * 36, 4, 8)),
        ("conv(8, 3, stride = 2, groups = 2)", "8, 2, 2", (1, 2 * 9, 2 * 4, 2, 4)),
        ("conv(4, 3, groups = 4, pad = 1)", "4, 6, 6", (1, 4 * 9, 2 * 36, 1, 1)),
        ("conv(8, 3, stride = 3)", "8, 2, 2", (1, 1, 2 * 4, 4 * 9, 8)),
        ("conv(8, 2, stride = 3)", "8, 2, 2", (1, 4, 2 * 4, 4, 8)),
        ("conv_transpose(8, 2, stride = 2)", "8, 12, 12", (1, 4, 2 * 36, 4, 8)),
    ],
)
def test_a_convolution_is_products_of_its_taps(layer: str, out: str, form: tuple[int, ...]) -> None:
    assert forms(costs(f"x -> {layer}", f"f32[B, {out}]", B=2)) == [form]


def test_attention_is_its_projections_and_two_products_a_head() -> None:
    found = costs("x -> attention(2)", "like x", "f32[B, T, 8]", B=3, T=5)
    assert sorted(forms(found)) == [(1, 6, 5, 4, 5), (1, 6, 5, 5, 4), (4, 1, 15, 8, 8)]
    assert 0.5 < found.share < 1


def test_equal_products_at_one_place_are_one_line() -> None:
    text = (
        "block Twice():\n    in x: f32[B, D]\n    out y: like x\n    y = x -> linear(D)\n\n"
        "model M():\n    in x: f32[B, 8]\n    out y: f32[B, 8]\n    h = x\n    repeat 3:\n"
        "        h = h -> Twice\n    y = h\n"
    )
    assert forms(cost(mlc.load(text), {"B": 2})) == [(3, 1, 2, 8, 8)]


def test_what_moves_is_counted_once_and_elementwise_ops_are_fused() -> None:
    found = costs("relu(x) * 2", "like x", B=2)
    assert (found.products, found.on_unit, found.share) == ([], 0, 0)
    assert found.other == 2 * 4 * 36  # the product; relu only chooses
    assert found.bytes == 2 * (2 * 4 * 36 + 2 * 4 * 36)
    summed = costs("x -> sum(H, W)", "f32[B, 4]", "f32[B, 4, H, W]", B=2, H=6, W=6)
    assert summed.other == 2 * 4 * 36
    assert summed.bytes == 2 * (2 * (2 * 4 * 36) + 2 * (2 * 4))


def test_a_scan_costs_all_its_steps() -> None:
    text = (
        "model M():\n    in x: f32[B, T, 3]\n    out y: f32[B, 3]\n"
        "    param w: f32[3, 3] = normal(0.1)\n    h = x[:, 0]\n"
        "    scan x_t in x along T:\n        h = tanh(h @ w + x_t)\n    y = h\n"
    )
    found = cost(mlc.load(text), {"B": 2, "T": 5})
    assert forms(found) == [(5, 1, 2, 3, 3)]
    assert found.other == 5 * 2 * (2 * 3)  # the sum, and tanh


def test_recurrent_layers_read_once_and_hold_at_each_step() -> None:
    text = (
        "model M():\n    in x: f32[B, T, 4]\n    out y: f32[B, T, 3]\n"
        "    y, last, cell = x -> lstm(3)\n"
    )
    assert sorted(forms(cost(mlc.load(text), {"B": 2, "T": 5}))) == [
        (1, 1, 10, 4, 12),
        (5, 1, 2, 3, 12),
    ]
