"""The matrix of operators and targets: every cell in f32 against f64, forward and gradient.

A cell that a target refuses, or in which its framework differs, is in a table with the probe that
shows why: it is wrong to be in the table and right, as it is to be wrong and not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import pytest

from mlc.backends import TARGETS
from mlc.backends.support import REFUSED, support
from mlc.compiler.ops import OPS
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.reference import Key
from tests.backends import test_probes
from tests.backends.matrix import Batch, Case, batches, in_float64, judged

BATCHES = list(batches())

DIFFERS: Mapping[tuple[str, str], str] = {
    ("openvino", "clamp_1 output clamp_1_y0 [4]"): "test_comparisons_of_openvino_drop_nan",
    ("jax", "abs_4 gradient abs_4_x [3]"): "test_the_slope_of_jax_at_a_kink",
    ("jax", "l1_norm_5 gradient l1_norm_5_x [0, 1, 2, 4, 8]"): "test_the_slope_of_jax_at_a_kink",
    ("jax", "leaky_relu_3 gradient leaky_relu_3_x [2]"): "test_the_slope_of_jax_at_a_kink",
    ("jax", "pow_2 gradient pow_2_a [0]"): "test_no_number_is_the_slope_of_a_power_of_zero",
    ("keras", "pow_2 gradient pow_2_a [0]"): "test_no_number_is_the_slope_of_a_power_of_zero",
    ("keras", "pow_2 gradient pow_2_b [3, 5]"): "test_no_number_is_the_slope_of_a_power_of_zero",
    ("jax", "l2_norm_5 gradient l2_norm_5_x [0, 1, 2]"): "test_no_number_is_the_slope_of_a_root",
    ("keras", "l2_norm_5 gradient l2_norm_5_x [0, 1, 2]"): "test_no_number_is_the_slope_of_a_root",
    ("jax", "std_5 gradient std_5_x [0, 1, 2]"): "test_no_number_is_the_slope_of_a_root",
    ("keras", "std_5 gradient std_5_x [0, 1, 2]"): "test_no_number_is_the_slope_of_a_root",
    ("keras", "logaddexp_2 gradient logaddexp_2_a [0, 2]"): "test_the_slope_of_keras_at_a_kink",
    ("keras", "logaddexp_2 gradient logaddexp_2_b [0, 2]"): "test_the_slope_of_keras_at_a_kink",
    ("keras", "fmod_5 gradient fmod_5_a [4]"): "test_the_slope_of_keras_at_a_kink",
    ("keras", "selu_3 gradient selu_3_x [2]"): "test_the_slope_of_keras_at_a_kink",
    ("keras", "selu_4 gradient selu_4_x [2]"): "test_the_slope_of_keras_at_a_kink",
}  # fmt: skip
"""(target, sample, tensor, elements) -> the probe that shows the framework differ there."""

ON_A_STEP = frozenset({
    ("jax", "clamp_1 gradient clamp_1_x [0, 2]"),
    ("jax", "hard_tanh_3 gradient hard_tanh_3_x [1, 3]"),
    ("jax", "max_norm_5 gradient max_norm_5_x [0, 1, 2]"),
    ("jax", "mae_3 gradient mae_3_x [0]"), ("jax", "mae_3 gradient mae_3_target [0]"),
})  # fmt: skip
"""Where JAX differs at a kink, and rounding to f32 may cross it."""


@pytest.mark.parametrize("batch", BATCHES, ids=map(str, BATCHES))
def test_every_cell(batch: Batch, pool: Pool, tmp_path: Path) -> None:
    pool.start(TARGETS)
    differing: set[tuple[str, str]] = set()
    refused: dict[tuple[str, str], set[int]] = {}
    for target in TARGETS:
        found = judged(batch, target, pool, tmp_path)
        for (case, key), (row, places) in found.different.items():
            what = title(case, key, places)
            differing.add((target, what))
            if (target, what) not in DIFFERS:
                print(f"{target}: {what}: {row.ratio:.3g}, {row.note}")
        for case, error in found.refused.items():
            refused.setdefault((case.op.name, target), set()).add(case.number)
            print(f"{target}: {case.title} is refused: {error.message}")
        assert not found.unseen, f"{target}: noise covers {found.unseen}"
        assert not batch.missing(found), f"{target} does not give {batch.missing(found)}"
    assert differing == _differing(batch, *TARGETS)
    assert refused == _wanted(batch.cases)


@pytest.mark.proof
@pytest.mark.parametrize("batch", BATCHES, ids=map(str, BATCHES))
def test_the_gradients_of_jax_in_float64(batch: Batch, tmp_path: Path) -> None:
    with jax.enable_x64(True):
        found = {
            ("jax", title(case, key, places))
            for case, key, places in in_float64(batch, tmp_path)
            if places
        }
    titles = {case.title for case in batch.cases}
    steps = {each for each in ON_A_STEP if each[1].split()[0] in titles}
    assert found == _differing(batch, "jax") | steps


def _differing(batch: Batch, *targets: str) -> set[tuple[str, str]]:
    """What is in the table for samples of the batch."""
    titles = {case.title for case in batch.cases}
    return {each for each in DIFFERS if each[1].split()[0] in titles and each[0] in targets}


def title(case: Case, key: Key, places: tuple[int, ...]) -> str:
    """`abs_4 gradient abs_4_x [3]`."""
    return f"{case.title} {key.kind.split()[-1]} {key.name} {list(places)}"


def _wanted(samples: list[Case]) -> dict[tuple[str, str], set[int]]:
    """What is to be refused of these samples."""
    wanted = {
        key: {case.number for case in samples if case.op.name == key[0]} & {*refusal.samples}
        for key, refusal in REFUSED.items()
    }
    return {key: numbers for key, numbers in wanted.items() if numbers}


def test_every_exception_has_its_probe() -> None:
    probes = {*DIFFERS.values(), *(refusal.probe for refusal in REFUSED.values())}
    assert sorted(name for name in probes if not callable(getattr(test_probes, name, None))) == []


def test_few_cells_are_refused() -> None:
    cells = [found for op in OPS.values() for found in support(op).values()]
    assert len(cells) == len(OPS) * len(TARGETS)
    assert sum(found.form == "refused" for found in cells) <= 0.03 * len(cells)
    assert sum(found.refused > 0 for found in cells) <= 0.03 * len(cells)
