"""Training or inference."""

from mlc.compiler.clone import clone
from mlc.compiler.ops import OPS
from mlc.compiler.passes.mode import resolve
from mlc.compiler.run import run
from tests.compiler.build import numbers, start, weight


def net():
    graph, b, x = start(x=("B", 3))
    mean = weight(graph, "mean", (3,), trainable=False)
    var = weight(graph, "var", (3,), "ones", trainable=False)
    y, new_mean, new_var = b(OPS["batch_norm"], x, None, None, mean, var, affine=False)
    graph.outputs["y"] = y
    graph.updates = {mean: (new_mean, "training"), var: (new_var, "training")}
    return graph


def test_training_and_inference():
    x, given = numbers(5, 3), {"mean": [0.0] * 3, "var": [1.0] * 3}
    training, inference = clone(net())[0], clone(net())[0]
    assert resolve(training, True) == 1
    assert resolve(inference, False) == 3
    trained = run(training, {"x": x}, given)
    assert abs(trained.outputs["y"].mean()) < 1e-12
    assert abs(trained.updates["mean"] - 0.1 * x.mean(0)).max() < 1e-12
    inferred = run(inference, {"x": x}, given)
    assert abs(inferred.outputs["y"] - x / (1 + 1e-5) ** 0.5).max() < 1e-12
    assert inferred.updates == {}


def test_what_training_asks_of_sizes_is_a_fact():
    graph = net()
    resolve(graph, True)
    assert [str(fact) for fact in graph.facts] == ["2 <= B"]


def test_a_mode_that_the_source_has_fixed_stays():
    graph = net()
    (node,) = graph
    node.attrs["training"] = False
    assert resolve(graph, True) == 0
    assert node.attrs["training"] is False
