"""Plants a fault in emitted source: finds expressions in its syntax tree, and puts others there.

A pattern is Python in which a name that starts with `_` is a hole: `F.gelu(_x)`. A hole takes any
expression, the same one wherever it stands; `*_some` and `**_rest` take what is left of the
arguments. The replacement may use what the holes took.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Holes = dict[str, Any]


@dataclass(frozen=True)
class Plant:
    """`edits` maps patterns to what takes their place; `helper` is what that calls."""

    edits: Mapping[str, str]
    helper: str = ""


class Replace(ast.NodeTransformer):
    """Puts the replacements wherever their patterns stand; `count` is how often that was."""

    def __init__(self, edits: Mapping[str, str]) -> None:
        self.edits = [(_expression(a), b) for a, b in edits.items()]
        self.count = 0

    def visit(self, node: ast.AST) -> Any:
        for pattern, replacement in self.edits if isinstance(node, ast.expr) else ():
            holes: Holes = {}
            if _match(pattern, node, holes):
                self.count += 1
                filled = {name: self._inside(value) for name, value in holes.items()}
                return _Fill(filled).visit(_expression(replacement))
        return self.generic_visit(node)

    def _inside(self, taken: Any) -> Any:
        """What a hole took, with the fault in it too."""
        if isinstance(taken, list):
            return [self.visit(each) for each in taken]
        return self.visit(taken) if isinstance(taken, ast.AST) else taken


def plant(source: str, fault: Plant) -> str | None:
    """`source` with the fault in every place that has a pattern; None if there is no such place.

    The helper stands behind the imports.
    """
    if not any(all(word in source for word in _words(pattern)) for pattern in fault.edits):
        return None
    tree = ast.parse(source)
    replace = Replace(fault.edits)
    replace.visit(tree)
    if not replace.count:
        return None
    place = max(i for i, s in enumerate(tree.body) if isinstance(s, (ast.Import, ast.ImportFrom)))
    tree.body[place + 1 : place + 1] = ast.parse(fault.helper).body
    return ast.unparse(ast.fix_missing_locations(tree))


@cache
def _words(pattern: str) -> frozenset[str]:
    """The names that stand in every place of a pattern."""
    nodes = list(ast.walk(_expression(pattern)))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and not _hole(node)}
    return frozenset(names | {node.attr for node in nodes if isinstance(node, ast.Attribute)})


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _hole(node: Any) -> str:
    """The name of a hole, "" for anything else."""
    return node.id if isinstance(node, ast.Name) and node.id.startswith("_") else ""


def _match(pattern: Any, node: Any, holes: Holes) -> bool:
    """Whether they are equal but for holes, which are filled."""
    if name := _hole(pattern):
        return not isinstance(node, ast.Starred) and _same(holes.setdefault(name, node), node)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Call):
        return _match(pattern.func, node.func, holes) and _arguments(pattern, node, holes)
    if isinstance(pattern, ast.AST):
        return all(
            _match(getattr(pattern, field), getattr(node, field), holes)
            for field in pattern._fields
            if field != "ctx"
        )
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(
            _match(a, b, holes) for a, b in zip(pattern, node, strict=True)
        )
    return bool(pattern == node)


def _same(a: Any, b: Any) -> bool:
    return a is b or ast.dump(a) == ast.dump(b)


def _arguments(pattern: ast.Call, node: ast.Call, holes: Holes) -> bool:
    """Matches arguments by place, and keywords by name in any order."""
    wanted, given = list(pattern.args), list(node.args)
    if wanted and isinstance(wanted[-1], ast.Starred):
        some = _hole(wanted.pop().value)
        given, holes[some] = given[: len(wanted)], given[len(wanted) :]
    named = {keyword.arg: keyword.value for keyword in pattern.keywords}
    rest = _hole(named.pop(None, None))
    left = [keyword for keyword in node.keywords if keyword.arg not in named]
    if rest:
        holes[rest] = left
    found = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg in named}
    return (
        _match(wanted, given, holes)
        and (bool(rest) or not left)
        and found.keys() == named.keys()
        and all(_match(value, found[name], holes) for name, value in named.items())
    )


class _Fill(ast.NodeTransformer):
    """Puts what the holes took into a replacement."""

    def __init__(self, holes: Holes) -> None:
        self.holes = holes

    def visit_Name(self, node: ast.Name) -> Any:
        return self.holes.get(node.id, node)

    def visit_Starred(self, node: ast.Starred) -> Any:
        name = _hole(node.value)
        return self.holes[name] if name else self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> Any:
        if node.arg is None and (name := _hole(node.value)):
            return self.holes[name]
        return self.generic_visit(node)
