"""The yardstick, and steps that lie within it."""

from collections.abc import Callable

import numpy as np
import pytest

from mlc.compiler.graph import Graph, Input, Scope, Type, Value
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from mlc.equivalence.case import settle
from mlc.equivalence.feeds import seeded
from mlc.equivalence.noise import BF16, EPS, downstream, measure
from mlc.equivalence.reference import Feed, Key, gradient_error, joint
from mlc.frontends.mdl import load

Body = Callable[[Build, Value], Value]


def graph(body: Body, size: int) -> Graph:
    g = Graph("g", Scope("model"))
    x = Input("x", Type("f32", (size,)))
    g.inputs.append(x)
    g.outputs["y"] = body(Build(g), x)
    return g


def feed(x: list[float], outputs: int) -> Feed:
    return Feed({}, {"x": np.float32(x)}, {"y": np.ones(outputs, np.float32)}, {})


def test_an_exact_op_has_the_noise_of_its_input() -> None:
    g = joint(graph(lambda b, x: b(OPS["neg"], x), 3), False)
    noise = measure(g, feed([1.0, 2.0, -4.0], 3), seeded(0), strict=False)
    most = noise.yardsticks[Key("output", "y")].most
    assert EPS < most <= 4 * EPS


def test_a_sum_that_cancels_keeps_the_noise_of_its_terms() -> None:
    g = joint(graph(lambda b, x: b(OPS["sum"], x, keep=True), 2), False)
    noise = measure(g, feed([1e3, -1e3], 1), seeded(0), strict=False)
    assert noise.yardsticks[Key("output", "y")].rms > 1e2 * EPS


def test_norms_are_measured_as_their_bodies() -> None:
    g = joint(graph(lambda b, x: b(OPS["softmax"], x, axis=0), 5), False)
    assert all(node.op.name != "softmax" for node in g.expanded)
    found = g.run(feed([0.0, 1.0, 2.0, 3.0, 4.0], 5))
    written = g.run(feed([0.0, 1.0, 2.0, 3.0, 4.0], 5), expanded=True)
    for key, array in found.items():
        np.testing.assert_allclose(written[key], array, rtol=1e-12, atol=1e-14)


RELU: Body = lambda b, x: b(OPS["relu"], b(OPS["sub"], x, 1.0))  # noqa: E731


def test_a_relu_next_to_its_kink_hides_gradients_but_not_outputs() -> None:
    g = joint(graph(RELU, 3), False)
    near = feed([3.0, 1.0 + 2e-7, -2.0], 3)
    hazards = measure(g, near, seeded(0), strict=False).hazards
    assert sum(hazard.count for hazard in hazards) == 1
    assert set(downstream(hazards, g)) == {Key("input gradient", "x")}
    assert "lie on a step" in str(hazards[0])


def test_a_relu_away_from_its_kink_or_exactly_on_it_is_safe() -> None:
    g = joint(graph(RELU, 3), False)
    assert not measure(g, feed([3.0, 1.01, -2.0], 3), seeded(0), strict=False).hazards
    on = joint(graph(lambda b, x: b(OPS["relu"], b(OPS["mul"], x, 0.0)), 3), False)
    assert not measure(on, feed([3.0, 1.0, -2.0], 3), seeded(0), strict=False).hazards


def test_a_choice_in_the_forward_hides_the_output() -> None:
    body: Body = lambda b, x: b(OPS["round"], x)  # noqa: E731
    g = joint(graph(body, 2), False)
    hazards = measure(g, feed([0.5 + 1e-8, 1.2], 2), seeded(0), strict=True).hazards
    assert Key("output", "y") in downstream(hazards, g)
    assert not measure(g, feed([0.4, 1.2], 2), seeded(0), strict=True).hazards


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "softplus", "square", "exp"])
def test_the_reference_gradient_agrees_with_differences(name: str) -> None:
    g = joint(graph(lambda b, x: b(OPS[name], x), 4), False)
    at = feed([0.3, -1.2, 2.0, 0.9], 4)
    assert gradient_error(g, at, g.run(at), seeded(1)) < 1e-8


def test_a_wrong_reference_gradient_is_found() -> None:
    g = joint(graph(lambda b, x: b(OPS["tanh"], x), 4), False)
    at = feed([0.3, -1.2, 2.0, 0.9], 4)
    truth = {key: array * 1.01 for key, array in g.run(at).items()}
    assert gradient_error(g, at, truth, seeded(1)) > 1e-4


def test_what_stop_gradient_holds_is_held_in_the_differences() -> None:
    body: Body = lambda b, x: b(OPS["mul"], x, b(OPS["stop_gradient"], x))  # noqa: E731
    g = joint(graph(body, 4), False)
    at = feed([0.3, -1.2, 2.0, 0.9], 4)
    assert gradient_error(g, at, g.run(at), seeded(1)) < 1e-8


def test_where_matrices_are_multiplied_in_bf16_only_products_are_rough() -> None:
    def body(b: Build, x: Value) -> Value:
        return b(
            OPS["matmul"], b(OPS["unsqueeze"], x, axes=(0,)), b(OPS["unsqueeze"], x, axes=(1,))
        )

    given = feed([1.0, 2.0, -4.0], 3)
    exact = joint(graph(lambda b, x: b(OPS["square"], x), 3), False)
    rough = joint(graph(lambda b, x: b(OPS["squeeze"], body(b, x), axes=(0,)), 3), False)
    key = Key("output", "y")
    given_once = Feed({}, given.inputs, {"y": np.ones(1, np.float32)}, {})
    squares = measure(exact, given, seeded(0), strict=False, rounding=BF16)
    product = measure(rough, given_once, seeded(0), strict=False, rounding=BF16)
    assert squares.yardsticks[key].most < 100 * EPS
    assert 1e-3 < product.yardsticks[key].rms / 21 < BF16.product


def test_numbers_that_are_computed_from_numbers_stay_whole() -> None:
    def body(b: Build, x: Value) -> Value:
        return b(OPS["pow"], x, b(OPS["sub"], b.constant(3.0), b.constant(1.0)))

    noise = measure(joint(graph(body, 2), False), feed([-2.0, 3.0], 2), seeded(0), strict=False)
    assert noise.yardsticks[Key("output", "y")].rms > EPS  # and not a distance from NaN


def test_a_sigmoid_far_below_zero_is_covered_by_noise() -> None:
    """ONNX Runtime gives 0 from -18 on: no engine need know such numbers better."""
    graph = load("model M():\n    in  x: f32[B, 4]\n    out y: like x\n    y = sigmoid(x - 40)\n")
    case = settle(graph, joint(graph, False), "inference", {"B": 5}, 0, {}, optional=True)
    assert case.scales[Key("output", "y")].hidden
