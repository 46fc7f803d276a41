"""JAX files in the functional style: every example, and every model of the tests of backends."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlc
from mlc.equivalence import verify
from mlc.equivalence.case import MODES
from mlc.equivalence.engines.pool import Pool
from mlc.request import emitted
from tests.backends.architectures import ARCHITECTURES
from tests.backends.control import CONTROL
from tests.backends.models import MODELS
from tests.backends.structures import STRUCTURES
from tests.proof.examples import CONFIG, load

pytestmark = [pytest.mark.xdist_group("engines"), pytest.mark.proof]

TEXTS = {
    f"{kind}-{name}": text
    for kind, texts in (
        ("model", MODELS), ("structure", STRUCTURES), ("architecture", ARCHITECTURES),
        ("control", CONTROL),
    )
    for name, text in texts.items()
}  # fmt: skip


@pytest.mark.parametrize("name", [*CONFIG, *TEXTS])
def test_a_model_is_equal_as_functions(pool: Pool, tmp_path: Path, name: str) -> None:
    """Outputs, gradients, new states and dropout, in both modes, at two choices of sizes."""
    graph = mlc.load(TEXTS[name]) if name in TEXTS else load(name)
    pool.start(["jax"])
    folder = emitted(graph, "jax", str(tmp_path), MODES, style="functional")
    report = verify(graph, {"jax": folder}, pool=pool)
    report.assert_equivalent()
    assert [row for row in report.rows if row.verdict not in ("equal", "unseen")] == []
