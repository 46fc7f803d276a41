"""What the documents show is what happens: commands parse, code runs, emitted code is emitted.

The emitted code in README.md is rewritten by `pytest tests/house/test_docs.py --update-golden`.
"""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
from pathlib import Path

import pytest

import mlc
from mlc.cli import parse

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"<!-- emitted: (\w+) (\w+) (\w+) -->\n```(\w*)\n(.*?)```\n", re.DOTALL)


def _emitted(example: str, target: str, name: str) -> str:
    """The class or function `name` of what is emitted for an example; the source for `mdl`."""
    path = ROOT / "examples" / f"{example}.mdl"
    if target == "mdl":
        (found,) = re.findall(rf"^block {name}\(.*?\n(?=\S)", path.read_text() + "\n.", re.M | re.S)
        return found.rstrip() + "\n"
    source = mlc.compile(mlc.load(path), target).source
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
            return textwrap.dedent("\n".join(lines)) + "\n"
    raise AssertionError(f"no {name} is emitted for {target}")


@pytest.mark.parametrize("found", SHOWN.findall(README.read_text()), ids=lambda f: f[1])
def test_emitted_code_is_what_is_emitted(
    found: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    example, target, name, language, text = found
    code = _emitted(example, target, name)
    if request.config.getoption("--update-golden"):
        head = f"<!-- emitted: {example} {target} {name} -->\n```{language}\n"
        README.write_text(README.read_text().replace(f"{head}{text}```", f"{head}{code}```"))
        return
    assert text == code


def test_four_frameworks_are_shown() -> None:
    shown = [target for _, target, *_ in SHOWN.findall(README.read_text())]
    assert shown == ["mdl", "pytorch", "keras", "jax", "openvino"]


def test_commands_in_the_readme_are_commands() -> None:
    lines = re.findall(r"^mlc [a-z]+ .*(?=  #|$)", README.read_text(), re.MULTILINE)
    lines = [line for line in lines if "--" in line or ".mdl" in line]
    assert len(lines) >= 4
    for line in lines:
        options = parse(line.partition("#")[0].split()[1:])
        if hasattr(options, "file"):
            assert (ROOT / options.file).exists()


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(import mlc\n.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "out" / "mnist_pytorch" / "mnist.py").exists()


def test_the_operator_of_the_recipe_works_on_the_day_it_is_declared() -> None:
    """A graph takes it as it stands there, and its body and its eval agree."""
    from mlc.compiler.array import np
    from mlc.compiler.graph import Graph, Input, Scope, Type
    from mlc.compiler.op import Build, Config, Op
    from mlc.compiler.ops import OPS
    from mlc.compiler.run import run

    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"   ```python\n(   SQUASH.*?)   ```", text, re.DOTALL)
    names = {key.upper(): op for key, op in OPS.items()}
    exec(textwrap.dedent(code), names := {**names, "np": np, "Op": Op, "Config": Config})
    graph = Graph("Squashed", Scope("model"))
    x = Input("x", Type("f32", (3,)))
    graph.inputs.append(x)
    b = Build(graph)
    graph.outputs["y"] = b(names["SQUASH"], x, scale=2.0)
    graph.outputs["z"] = names["SQUASH"].body(b, x, scale=2.0)
    found = run(graph, {"x": np.array([-100.0, 0.5, 3.0])}, {}).outputs
    assert np.allclose(found["y"], found["z"], rtol=1e-15)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    rooms = "backends|compiler|equivalence|examples|frontends|grammar|mlc|tests"
    for name in re.findall(rf"`((?:{rooms})/[\w./]*)`", text):
        assert (ROOT / name).exists(), name
