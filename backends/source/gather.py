"""Lists that a loop only fills, as list comprehensions."""

from __future__ import annotations

import ast

from ...compiler import expr


def gathered(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with `xs = [f(y) for y in ys]` for a list that a loop only fills."""
    made: list[ast.stmt] = []
    for statement in statements:
        for body in (getattr(statement, "body", None), getattr(statement, "orelse", None)):
            if isinstance(body, list):
                body[:] = gathered(body)
        whole = _filled(made[-1], statement) if made else None
        if whole is None:
            made.append(statement)
        else:
            made[-1] = whole
    return made


def _filled(start: ast.stmt, loop: ast.stmt) -> ast.stmt | None:
    """A list that is started and then filled by a loop, in one; None where the loop does more."""
    match start, loop:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=[])),
            ast.For(
                target=target,
                iter=source,
                body=[ast.Expr(ast.Call(ast.Attribute(ast.Name(id=own), "append"), [value], []))],
                orelse=[],
            ),
        ) if own == name:
            each = ast.comprehension(target, source, [], 0)
            return ast.Assign([expr.name(name)], ast.ListComp(value, [each]))
    return None
