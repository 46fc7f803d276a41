"""A file from its pieces: docstring, imports, classes and functions; formatted by ruff."""

from __future__ import annotations

import ast
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ...compiler.diagnose import MlcError
from ...compiler.program import Class, Var
from .tree import text

LINE = 100


def block(statements: Iterable[ast.stmt], indent: int) -> str:
    """Statements as text, indented by so many levels."""
    lines = "\n".join(text(s) for s in statements) or "pass"
    return textwrap.indent(lines, "    " * indent)


def docstring(content: str) -> str:
    """A docstring literal: nothing in `content` can end it early."""
    plain = content.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    end = "\n" if "\n" in plain else " " if plain.endswith('"') else ""
    return f'"""{plain}{end}"""'


def describe(cls: Class, orders: bool = True) -> str:
    """`Image (B, 3, H, W) -> logits (B, classes)`, under the comment above the block, if any."""
    ins = ", ".join(_port(name, var, orders) for name, var in cls.inputs.items())
    outs = ", ".join(_port(name, var, orders) for name, var in cls.outputs.items())
    shapes = f"{ins} -> {outs}"
    if not cls.doc:
        return f"{shapes[0].upper()}{shapes[1:]}."
    first = cls.doc.strip().splitlines()[0].rstrip(".:")
    whole = f"{first}: {shapes}."
    return whole if len(whole) < LINE - 12 else f"{first}.\n\n{shapes[0].upper()}{shapes[1:]}."


def _port(name: str, var: Var, orders: bool) -> str:
    order = var.order if orders and var.order else range(var.type.rank)
    sizes = [
        "?" if str(var.type.shape[i]).startswith("size_") else str(var.type.shape[i]) for i in order
    ]
    return f"{name} ({', '.join(sizes)})"


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
