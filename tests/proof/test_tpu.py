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
SCANNED = [
    "gpt", "vit", "bert", "convnext", "t5", "llama", "moe", "resnet18", "resnet50", "efficientnet",
]  # fmt: skip
FOLDER = Path(__file__).parents[2] / "examples"


def run(
    graph: Graph,
    pool: Pool,
    directory: Path,
    old: str = "",
    new: str = "",
    style: str | None = None,
    **options: object,
) -> Report:
    """What verify finds in the file for TPUs, with `new` in the place of `old`."""
    pool.start(["jax"])
    made = emitted(graph, "jax", str(directory), MODES, tpu=True, style=style)
    folder = Path(str(made))
    for file in folder.glob("*.py") if old else ():
        text = file.read_text()
        assert old in text or file.name == "__init__.py"
        file.write_text(text.replace(old, new))
    return verify(graph, {"jax": folder}, pool=pool, for_tpu=True, **options)  # type: ignore[arg-type]


def check(report: Report) -> None:
    """All that is seen is equal: all products, and in each mode outputs at some sizes."""
    report.assert_equivalent()
    assert report.limit == ROUGH
    products = [row for row in report.rows if row.kind == "product"]
    assert {row.mode for row in products} == {*MODES}
    assert {row.name.split()[-1] for row in products} == {"forward", "gradient"}
    outputs = {(row.mode, row.verdict) for row in report.rows if row.kind == "output"}
    assert {mode for mode, verdict in outputs if verdict == "equal"} == {*MODES}


@pytest.mark.parametrize(("name", "style"), [("mnist", None), ("gpt", None), ("gpt", "functional")])
def test_an_example_is_within_the_rounding_of_bfloat16(
    pool: Pool, tmp_path: Path, name: str, style: str | None
) -> None:
    graph = mlc.load(FOLDER / f"{name}.mdl", **EXAMPLES[name])
    check(run(graph, pool, tmp_path, style=style, sizes=1))


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


STYLES = [None, "functional"]
NESTED = """block Inner(width):
    in  x: f32[B, D]
    in  k: f32[B, D]
    out y: like x
    y = x + (x -> linear(width) -> batch_norm -> relu -> linear(D)) * k

block Outer(count, width, drop = 0.1):
    in  x: f32[B, D]
    in  k: f32[B, D]
    out y: like x
    h = x
    repeat count:
        h = Inner(width)(h, k)
    y = h + (h -> layer_norm -> dropout(drop))

block Wide(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> batch_norm -> tanh

model Nested(D = 6, count = 2, outer = 3):
    in  x: f32[B, D]
    in  k: f32[B, D]
    out y: f32[B, D]
    h = x -> linear(D, bias = false)
    repeat outer:
        h = Outer(count, 2 * D)(h, k)
    for width, more in [(4, 0), (8, 2)]:
        h = h -> Wide(width)
        repeat more:
            h = h -> Wide(width)
    y = h -> linear(D)
"""


@pytest.mark.parametrize("style", STYLES)
def test_stacked_blocks_are_equal_to_those_one_by_one(
    pool: Pool, tmp_path: Path, style: str | None
) -> None:
    graph = mlc.load(NESTED)
    pool.start(["jax"])
    folder = emitted(graph, "jax", str(tmp_path), MODES, scan_layers=True, style=style)
    report = verify(graph, {"jax": folder}, pool=pool, sizes=1)
    report.assert_equivalent()
    assert {row.verdict for row in report.rows} == {"equal"}
    kinds = ("output", "input gradient", "parameter gradient", "update", "dropout")
    assert {row.kind for row in report.rows} == {*kinds}


@pytest.mark.proof
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SCANNED)
def test_every_example_with_equal_layers_is_scanned(
    pool: Pool, tmp_path: Path, name: str, style: str | None
) -> None:
    graph = load(name)
    pool.start(["jax"])
    for tpu in (False, True):
        place = str(tmp_path / str(tpu))
        folder = emitted(graph, "jax", place, MODES, tpu=tpu, scan_layers=True, style=style)
        verify(graph, {"jax": folder}, pool=pool, for_tpu=tpu).assert_equivalent()


@pytest.mark.proof
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", CONFIG)
def test_every_example_is_within_the_rounding_of_bfloat16(
    pool: Pool, tmp_path: Path, name: str, style: str | None
) -> None:
    check(run(load(name), pool, tmp_path, style=style))
