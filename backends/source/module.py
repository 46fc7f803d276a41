"""A file from its pieces: docstring, imports, classes and functions; formatted by ruff."""

from __future__ import annotations

import ast
import re
import subprocess
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import Dim, symbols
from ...compiler.graph import Fact
from ...compiler.passes.outline.sizes import OPAQUE
from ...compiler.program import Class, Var
from .. import TARGETS
from .tree import text

LINE = 100


def block(statements: Iterable[ast.stmt], indent: int) -> str:
    """Statements as text, indented by so many levels."""
    lines = "\n".join(_statement(s) for s in statements) or "pass"
    return textwrap.indent(lines, "    " * indent)


def _statement(statement: ast.stmt) -> str:
    """`return a, b` without the parentheses that trees are shown with."""
    match statement:
        case ast.Return(value=ast.Tuple(elts=[_, _, *_] as values)):
            return f"return {', '.join(text(v) for v in values)}"
        case ast.FunctionDef(name=name, args=arguments, body=body):
            return f"def {name}({text(arguments)}):\n{block(body, 1)}"
    return text(statement)


def docstring(content: str) -> str:
    """A docstring literal: nothing in `content` can end it early."""
    plain = content.rstrip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    end = "\n" if "\n" in plain else " " if plain.endswith('"') else ""
    return f'"""{plain}{end}"""'


def title(cls: Class, target: str, *, without: str = "") -> str:
    """The docstring of the file: the model, its comment, and the versions it was verified with, but
    for that of a package that it does `without`."""
    doc = " ".join(cls.doc.split()).rstrip(".:")
    named = doc.lower().startswith(cls.name.lower())
    known = TARGETS[target].versions.items()
    versions = " and ".join(f"{k} {v}" for k, v in known if k != without)
    first = doc if named or not doc else f"{cls.name}: {_lower(doc)}"
    lines = [f"{first or f'{cls.name}, written by mlc'}.", "", f"Verified with {versions}."]
    wrapped = [part for line in lines for part in (textwrap.wrap(line, LINE - 4) or [""])]
    return docstring("\n".join(wrapped))


def _lower(sentence: str) -> str:
    """`A network` as `a network`; a name or abbreviation at the start stays."""
    word = sentence.split()[0]
    plain = word[1:] == word[1:].lower() and word.isalpha()
    return f"{sentence[0].lower()}{sentence[1:]}" if plain else sentence


def describe(cls: Class, orders: bool = True, facts: Iterable[Fact] = (), *, verb: str = "") -> str:
    """`Image (B, 3, H, W) -> logits (B, classes)`, under the comment above a block, if any.

    A model's comment stands at the head of the file. `facts` are shown where a size first stands;
    `verb` says what a model does, where it is not called.
    """
    limits = dict(_limits(facts))
    plain = (ast.Subscript, ast.Call)
    told = {n: expr.show(e) for n, e in cls.chosen.items() if isinstance(e, plain)}
    short = all(len(name) == 1 for name in (*cls.inputs, *cls.outputs)) and len(cls.inputs) == 1
    ins = ", ".join(_port(n, v, orders, short, limits, told) for n, v in cls.inputs.items())
    outs = ", ".join(_port(n, v, orders, short, limits, told) for n, v in cls.outputs.items())
    shapes = f"{ins} -> {outs}"
    doc = "" if cls.definition.kind == "model" else cls.doc.strip()
    if not doc:
        shown = f"{verb}: {shapes}" if verb else shapes
        if not verb and len(next(iter(cls.inputs), "")) > 1:
            shown = f"{shapes[0].upper()}{shapes[1:]}"
        return _wrapped(f"{shown}.")
    first = " ".join(doc.split()).rstrip(".:")
    whole = f"{first}: {shapes}."
    return (
        whole if len(whole) < LINE - 13 else f"{_wrapped(first)}.\n\n    {_wrapped(shapes)}.\n    "
    )


def _limits(facts: Iterable[Fact]) -> Iterator[tuple[str, str]]:
    """`T <= 1024` and the like, by the size that they limit."""
    for fact in facts:
        left, right = str(fact.left), str(fact.right)
        if fact.relation == "<=" and left.isidentifier():
            yield left, f"{left} <= {right}"
        elif fact.relation == "<=" and right.isidentifier():
            yield right, f"{right} >= {left}"


def _wrapped(line: str) -> str:
    return "\n    ".join(textwrap.wrap(line, LINE - 12))


def _port(
    name: str,
    var: Var,
    orders: bool,
    short: bool,
    limits: dict[str, str],
    told: Mapping[str, str],
) -> str:
    """`logits (B, classes)`; a limit is shown once."""
    order = var.order if orders and var.order else range(var.type.rank)
    sizes = [limits.pop(size, size) for size in (_size(var.type.shape[i], told) for i in order)]
    shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
    return shape if short else f"{name} {shape}"


def _size(size: Dim, told: Mapping[str, str]) -> str:
    """`ceil(H / 2)` for `(H - 1) // 2 + 1`, `?` for a size that no name gives; `told` are elements
    of lists that have names of their own."""
    shown = str(size)
    if nameless(size):
        return told.get(shown, "?")
    for pattern in (r"\((\w+) - 1\) // (\w+) \+ 1", r"\((\w+) \+ 1\) // (2)"):
        if found := re.fullmatch(pattern, shown):
            return f"ceil({found[1]} / {found[2]})"
    return shown


def nameless(size: Dim) -> bool:
    """Whether a size has no expression in names of its class."""
    return any(name.startswith(OPAQUE) for name in symbols(size))


def formatted(source: str) -> str:
    """The source as `ruff format` lays it out, imports sorted."""
    command = [
        _ruff(),
        "format",
        "--isolated",
        f"--line-length={LINE}",
        "--stdin-filename=m.py",
        "-",
    ]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MlcError("internal", f"emitted code does not parse: {done.stderr.strip()}")
    return done.stdout


@lru_cache(maxsize=1)
def _ruff() -> str:
    from ruff.__main__ import find_ruff_bin  # type: ignore[import-untyped]

    return str(find_ruff_bin())


def join(parts: Sequence[str]) -> str:
    """The top-level pieces of a file, two lines apart."""
    return "\n\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
