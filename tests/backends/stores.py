"""Assignments in Python source whose value nothing reads: a line that a reader stumbles over."""

from __future__ import annotations

import ast
from collections.abc import Iterable

Live = frozenset[str]


def dead_stores(source: str) -> list[str]:
    """`line: name` of each local that is assigned and then assigned again, or left, unread.

    What is unpacked along with something that is read does not count, nor do loop variables and
    names that begin with an underscore.
    """
    found: dict[int, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            _block(node.body, _nested(node), found)
    return [f"{line}: {name}" for line, name in sorted(found.items())]


def _nested(function: ast.FunctionDef) -> Live:
    """What functions within it may read at any time."""
    inner = (n for n in ast.walk(function) if isinstance(n, (ast.FunctionDef, ast.Lambda)))
    return frozenset().union(*(_read(n) for n in inner if n is not function))


def _read(node: ast.AST) -> Live:
    names = (n for n in ast.walk(node) if isinstance(n, ast.Name))
    return frozenset(n.id for n in names if isinstance(n.ctx, ast.Load))


def _stored(targets: Iterable[ast.AST]) -> Live:
    names = (n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
    return frozenset(n.id for n in names if isinstance(n.ctx, ast.Store))


def _block(body: list[ast.stmt], live: Live, found: dict[int, str]) -> Live:
    """What is live before the statements, given what is behind them."""
    always = live
    for statement in reversed(body):
        live = _statement(statement, live, always, found)
    return live


def _statement(node: ast.stmt, live: Live, always: Live, found: dict[int, str]) -> Live:
    match node:
        case ast.Return() | ast.Raise():
            return _read(node) | always
        case ast.Assign(targets=targets, value=value):
            kept = _stored(targets)
            if kept and not kept & live and not all(n.startswith("_") for n in kept):
                found[node.lineno] = ", ".join(sorted(kept))
            return (live - kept) | _read(node) | _read(value)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            return (live - _stored([target])) | _read(value) | _read(target)
        case ast.If(test=test, body=body, orelse=orelse):
            return _block(body, live, found) | _block(orelse, live, found) | _read(test)
        case ast.For() | ast.While():
            return _loop(node, live, found)
        case ast.With(items=items, body=body):
            return _block(body, live, found) | frozenset().union(*map(_read, items))
        case ast.FunctionDef() | ast.ClassDef():
            return live | _read(node)
    return live | _read(node)


def _loop(node: ast.For | ast.While, live: Live, found: dict[int, str]) -> Live:
    """A body may run again, or not at all."""
    head = node.iter if isinstance(node, ast.For) else node.test
    around = live | _read(head)
    before: dict[int, str] = {}
    for _ in range(2):
        before = {}
        around |= _block(node.body, around, before)
    found |= before
    return around - (_stored([node.target]) - live if isinstance(node, ast.For) else frozenset())
