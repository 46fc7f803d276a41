"""What holds of all emitted source: examples in each target that is text, and more in PyTorch."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import mlc
from mlc.compiler.graph import Graph
from tests.backends.architectures import ARCHITECTURES
from tests.backends.models import MODELS
from tests.backends.stores import dead_stores
from tests.backends.structures import STRUCTURES

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.mdl"))
TARGETS = ("pytorch", "keras", "jax", "openvino")
HANDWRITTEN = ("tiny_resnet", "gpt")

FILES = [(name, target) for name in EXAMPLES for target in TARGETS]
MORE = {**MODELS, **STRUCTURES, **ARCHITECTURES}
FILES += [(name, "pytorch") for name in MORE]
every = pytest.mark.parametrize(("name", "target"), FILES, ids=[f"{n}-{t}" for n, t in FILES])
handwritten = pytest.mark.parametrize(
    ("name", "target"), [(name, target) for name in HANDWRITTEN for target in TARGETS]
)

_sources: dict[tuple[str, str], str] = {}


def graph(name: str) -> Graph:
    path = ROOT / "examples" / f"{name}.mdl"
    return mlc.load(path if path.exists() else MORE[name])


def source(name: str, target: str) -> str:
    if (name, target) not in _sources:
        _sources[name, target] = mlc.compile(graph(name), target, name=name).source
    return _sources[name, target]


def written_by_hand(name: str, target: str) -> str:
    return (ROOT / "tests" / "handwritten" / target / f"{name}.py").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, as <target>_<name>.py."""
    made = tmp_path_factory.mktemp("emitted")
    for name, target in FILES:
        (made / f"{target}_{name}.py").write_text(source(name, target))
    return made


def test_ruff_finds_nothing(folder: Path) -> None:
    ruff = [str(Path(sys.executable).parent / "ruff")]
    options = ["--isolated", "--line-length=100", "--no-cache", str(folder)]
    checked = [*ruff, "check", "--select=F,E,B,I", "--output-format=concise", *options]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    laid_out = [*ruff, "format", "--check", *options]
    done = subprocess.run(laid_out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_mypy_finds_nothing_in_pytorch_files(folder: Path) -> None:
    """Strictly, but for what PyTorch leaves open: modules give Any, some methods no type."""
    files = sorted(map(str, folder.glob("pytorch_*.py")))
    options = ["--strict", "--no-warn-return-any", "--allow-untyped-calls", "--config-file="]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'emitted'}"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, cache, *files],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# ----------------------------------------------------------------------------------- every file

ALLOWED = frozenset(
    {"collections", "functools", "itertools", "math", "pathlib", "typing"}
    | {"numpy", "safetensors", "torch"}
    | {"keras", "jax", "flax", "openvino", "ml_dtypes"}
)


@every
def test_it_stands_alone(name: str, target: str) -> None:
    tree = ast.parse(source(name, target))
    modules = {
        module.partition(".")[0]
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert modules <= ALLOWED
    assert "build" in [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]


@every
def test_names_are_safe(name: str, target: str) -> None:
    tree = ast.parse(source(name, target))
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } & set(dir(builtins))
    own = set(_defined(tree))
    assert not own & (imported | called), own & (imported | called)
    assert all(each.isidentifier() and not keyword.iskeyword(each) for each in own)


@every
def test_every_value_is_read(name: str, target: str) -> None:
    assert dead_stores(source(name, target)) == []


def _defined(tree: ast.AST) -> Iterator[str]:
    """Every name that the file defines: classes, functions, arguments, variables."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


@every
def test_each_block_is_a_class_or_function_that_says_its_shapes(name: str, target: str) -> None:
    blocks = {
        node.scope.block.definition.name
        for node in graph(name)
        if node.scope.block.definition is not None
    }
    tree = ast.parse(source(name, target))
    found = {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    for block in blocks:
        likely = [n for n in found if re.sub(r"\W|_|\d+$", "", n.lower()) == _plain(block)]
        assert likely, f"no {block} among {list(found)}"
        assert any("->" in found[n] for n in likely), f"{block} does not say its shapes"
    assert len({doc for doc in found.values() if "->" in doc}) >= 1
    assert ast.get_docstring(tree)


def _plain(block: str) -> str:
    return re.sub(r"_|\d+$", "", block.lower())


@every
def test_what_an_object_keeps_it_reads(name: str, target: str) -> None:
    for made in ast.walk(ast.parse(source(name, target))):
        if not isinstance(made, ast.ClassDef):
            continue
        own = [n for n in ast.walk(made) if isinstance(n, ast.Attribute) and _is_self(n.value)]
        stored = {n.attr for n in own if isinstance(n.ctx, ast.Store)}
        read = {n.attr for n in own if isinstance(n.ctx, ast.Load)}
        assert stored <= read, f"{made.name} never reads {stored - read}"


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


# --------------------------------------------------------------------------- defaults in PyTorch

ALWAYS = {"eps", "momentum", "negative_slope", "count_include_pad", "p"}
"""Written even where PyTorch takes the same by itself: other frameworks take something else."""


@pytest.mark.parametrize("name", [name for name, target in FILES if target == "pytorch"])
def test_no_default_is_written_without_need(name: str) -> None:
    spaces = {"nn": torch.nn, "F": torch.nn.functional, "torch": torch}
    for call in ast.walk(ast.parse(source(name, "pytorch"))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        space = spaces.get(call.func.value.id) if isinstance(call.func.value, ast.Name) else None
        try:
            known = inspect.signature(getattr(space, call.func.attr)).parameters
        except (TypeError, ValueError, AttributeError):
            continue
        for given in call.keywords:
            if given.arg in ALWAYS or not isinstance(given.value, ast.Constant):
                continue
            default = known[given.arg].default if given.arg in known else inspect.Parameter.empty
            assert not _same(given.value.value, default), ast.unparse(call)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


# ----------------------------------------------------------------------- beside handwritten files


def _statements(text: str) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))


@handwritten
def test_it_is_as_short_as_by_hand(name: str, target: str) -> None:
    assert _statements(source(name, target)) <= 1.15 * _statements(written_by_hand(name, target))


OTHERS = {"Sequential", "ModuleList", "List", "Identity", "Module", "Add", "Initializer"} | {
    "Rngs", "Param", "BatchStat",
}  # fmt: skip
"""What is no layer, or what an operator says as well."""

LAYERS = re.compile(r"\b(?:nn|nnx|keras\.layers)\.([A-Z]\w+)")


@handwritten
def test_it_is_made_of_the_same_layers_as_by_hand(name: str, target: str) -> None:
    if target == "openvino":
        pattern = re.compile(r"\bops\.(\w*(?:conv|norm|matmul|attention|mvn|pool)\w*)")
    else:
        pattern = LAYERS
    emitted, wanted = (
        {layer for layer in pattern.findall(text)} - OTHERS
        for text in (source(name, target), written_by_hand(name, target))
    )
    assert emitted == wanted


def test_resnet_50_is_short() -> None:
    text = source("resnet", "pytorch")
    tree = ast.parse(text)
    docs = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
    ]
    quoted = {n for d in docs for n in range(d.lineno, (d.end_lineno or d.lineno) + 1)}
    lines = [line for i, line in enumerate(text.splitlines(), 1) if i not in quoted]
    assert sum(bool(line.strip()) for line in lines) <= 195
