"""The reference run: feeding, precision, hooks."""

import numpy as np
import pytest

from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.graph import Fact
from mlc.compiler.ops import OPS
from mlc.compiler.run import attributes, bind, run
from tests.compiler.build import numbers, start, weight

H, W = symbol("H"), symbol("W")


def test_outputs_updates_and_sizes():
    graph, b, x = start(x=("B", "H"))
    w = weight(graph, "a.w", (3,))
    count = weight(graph, "count", (), trainable=False)
    graph.outputs["y"] = b(OPS["mul"], x, w)
    graph.updates[count] = (b(OPS["add"], count, 1.0), "always")
    x = numbers(2, 3)
    result = run(graph, {"x": x}, {"a.w": [1.0, 2.0, 3.0], "count": 4.0})
    np.testing.assert_array_equal(result.outputs["y"], x * [1, 2, 3])
    assert result.updates == {"count": 5.0}
    assert result.sizes == {"B": 2, "H": 3}


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_floats_are_held_in_the_dtype_asked_for(dtype):
    from mlc.compiler.ops.constant import numpy_dtype

    graph, b, x = start(x=("B",))
    shifted = b(OPS["add"], x, 0.1)
    graph.outputs["y"] = b(OPS["cast"], shifted, dtype="f32")
    graph.outputs["n"] = b(OPS["cast"], x, dtype="i32")
    seen = []
    run_dtype = numpy_dtype(dtype)
    result = run(graph, {"x": [1.0]}, {}, dtype=dtype, tap=lambda node, out: seen.append(out[0]))
    assert result.outputs["y"].dtype == run_dtype
    assert result.outputs["n"].dtype == np.int32
    assert all(array.dtype in (run_dtype, np.int32) for array in seen)
    assert result.outputs["y"][0] == np.asarray(1, run_dtype) + np.asarray(0.1, run_dtype)


def test_sizes_are_put_into_attributes():
    graph, b, x = start(x=("B", "H"))
    node = b.node(OPS["pad"], [x], {"pads": ((0, 0), (H // 2, H + 1))})
    graph.outputs["y"] = node.output
    assert attributes(node, {"B": 1, "H": 4})["pads"] == ((0, 0), (2, 5))
    assert run(graph, {"x": numbers(2, 4)}, {}).outputs["y"].shape == (2, 11)


def test_an_input_with_a_default_may_be_left_out():
    graph, b, x, keep = start(x=("B", "T"), keep=("bool", ("B", "T")))
    keep.default = True
    graph.outputs["y"] = b(OPS["where"], keep, x, 0.0)
    x = numbers(2, 3)
    np.testing.assert_array_equal(run(graph, {"x": x}, {}).outputs["y"], x)
    off = {"x": x, "keep": np.zeros((2, 3), bool)}
    assert not run(graph, off, {}).outputs["y"].any()


def feeding(inputs, weights=None):
    graph, b, _x, y, _n = start(x=("B", "H"), y=("B", 4), n=("i32", ("B",)))
    w = weight(graph, "w", (4,))
    graph.facts.append(Fact("divides", 2, H))
    graph.outputs["y"] = b(OPS["add"], y, w)
    feed = {"x": numbers(2, 4), "y": numbers(2, 4), "n": np.array([1, 2])}
    feed = {k: v for k, v in {**feed, **inputs}.items() if v is not None}
    return run(graph, feed, {"w": numbers(4)} if weights is None else weights)


REFUSED = [
    ({"z": 1}, "has no input z; it has x, y, n"),
    ({"x": None}, "input x is missing"),
    ({"x": numbers(2)}, r"input x is f32\[B, H\], and the feed has 1 axes"),
    ({"y": numbers(3, 4)}, r"input y is f32\[B, 4\], here \(2, 4\), and the feed has \(3, 4\)"),
    ({"y": numbers(2, 5)}, r"the feed has \(2, 5\)"),
    ({"x": numbers(2, 3)}, r"net needs 2 | H, and the feed has B = 2, H = 3"),
    ({"n": numbers(2)}, r"input n is i32\[B\], and the feed is float64"),
    ({"n": np.array([1, 2**40])}, "numbers outside i32"),
    ({"x": np.array([["a"] * 4] * 2)}, "the feed is <U1"),
]


@pytest.mark.parametrize(("inputs", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_does_not_fit_is_refused(inputs, message):
    with pytest.raises(MlcError, match=message) as caught:
        feeding(inputs)
    assert caught.value.code == "feed"


@pytest.mark.parametrize(
    ("weights", "message"),
    [({}, "weight w is missing"), ({"w": numbers(5)}, r"weight w is f32\[4\], here \(4,\)")],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(MlcError, match=message) as caught:
        feeding({}, weights)
    assert caught.value.code == "feed"


def test_i32_takes_i64_and_floats_take_integers():
    assert feeding({"n": np.array([1, 2], np.int64), "x": np.ones((2, 4), int)})


def test_a_symbol_that_no_input_gives_is_refused():
    graph, _b, x = start(x=("B",))
    graph.inputs[0].type = x.type.with_(shape=(2 * H,), labels=())
    graph.outputs["y"] = x
    with pytest.raises(MlcError, match="no given input has an axis of size H"):
        run(graph, {"x": numbers(4)}, {})


def test_perturb_replaces_results_and_sees_what_went_in():
    graph, b, x = start(x=(2,))
    graph.outputs["y"] = b(OPS["mul"], b(OPS["add"], x, x), x)

    def perturb(node, arrays, results):
        assert [a.shape for a in arrays] == [(2,), (2,)]
        return [r + 1 for r in results]

    seen = []
    result = run(
        graph, {"x": [1.0, 2.0]}, {}, perturb=perturb, tap=lambda n, r: seen.append(r[0].tolist())
    )
    assert seen == [[3.0, 5.0], [4.0, 11.0]]
    assert result.outputs["y"].tolist() == [4.0, 11.0]


def test_arrays_are_freed_after_their_last_use():
    import gc
    import weakref

    graph, b, x = start(x=(1000,))
    value = x
    for _ in range(20):
        value = b(OPS["add"], value, 1.0)
    graph.outputs["y"] = value
    alive = []

    def tap(node, results):
        if node.op.name == "add":
            alive.append(weakref.ref(results[0]))
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 2

    run(graph, {"x": numbers(1000)}, {}, tap=tap)
    assert len(alive) == 20


def test_bind_reads_sizes_from_shapes_alone():
    graph, _b, x, _y = start(x=("B", "H"), y=("H", "W"))
    graph.outputs["y"] = x
    assert bind(graph, {"x": (2, 3), "y": (3, 5)}) == {"B": 2, "H": 3, "W": 5}
