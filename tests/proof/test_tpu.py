"""Files for TPUs: what they multiply when lowered, and that bfloat16 explains how far off they are.

Two examples here, all of them under the marker `proof`.
"""

from pathlib import Path

import pytest

import mlc
from mlc.compiler.graph import Graph
from mlc.equivalence import Report, verify
from mlc.equivalence.case import MODES
from mlc.equivalence.compare import ROUGH
from mlc.equivalence.engines.pool import Pool
from mlc.request import emitted
from tests.proof.examples import CONFIG, load

pytestmark = pytest.mark.xdist_group("engines")

TINY = {"vocab": 11, "D": 8, "layers": 1, "heads": 2}
EXAMPLES = {
    "mnist": {"width": 8},
    "gpt": TINY,
}
FOLDER = Path(__file__).parents[2] / "examples"


def run(
    graph: Graph, pool: Pool, directory: Path, old: str = "", new: str = "", **options: object
) -> Report:
    """What verify finds in the file for TPUs, with `new` in the place of `old`."""
    pool.start(["jax"])
    folder = Path(str(emitted(graph, "jax", str(directory), MODES, tpu=True)))
    for file in folder.glob("*.py") if old else ():
        text = file.read_text()
        assert old in text or file.name == "__init__.py"
        file.write_text(text.replace(old, new))
    return verify(graph, {"jax": folder}, pool=pool, for_tpu=True, **options)  # type: ignore[arg-type]


def check(report: Report) -> None:
    """All that is seen is equal, and outputs and products are."""
    report.assert_equivalent()
    assert report.limit == ROUGH
    products = [row for row in report.rows if row.kind == "product"]
    assert {row.mode for row in products} == {*MODES}
    assert {row.name.split()[-1] for row in products} == {"forward", "gradient"}
    assert {row.verdict for row in report.rows if row.kind == "output"} == {"equal"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_within_the_rounding_of_bfloat16(
    pool: Pool, tmp_path: Path, name: str
) -> None:
    graph = mlc.load(FOLDER / f"{name}.mdl", **EXAMPLES[name])
    check(run(graph, pool, tmp_path, sizes=1))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("dtype=jnp.bfloat16, ", "", "2 dot_general of the forward"),
        ("nnx.relu(", "nnx.silu(", "linear1"),
    ],
    ids=["in float32", "activation"],
)
def test_a_fault_is_seen(pool: Pool, tmp_path: Path, old: str, new: str, found: str) -> None:
    graph = mlc.load(FOLDER / "mnist.mdl", width=8)
    report = run(graph, pool, tmp_path, old, new, sizes=1, modes=["inference"])
    assert report.exit_code == 1
    with pytest.raises(AssertionError, match=found):
        report.assert_equivalent()


@pytest.mark.proof
@pytest.mark.parametrize("name", CONFIG)
def test_every_example_is_within_the_rounding_of_bfloat16(
    pool: Pool, tmp_path: Path, name: str
) -> None:
    check(run(load(name), pool, tmp_path))
