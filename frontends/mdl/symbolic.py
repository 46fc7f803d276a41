"""The expression that a static value came from, over the names visible where it is used."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TypeAlias

from ...compiler import expr as expressions
from ...compiler.expr import FUNCTIONS, Expr
from . import syntax as s
from .context import short
from .sites import assigned
from .static import BINARY, COMPARE

Lookup: TypeAlias = Callable[[str], "Expr | None"]


def express(node: s.Syntax, lookup: Lookup) -> Expr | None:
    """The syntax as an expression tree, names replaced by `lookup`; None if it is not static."""
    match node:
        case s.Literal(value):
            return expressions.literal(value)
        case s.Name(id):
            return lookup(id)
        case s.Items(items, fixed):
            kind = ast.Tuple if fixed else ast.List
            parts = _all(items, lookup)
            return None if parts is None else kind(parts, ast.Load())
        case s.Unary(operator, operand):
            inner = express(operand, lookup)
            sign = ast.USub() if operator == "-" else ast.Not()
            return None if inner is None else ast.UnaryOp(sign, inner)
        case s.Binary(left, operator, right):
            return _binary(operator, express(left, lookup), express(right, lookup))
        case s.Boolean(operator, terms):
            parts = _all(terms, lookup)
            junction = ast.And() if operator == "and" else ast.Or()
            return None if parts is None else ast.BoolOp(junction, parts)
        case s.Conditional(body, test, other):
            parts = _all((test, body, other), lookup)
            return None if parts is None else ast.IfExp(*parts)
        case s.Index(value, (item,)):
            return _index(express(value, lookup), item, lookup)
        case s.Call(s.Name(id), arguments) if id in FUNCTIONS and not any(
            a.name for a in arguments
        ):
            parts = _all(tuple(a.value for a in arguments), lookup)
            return None if parts is None else ast.Call(expressions.name(id), parts, [])
    return None


def _all(nodes: tuple[s.Syntax, ...], lookup: Lookup) -> list[Expr] | None:
    made = [express(node, lookup) for node in nodes]
    parts = [part for part in made if part is not None]
    return parts if len(parts) == len(made) else None


def _binary(operator: str, a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return None
    if operator in BINARY:
        return ast.BinOp(a, BINARY[operator](), b)
    return ast.Compare(a, [COMPARE[operator]()], [b]) if operator in COMPARE else None


def _index(value: Expr | None, item: s.Syntax, lookup: Lookup) -> Expr | None:
    if value is None or isinstance(item, s.Ellipsis_):
        return None
    if not isinstance(item, s.Slice):
        place = express(item, lookup)
        return None if place is None else ast.Subscript(value, place, ast.Load())
    given = [end for end in (item.lower, item.upper, item.step) if end is not None]
    ends = _all(tuple(given), lookup)
    if ends is None:
        return None
    made = dict(zip(given, ends, strict=True))
    lower, upper, step = (made.get(e) if e else None for e in (item.lower, item.upper, item.step))
    return ast.Subscript(value, ast.Slice(lower, upper, step), ast.Load())


def chosen_by(node: s.Syntax, lookup: Lookup) -> set[str]:
    """The names that choose an op or a block, which has no expression itself: `acts[kind]`. Those
    of the test of a conditional are recorded as those of a static `if`."""
    match node:
        case s.Name(id):
            found = lookup(id)
            return set() if found is None else expressions.names(found)
        case s.Conditional(body, _, other):
            return chosen_by(body, lookup) | chosen_by(other, lookup)
        case s.Call(s.Name(id), arguments) if id in FUNCTIONS:
            parts = tuple(argument.value for argument in arguments)
        case s.Items() | s.Unary() | s.Binary() | s.Boolean() | s.Index() | s.Slice():
            parts = tuple(node.children())
        case _:
            return set()
    return {name for part in parts for name in chosen_by(part, lookup)}


def plain(expr: Expr) -> bool:
    """Whether an expression is a literal as it might stand in the source."""
    match expr:
        case ast.Constant():
            return True
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return True
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return all(map(plain, items))
    return False


def as_tuple(expr: Expr) -> Expr:
    """The expression of a list as that of a tuple, also within."""
    match expr:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return ast.Tuple([as_tuple(item) for item in items], ast.Load())
    return expr


def trace(body: tuple[s.Syntax, ...], lookup: Lookup) -> Mapping[str, Expr | None]:
    """The expressions of the names that a body assigns, without elaborating it."""
    made: dict[str, Expr | None] = {}

    def now(name: str) -> Expr | None:
        return made[name] if name in made else lookup(name)

    for statement in body:
        match statement:
            case s.Assign((target,), value):
                made[target] = short(express(value, now))
            case s.If(test, yes, no):
                made.update(merge(express(test, now), trace(yes, now), trace(no, now), now))
            case _:
                made.update(dict.fromkeys(assigned((statement,))))
    return made


def merge(
    test: Expr | None,
    yes: Mapping[str, Expr | None],
    no: Mapping[str, Expr | None],
    before: Lookup,
) -> dict[str, Expr | None]:
    """The expressions of names after an `if`, from those that its arms gave them."""
    merged: dict[str, Expr | None] = {}
    for name in sorted({*yes, *no}):
        a = yes[name] if name in yes else before(name)
        b = no[name] if name in no else before(name)
        if a is None or b is None or test is None:
            merged[name] = None
        else:
            merged[name] = a if expressions.same(a, b) else short(ast.IfExp(test, a, b))
    return merged
