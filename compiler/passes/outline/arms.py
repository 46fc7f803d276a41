"""What a static if decides is decided in its arms: `a if deep else b` is `a` where it is deep."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from ... import expr
from ...expr import Expr
from ...program import Apply, Call, Chain, If, Repeat, Statement


def decide(body: Sequence[Statement], known: Sequence[tuple[Expr, bool]] = ()) -> None:
    """Puts the arm that is taken in place of the choice, in all expressions of a body."""
    for statement in body:
        match statement:
            case Apply():
                statement.attrs = _all(statement.attrs, known)
                for region in statement.regions:
                    decide(region.body, known)
            case Call():
                statement.args = _all(statement.args, known)
                statement.sizes = _all(statement.sizes, known)
            case Chain(body=inner):
                decide(inner, known)
            case If(condition=condition, then=then, orelse=orelse):
                decide(then, [*known, (condition, True)])
                decide(orelse, [*known, (condition, False)])
            case Repeat():
                _loop(statement, known)


def _loop(loop: Repeat, known: Sequence[tuple[Expr, bool]]) -> None:
    loop.table = _decided(loop.table, known)
    own = {*loop.variables, *(size.name for size in loop.sizes)}
    inside = [each for each in known if not expr.names(each[0]) & own]
    for size in loop.sizes:
        size.start = _decided(size.start, known)
        size.update = size.update and _decided(size.update, inside)
    decide(loop.body, inside)


def _all(given: Mapping[str, Expr], known: Sequence[tuple[Expr, bool]]) -> Mapping[str, Expr]:
    return {name: _decided(each, known) for name, each in given.items()}


def _decided(given: Expr, known: Sequence[tuple[Expr, bool]]) -> Expr:
    if not known or not any(isinstance(node, ast.IfExp) for node in ast.walk(given)):
        return given

    class Decide(ast.NodeTransformer):
        def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
            for test, holds in known:
                if expr.same(node.test, test):
                    taken: ast.AST = self.visit(node.body if holds else node.orelse)
                    return taken
            return self.generic_visit(node)

    result = Decide().visit(expr.copied(given))
    assert isinstance(result, ast.expr)
    return result
