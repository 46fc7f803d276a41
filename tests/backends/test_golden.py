"""The source that every example is compiled to, as files that can be read, linted and run.

Rewritten by `pytest tests/backends/test_golden.py --update-golden`; look at the difference.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

import mlc
from mlc.compiler.graph import Graph

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = sorted((ROOT / "examples").glob("*.mdl"))
GRADIENTS = [path for path in EXAMPLES if path.stem in ("lenet", "mnist")]
FUNCTIONAL = [path for path in EXAMPLES if path.stem in ("gpt", "tiny_resnet")]
CASES = [(path, target) for path in EXAMPLES for target in ("pytorch", "keras", "jax", "openvino")]


@cache
def loaded(path: Path) -> Graph:
    """The example, which no compilation changes."""
    return mlc.load(path)


@pytest.mark.parametrize(("path", "target"), CASES, ids=[f"{p.stem}-{t}" for p, t in CASES])
def test_it_is_compiled_as_before(path: Path, target: str, request: pytest.FixtureRequest) -> None:
    artefact = mlc.compile(loaded(path), target, name=path.stem)
    place = GOLDEN / artefact.folder / f"{artefact.name}.py"
    if request.config.getoption("--update-golden"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(artefact.source)
    assert place.read_text() == artefact.source


OTHERS: list[tuple[Path, str, dict[str, Any], str]] = [
    *((path, "openvino", {"gradients": True}, "gradients") for path in GRADIENTS),
    *((path, "jax", {"style": "functional"}, "functional") for path in FUNCTIONAL),
    (ROOT / "examples/gpt.mdl", "jax", {"tpu": True, "scan_layers": True}, "tpu"),
    (ROOT / "examples/tiny_resnet.mdl", "jax", {"tpu": True}, "tpu"),
    (ROOT / "examples/resnet.mdl", "jax", {"scan_layers": True}, "scan"),
    (
        ROOT / "examples/efficientnet.mdl",
        "jax",
        {"style": "functional", "tpu": True, "scan_layers": True},
        "functional_tpu",
    ),
]
"""What is compiled with options: the last is what the folder is called by."""


@pytest.mark.parametrize(
    ("path", "target", "options", "label"), OTHERS, ids=[f"{o[0].stem}-{o[3]}" for o in OTHERS]
)
def test_with_options_it_is_compiled_as_before(
    path: Path, target: str, options: dict[str, Any], label: str, request: pytest.FixtureRequest
) -> None:
    artefact = mlc.compile(loaded(path), target, name=path.stem, **options)
    place = GOLDEN / f"{artefact.folder}_{label}" / f"{artefact.name}.py"
    if request.config.getoption("--update-golden"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(artefact.source)
    assert place.read_text() == artefact.source


def test_every_file_is_that_of_an_example(request: pytest.FixtureRequest) -> None:
    wanted = {f"{path.stem}_{target}" for path, target in CASES}
    wanted |= {f"{path.stem}_{target}_{label}" for path, target, _, label in OTHERS}
    stale = [folder for folder in GOLDEN.iterdir() if folder.name not in wanted]
    if request.config.getoption("--update-golden"):
        for folder in stale:
            rmtree(folder)
        stale = []
    assert stale == []
