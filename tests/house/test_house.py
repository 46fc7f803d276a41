"""The rules of the house, each held by a few lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlc.compiler.ops import OPS

ROOT = Path(__file__).parents[2]
ROOMS = ("backends", "compiler", "equivalence", "frontends", "grammar")
MAY_IMPORT = {
    "grammar": set(),
    "compiler": set(),
    "frontends": {"compiler", "grammar"},
    "backends": {"compiler"},
    "equivalence": {"compiler", "backends"},
    "mlc": {"", *ROOMS},
}
"""Room -> the rooms that it may import; "" is the package itself."""

FRAMEWORKS = {
    "keras": "keras", "tensorflow": "keras", "torch": "pytorch", "jax": "jax", "flax": "jax",
    "openvino": "openvino", "onnx": "onnx", "onnxruntime": "onnx",
}  # fmt: skip
"""Module -> the target whose engine and frontend may import it."""


HOMES = (("equivalence", "engines"), ("backends", "onnx"))
"""Where the files of a framework run it; those of ONNX are a format that its package writes."""

HEAVY = {"hypothesis", "ml_dtypes", "numpy", "rich", "safetensors"}
"""What a command that does not need it must not wait for."""


def _files(*folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


PACKAGE = _files(*ROOMS) + sorted((ROOT / "mlc").glob("*.py"))
OURS = PACKAGE + [p for p in _files("tests", "benchmarks") if "golden" not in p.parts]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _at_import(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        yield from _at_import(node)


def _modules(node: ast.AST) -> list[str]:
    """The top-level modules that an absolute import names."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.partition(".")[0]]
    return []


def _rooms(path: Path, node: ast.AST) -> list[str]:
    """The rooms that a relative import in `path` leads to."""
    if not isinstance(node, ast.ImportFrom) or node.level == 0:
        return []
    package = ["mlc", *(part for part in path.relative_to(ROOT).parent.parts if part != "mlc")]
    home = package[: len(package) - node.level + 1]
    assert home, f"{_name(path)}:{node.lineno} leaves the package"
    if len(home) > 1:
        return [home[1]]
    if node.module:
        return [node.module.partition(".")[0]]
    return [alias.name for alias in node.names]


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_imports_lead_only_where_they_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        assert "mlc" not in _modules(node), f"line {node.lineno}: imports of mlc are relative"
        for other in _rooms(path, node):
            allowed = other == room or other in MAY_IMPORT[room] or room == "mlc"
            assert allowed, f"line {node.lineno}: {room} must not import {other}"


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_frameworks_are_imported_only_where_they_run(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in _at_import(ast.parse(path.read_text())):
        for module in _modules(node):
            target = FRAMEWORKS.get(module)
            at_home = parts[:2] in HOMES or parts[0] == "frontends"
            assert target is None or (at_home and target in parts), f"line {node.lineno}: {module}"


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_what_is_heavy_is_imported_when_needed(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    heavy = HEAVY if parts[:2] == ("frontends", "mdl") else HEAVY | {"lark"}
    for node in _at_import(ast.parse(path.read_text())):
        assert parts[0] == "equivalence" or not heavy & set(_modules(node)), f"line {node.lineno}"


@pytest.mark.parametrize("path", OURS, ids=_name)
def test_rooms_do_not_become_halls(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has more than 60 lines"


@pytest.mark.parametrize("path", PACKAGE, ids=_name)
def test_modules_say_what_they_are_for(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "base", "common", "misc"}
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert not {"TODO", "FIXME", "XXX", "NotImplementedError"} & set(text.split())


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_is_declared_whole(op) -> None:
    assert op.samples, "no samples"
    assert op.doc, "no doc"
    assert op.doc[-1] == ".", "its doc is no sentence"
    assert OPS[op.name] is op
    assert (op.params is not None) == bool(op.weights)


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    named = {"mlc", "house", "golden", "handwritten", "examples", "proof"}
    assert folders - {"__pycache__"} <= {*ROOMS, *named}
