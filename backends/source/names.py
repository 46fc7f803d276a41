"""Identifiers that are safe and free in the place where they stand."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection, Iterable

SHADOWING = frozenset({"len", "list", "range", "zip", "dict", "map", "super", "print", "sum"})
"""Builtins that emitted code may call; no name may hide them."""

assert all(hasattr(builtins, name) for name in SHADOWING)


def identifier(name: str) -> str:
    """`name` with everything that no identifier holds replaced by `_`; never a keyword."""
    safe = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    safe = f"_{safe}" if safe[0].isdigit() else safe
    taken = keyword.iskeyword(safe) or (keyword.issoftkeyword(safe) and safe != "_")
    return f"{safe}_" if taken else safe


def free(name: str, taken: Collection[str]) -> str:
    """A safe identifier like `name` that is not in `taken`: `type`, `type_`, `type__`."""
    safe = identifier(name)
    while safe in taken or safe in SHADOWING:
        safe += "_"
    return safe


def rename(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Distinct safe identifiers for all of `names`, each free of `taken`."""
    result: dict[str, str] = {}
    used = set(taken)
    for name in names:
        result[name] = free(name, used)
        used.add(result[name])
    return result


def like(stem: str, name: str) -> str:
    """The file's own way to write the model's name in snake case (`tiny_resnet`), if it is one."""
    made = snake(name)
    return stem if stem.replace("_", "") == made.replace("_", "") else made


def snake(name: str) -> str:
    """`TinyNet` as `tiny_net`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return identifier(words.lower())
