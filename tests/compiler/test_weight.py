"""Weights against the graph's, and the map between two layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mlc.compiler.diagnose import MlcError, MlcErrors
from mlc.compiler.graph import Init, Scope, Type, Weight
from mlc.compiler.tensor import write
from mlc.compiler.weight import Entry, Step, WeightMap, load

ROOT = Scope("model")


def _weight(path: str, *shape: int, dtype: str = "f32") -> Weight:
    part = path.rpartition(".")[2]
    return Weight(path, Type(dtype, shape), Init("zeros"), trainable=True, scope=ROOT, part=part)


WEIGHTS = {
    w.path: w
    for w in (_weight("conv.weight", 2, 3), _weight("conv.bias", 2), _weight("bn.running_mean", 2))
}
GOOD = {key: np.ones([int(n) for n in w.type.shape], np.float32) for key, w in WEIGHTS.items()}


def _errors(path: Path) -> list[tuple[str, str, str | None]]:
    with pytest.raises(MlcError) as caught:
        load(path, WEIGHTS)
    error = caught.value
    several = error.errors if isinstance(error, MlcErrors) else (error,)
    return [(e.code, e.message.replace(str(path), "FILE"), e.help) for e in several]


def test_a_file_that_fits(tmp_path: Path) -> None:
    states = {"bn.num_batches_tracked": np.int64(7)[...], "drop/state": np.zeros(2, np.uint32)}
    save_file({**GOOD, **states}, tmp_path / "w")
    assert dict(load(tmp_path / "w", WEIGHTS)).keys() == WEIGHTS.keys()


def test_keys_are_matched_by_name(tmp_path: Path) -> None:
    wrong = {"conv.wieght": GOOD["conv.weight"], "conv.bias": GOOD["conv.bias"]}
    write(tmp_path / "w", {**wrong, "conv.num_batches_tracked": np.int64(7)[...]})
    assert _errors(tmp_path / "w") == [
        (
            "weights-key",
            "FILE has no tensor 'conv.weight' for the model's weight of that name",
            "the file has 'conv.wieght'",
        ),
        (
            "weights-key",
            "FILE has no tensor 'bn.running_mean' for the model's weight of that name",
            None,
        ),
        (
            "weights-key",
            "FILE has a tensor 'conv.num_batches_tracked', and the model no such weight",
            None,
        ),
        (
            "weights-key",
            "FILE has a tensor 'conv.wieght', and the model no such weight",
            "the model has 'conv.weight'",
        ),
    ]


def test_shape_and_dtype_are_both_shown(tmp_path: Path) -> None:
    wrong = {"conv.weight": GOOD["conv.weight"].T, "conv.bias": np.ones(2, np.float64)}
    write(tmp_path / "w", {**GOOD, **wrong})
    assert _errors(tmp_path / "w") == [
        (
            "weights-shape",
            "the shape of conv.weight differs: FILE has [3, 2], the model wants [2, 3]",
            None,
        ),
        (
            "weights-dtype",
            "the dtype of conv.bias differs: FILE has f64, the model wants f32",
            None,
        ),
    ]


# ------------------------------------------------------------------------------------ the map


def _steps(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Step]:
    """Up to four steps that a tensor of a shape can go through."""
    steps: list[Step] = []
    now = shape
    for kind in draw(st.lists(st.sampled_from(("permute", "reshape", "flip", "take")), max_size=4)):
        axis = draw(st.integers(0, len(now) - 1))
        match kind:
            case "permute":
                axes = tuple(draw(st.permutations(range(len(now)))))
                steps.append(Step(kind, axes))
                now = tuple(now[axis] for axis in axes)
            case "reshape":
                after = draw(st.sampled_from([(*now[1:], now[0]), (int(np.prod(now)),), (1, *now)]))
                steps.append(Step(kind, (now, after)))
                now = after
            case "flip":
                steps.append(Step(kind, tuple(draw(st.sets(st.integers(0, len(now) - 1))))))
            case "take":
                places = tuple(draw(st.permutations(range(now[axis]))))
                steps.append(Step(kind, (axis, now[axis], places)))
    return steps


def _joined(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[list[Step], list[tuple[int, ...]]]:
    """A step that makes one tensor of several, and the shapes of these."""
    count = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(("sum", "stack", "concat")))
    if kind == "sum":
        return [Step("sum", (count,))], [shape] * count
    if kind == "stack":
        axes = draw(st.integers(1, min(2, len(shape))))
        return [Step("stack", shape[:axes])], [shape[axes:]] * int(np.prod(shape[:axes]))
    axis = draw(st.integers(0, len(shape) - 1))
    cuts = sorted(
        draw(st.lists(st.integers(0, shape[axis]), min_size=count - 1, max_size=count - 1))
    )
    sizes = tuple(b - a for a, b in zip([0, *cuts], [*cuts, shape[axis]], strict=True))
    parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return [Step("concat", (axis, sizes))], parts


@st.composite
def _maps(draw: st.DrawFn) -> tuple[WeightMap, dict[str, np.ndarray]]:
    """A map of random steps of every kind, and canonical tensors for it.

    The tensors are whole numbers, so that sums are exact. A packed one goes to several targets, of
    which each takes a part.
    """
    entries, tensors = [], {}

    def tensor(name: str, shape: tuple[int, ...]) -> str:
        tensors[name] = np.random.default_rng(len(tensors)).integers(-99, 99, shape).astype("f8")
        return name

    for i in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
        before, parts = _joined(draw, shape)
        after = _steps(draw, shape)
        sources = tuple(tensor(f"w{i}.{j}", part) for j, part in enumerate(parts))
        entries.append(Entry(f"t{i}", sources, (*before, *after)))
    size = draw(st.integers(1, 6))
    packed = tensor("packed", (2, size))
    order = draw(st.permutations(range(size)))
    cut = draw(st.integers(0, size))
    for name, places in (("p0", order[:cut]), ("p1", order[cut:])):
        take = Step("take", (1, size, tuple(places)))
        entries.append(Entry(name, (packed,), (take, *_steps(draw, (2, len(places))))))
    return WeightMap(entries), tensors


@given(_maps())
def test_a_map_is_inverted_transposed_and_written(
    case: tuple[WeightMap, dict[str, np.ndarray]],
) -> None:
    weight_map, tensors = case
    converted = dict(weight_map.convert(tensors))
    back = weight_map.invert(converted)
    assert back.keys() == tensors.keys()
    sums = [e for e in weight_map.entries.values() if any(step.kind == "sum" for step in e.steps)]
    exact = tensors.keys() - {source for entry in sums for source in entry.sources}
    assert all(np.array_equal(back[key], tensors[key]) for key in exact)
    again = dict(weight_map.convert(back))
    assert all(np.array_equal(again[key], converted[key]) for key in converted)
    forms = weight_map.forms({key: ("f64", x.shape) for key, x in tensors.items()})
    assert forms == {key: ("f64", x.shape) for key, x in converted.items()}
    cotangents = {k: np.random.default_rng(9).normal(size=x.shape) for k, x in converted.items()}
    pulled = weight_map.gradients(cotangents)
    forward = sum(np.sum(cotangents[key] * converted[key]) for key in converted)
    assert np.isclose(forward, sum(np.sum(pulled[key] * tensors[key]) for key in tensors))
    assert WeightMap.from_json(json.loads(json.dumps(weight_map.to_json()))) == weight_map


def test_a_sum_goes_back_into_its_first_part() -> None:
    """As two biases that are added: what was learnt for both is the first, the second is zero."""
    gates = WeightMap([Entry("bias", ("ih", "hh"), (Step("sum", (2,)),))])
    total = gates.convert({"ih": np.ones(3), "hh": np.full(3, 2.0)})["bias"]
    back = gates.invert({"bias": total})
    assert np.array_equal(back["ih"], total)
    assert not back["hh"].any()
    pulled = gates.gradients({"bias": total})
    assert np.array_equal(pulled["ih"], pulled["hh"])


PACKED = WeightMap(
    [
        Entry("query", ("qkv",), (Step("take", (0, 6, (0, 1))),)),
        Entry("key", ("qkv",), (Step("take", (0, 6, (2, 3))), Step("permute", (1, 0)))),
        Entry("value", ("qkv",), (Step("take", (0, 6, (5, 4))),)),
    ]
)


def test_a_packed_weight_is_taken_apart_and_put_together() -> None:
    whole = np.arange(18.0).reshape(6, 3)
    parts = dict(PACKED.convert({"qkv": whole}))
    assert np.array_equal(parts["key"], whole[2:4].T)
    assert np.array_equal(parts["value"], whole[[5, 4]])
    assert np.array_equal(PACKED.invert(parts)["qkv"], whole)
    del parts["value"]
    with pytest.raises(MlcError, match="query, key are not all of qkv") as caught:
        PACKED.invert(parts)
    assert caught.value.code == "weights-key"


def test_parts_that_overlap_must_agree() -> None:
    more = WeightMap(
        [*PACKED.entries.values(), Entry("last", ("qkv",), (Step("take", (0, 6, (5,))),))]
    )
    parts = dict(more.convert({"qkv": np.arange(18.0).reshape(6, 3)}))
    assert np.array_equal(more.invert(parts)["qkv"], np.arange(18.0).reshape(6, 3))
    with pytest.raises(MlcError) as caught:
        more.invert({**parts, "last": parts["last"] + 1})
    assert caught.value.code == "weights-tied"


@pytest.mark.parametrize(
    "step",
    [
        Step("permute", (0, 0)),
        Step("permute", (0, 1, 2)),
        Step("reshape", ((3, 2), (6,))),
        Step("reshape", ((2, 3), (5,))),
        Step("flip", (2,)),
        Step("concat", (0, (3,))),
        Step("take", (0, 3, (0,))),
        Step("take", (1, 3, (0, 0))),
        Step("take", (1, 3, (3,))),
        Step("sum", (2,)),
        Step("stack", (2,)),
    ],
)
def test_steps_that_do_not_fit_a_shape_are_refused(step: Step) -> None:
    with pytest.raises(MlcError, match=r"to t do not fit w \[2, 3\]") as caught:
        WeightMap([Entry("t", ("w",), (step,))]).forms({"w": ("f32", (2, 3))})
    assert caught.value.code == "weights-shape"


TIED = WeightMap([Entry("a", ("w",)), Entry("b", ("w",), (Step("permute", (1, 0)),))])


def test_gradients_of_a_tied_weight_are_added() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    assert np.array_equal(TIED.gradients({"a": a, "b": b})["w"], a + b.T)


def test_copies_of_a_tied_weight_must_agree() -> None:
    w = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(TIED.invert({"a": w, "b": w.T})["w"], w)
    with pytest.raises(MlcError) as caught:
        TIED.invert({"a": w, "b": w.T + 1})
    assert caught.value.code == "weights-tied"


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(MlcError, match="no tensor 'conv/kernal'") as caught:
        WeightMap([Entry("conv/kernel", ("w",))]).gradients({"conv/kernal": np.ones(1)})
    assert caught.value.help == "the map has 'conv/kernel'"


def test_two_entries_for_one_target_and_unknown_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="two entries"):
        WeightMap([Entry("a", ("x",)), Entry("a", ("y",))])
    with pytest.raises(ValueError, match="no step"):
        Step("rotate", ())


def test_conversion_is_lazy(tmp_path: Path) -> None:
    class Counting(dict):
        asked = 0

        def __getitem__(self, key: str) -> np.ndarray:
            Counting.asked += 1
            return super().__getitem__(key)

    converted = TIED.convert(Counting(w=np.ones((2, 3), np.float32)))
    assert Counting.asked == 0
    assert list(converted) == ["a", "b"]
    write(tmp_path / "w", converted)
    assert Counting.asked == 4
