"""Python expressions as trees, from templates: `tree("F.softmax({x}, dim={axis})", x=…, axis=…)`.

Nothing of a model is ever text that is pasted into code: names come in as identifiers that were
made safe, values as literals, and the rest is the template's own.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from ...compiler import expr

Part: TypeAlias = "ast.expr | Sequence[ast.expr] | None"


@cache
def _parsed(template: str) -> ast.expr:
    text = re.sub(r"\{(\w+)\}", r"_p_\1", template)
    return ast.parse(text, mode="eval").body


class _Fill(ast.NodeTransformer):
    """Puts parts where the template has holes; an argument whose part is None is left out."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = parts

    def _hole(self, node: ast.AST) -> str | None:
        return node.id[3:] if isinstance(node, ast.Name) and node.id.startswith("_p_") else None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        hole = self._hole(node)
        if hole is None:
            return node
        part = self.parts[hole]
        assert isinstance(part, ast.expr), f"no {hole} for the template"
        return part

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = self._items(node.args)
        node.keywords = [k for k in node.keywords if not self._absent(k.value)]
        node.func = self.visit(node.func)
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_List(self, node: ast.List) -> ast.AST:
        """`[*{xs}]`, of which xs may hold all of a list: then it is that list."""
        items = self._items(node.elts)
        match node.elts, items:
            case [ast.Starred(value=hole)], [ast.Starred(value=only)]:
                if isinstance(self.parts.get(self._hole(hole) or ""), list):
                    return only
        node.elts = items
        return node

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        node.elts = self._items(node.elts)
        return node

    def _absent(self, node: ast.expr) -> bool:
        hole = self._hole(node)
        return hole is not None and self.parts[hole] is None

    def _items(self, items: list[ast.expr]) -> list[ast.expr]:
        result: list[ast.expr] = []
        for item in items:
            hole = self._hole(item.value) if isinstance(item, ast.Starred) else None
            if hole is not None:
                part = self.parts[hole]
                if isinstance(part, ast.expr):
                    result.append(ast.Starred(part, ast.Load()))
                else:
                    result += list(part or ())
            elif not self._absent(item):
                result.append(self.visit(item))
        return result


def tree(template: str, **parts: Part) -> ast.expr:
    """The template with its holes filled: trees, lists of trees (`*{xs}`), or None to leave out."""
    result = _Fill(parts).visit(expr.copied(_parsed(template)))
    assert isinstance(result, ast.expr)
    return result


class _Numbers(ast.NodeTransformer):
    """Writes 1e-05 as people do: 1e-5; what has no literal is `float("-inf")`."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        value = node.operand.value if isinstance(node.operand, ast.Constant) else None
        endless = isinstance(node.op, ast.USub) and isinstance(value, float) and math.isinf(value)
        return real(-math.inf) if endless else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, float) and not math.isfinite(node.value):
            return real(node.value)
        if not isinstance(node.value, float) or "e" not in repr(node.value):
            return node
        mantissa, exponent = repr(node.value).split("e")
        return ast.Name(f"{mantissa}e{int(exponent)}", ast.Load())


def text(node: ast.AST) -> str:
    """The tree as source."""
    shown = _Numbers().visit(expr.copied(node))
    return ast.unparse(ast.fix_missing_locations(shown))


def number(node: ast.expr | None) -> Any:
    """The literal that a tree is, or None where it is an expression."""
    if node is None or not isinstance(node, expr.LITERALS) or expr.names(node):
        return None
    try:
        return expr.evaluate(node, {})
    except TypeError:
        return None


def real(value: float) -> ast.expr:
    """A float as a tree; `float("-inf")` where it has no literal."""
    if not math.isfinite(value):
        return tree("float({text})", text=expr.literal(str(value)))
    return expr.literal(float(value))


def is_literal(node: ast.expr, value: Any) -> bool:
    """Whether the tree is this number (True is not 1)."""
    found = number(node)
    return type(found) is type(value) and bool(found == value)


def shown(message: str, names: Mapping[str, ast.expr]) -> ast.expr:
    """A message with `{name}` holes as an f-string; anything else in braces stays as written."""
    pieces: list[ast.expr] = []
    for i, piece in enumerate(re.split(r"\{(\w+)\}", message)):
        if i % 2 and piece in names:
            pieces.append(ast.FormattedValue(names[piece], -1))
        elif piece:
            pieces.append(ast.Constant(f"{{{piece}}}" if i % 2 else piece))
    if all(isinstance(piece, ast.Constant) for piece in pieces):
        return ast.Constant("".join(str(p.value) for p in pieces if isinstance(p, ast.Constant)))
    return ast.JoinedStr(pieces)
