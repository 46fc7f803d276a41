"""Models whose course data decide, on all targets: results, gradients, and what the text says."""

from __future__ import annotations

import pytest

import mlc
from mlc.equivalence.engines.pool import Pool
from mlc.request import verify
from tests.backends.control import CONTROL

TARGETS = ("pytorch", "jax", "keras", "openvino", "onnx")


@pytest.mark.parametrize("name", CONTROL)
def test_models_are_the_same_on_all_targets(name: str, pool: Pool) -> None:
    pool.start(TARGETS)
    report = verify(mlc.load(CONTROL[name]), TARGETS, None, 1, ["inference"], None, pool=pool)
    report.assert_equivalent()
    assert not [str(unseen) for unseen in report.unseen if unseen.target]
    kinds = {(row.target, row.kind) for row in report.rows if row.verdict == "equal"}
    assert {(target, kind) for target in TARGETS for kind in ("output", "input gradient")} <= kinds
