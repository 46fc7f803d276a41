"""Statements of a function as a person writes them: one line for a result and a new state, a key
that is used once as it is, a dictionary in one piece."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from ....compiler import expr
from ...source.tree import tree


def merged(statements: Iterable[ast.stmt]) -> list[ast.stmt]:
    """`h, new = f(…)` and `state["norm"] = new` as `h, state["norm"] = f(…)`."""
    found: list[ast.stmt] = []
    for statement in statements:
        for field in ("body", "orelse"):
            if getattr(statement, field, None):
                setattr(statement, field, merged(getattr(statement, field)))
        match found[-1:], statement:
            case (
                [ast.Assign(targets=[target], value=made)],
                ast.Assign(targets=[ast.Subscript() as place], value=ast.Name(id=new)),
            ) if _last(target) == new:
                kept = target.elts[:-1] if isinstance(target, ast.Tuple) else []
                both: ast.expr = ast.Tuple([*kept, place], ast.Store()) if kept else place
                found[-1] = ast.Assign([both], made)
            case _:
                found.append(statement)
    return found


def _last(target: ast.expr) -> str:
    """The last name of what an assignment gives several of."""
    if isinstance(target, ast.Tuple) and isinstance(target.elts[-1], ast.Name):
        return target.elts[-1].id
    return ""


def keyed(statements: list[ast.stmt], key: str = "key") -> list[ast.stmt]:
    """With `keys = split(key)` before all, or `key` itself where only one is drawn by."""
    drawn = sum(_is_next(n, key) for s in statements for n in ast.walk(s))
    if not drawn:
        return statements
    again = (ast.For, ast.GeneratorExp, ast.ListComp)
    looped = any(
        _is_next(inner, key)
        for s in statements for n in ast.walk(s) if isinstance(n, again) for inner in ast.walk(n)
    )  # fmt: skip
    if drawn == 1 and not looped:
        return [_Once(key).visit(statement) for statement in statements]
    return [ast.Assign([expr.name(f"{key}s")], tree(f"split({key})")), *statements]


def _is_next(node: ast.AST, key: str) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=keys)]):
            return keys == f"{key}s"
    return False


class _Once(ast.NodeTransformer):
    def __init__(self, key: str) -> None:
        self.key = key

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_next(node, self.key):
            return ast.Name(self.key, ast.Load())
        return self.generic_visit(node)


def copying(statements: list[ast.stmt]) -> list[ast.stmt]:
    """With a copy of the state before all, where parts of it are replaced."""
    depths = [d for s in statements for n in ast.walk(s) for d in _depths(n)]
    if not depths:
        return statements
    copy = "dict(state)" if max(depths) == 1 else "copied(state)"
    return [ast.Assign([expr.name("state")], tree(copy)), *statements]


def _depths(node: ast.AST) -> Iterator[int]:
    """How deep in the state an assignment puts something."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            for place in target.elts if isinstance(target, ast.Tuple) else [target]:
                depth = 0
                while isinstance(place, ast.Subscript):
                    place, depth = place.value, depth + 1
                if depth and isinstance(place, ast.Name) and place.id == "state":
                    yield depth


def gathered(statements: Sequence[ast.stmt], names: Sequence[str]) -> list[ast.stmt]:
    """`params["a"] = x` and what follows it alike, at the start, as `params: Params = {"a": x, …}`,
    for each of the names."""
    found: dict[str, tuple[list[ast.expr | None], list[ast.expr]]] = {n: ([], []) for n in names}
    count = 0
    for statement in statements:
        match statement:
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id=own), slice=key)], value=value
            ) if own in found:
                found[own][0].append(key)
                found[own][1].append(value)
                count += 1
            case _:
                break
    made = [
        ast.AnnAssign(ast.Name(n, ast.Store()), expr.name(n.capitalize()), ast.Dict(keys, xs), 1)
        for n, (keys, xs) in found.items()
    ]
    return [*made, *statements[count:]]


def read(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that statements read."""
    return {
        n.id for s in statements for n in ast.walk(s)
        if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Store)
    }  # fmt: skip


__all__ = ["copying", "gathered", "keyed", "merged", "read"]
