"""Weights against the graph's, and the map between two layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    write(tmp_path / "w", {**GOOD, "bn.num_batches_tracked": np.int64(7)[...]})
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


@st.composite
def _maps(draw: st.DrawFn) -> tuple[WeightMap, dict[str, np.ndarray]]:
    """A map of random steps, and canonical tensors for it."""
    entries, tensors = [], {}
    for i in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        axis = draw(st.integers(0, len(shape) - 1))
        sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        parts = [[*shape[:axis], n, *shape[axis + 1 :]] for n in sizes]
        sources = tuple(f"w{i}.{j}" for j in range(len(parts)))
        for j, (source, part) in enumerate(zip(sources, parts, strict=True)):
            tensors[source] = np.random.default_rng((i, j)).normal(size=part)
        now = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
        steps = [Step("concat", (axis, tuple(sizes)))]
        for kind in draw(st.lists(st.sampled_from(("permute", "reshape")), max_size=4)):
            if kind == "permute":
                args = tuple(draw(st.permutations(range(len(now)))))
                now = tuple(now[axis] for axis in args)
                steps.append(Step(kind, args))
            else:
                after = draw(st.sampled_from([(*now[1:], now[0]), (int(np.prod(now)),), (1, *now)]))
                steps.append(Step(kind, (now, after)))
                now = after
        entries.append(Entry(f"t{i}", sources, tuple(steps)))
    return WeightMap(entries), tensors


@given(_maps())
def test_a_map_is_inverted_transposed_and_written(
    case: tuple[WeightMap, dict[str, np.ndarray]],
) -> None:
    weight_map, tensors = case
    converted = dict(weight_map.convert(tensors))
    back = weight_map.invert(converted)
    assert back.keys() == tensors.keys()
    assert all(np.array_equal(back[key], tensors[key]) for key in tensors)
    cotangents = {k: np.random.default_rng(9).normal(size=x.shape) for k, x in converted.items()}
    pulled = weight_map.gradients(cotangents)
    forward = sum(np.sum(cotangents[key] * converted[key]) for key in converted)
    assert np.isclose(forward, sum(np.sum(pulled[key] * tensors[key]) for key in tensors))
    assert WeightMap.from_json(json.loads(json.dumps(weight_map.to_json()))) == weight_map


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
