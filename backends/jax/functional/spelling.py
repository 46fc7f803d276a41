"""JAX without Flax: what the plain backend has of NNX is `jax.nn`'s, or the file's own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ....compiler import expr
from ....compiler.expr import Expr
from ...source.tree import tree

POOLS = frozenset({"max_pool", "avg_pool"})
"""What the file defines itself under NNX' name."""


class _Plain(ast.NodeTransformer):
    """`nnx.relu` as `jax.nn.relu`, and initialisers called with their keys."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        if not (isinstance(node.value, ast.Name) and node.value.id == "nnx"):
            return node
        if node.attr in POOLS:
            return ast.Name(node.attr, ast.Load())
        return ast.Attribute(tree("jax.nn"), node.attr, ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="rngs"))):
                return tree("next(keys)")
            case ast.Call(
                func=ast.Call(func=ast.Name(id="partial"), args=[drawn], keywords=options),
                args=given,
            ):
                return ast.Call(drawn, given, options)
            case ast.Call(
                func=ast.Call(func=ast.Name(id="uniform"), args=[fan]), args=[key, size, *more]
            ):
                drawn = tree("uniform({key}, {size}, {fan})", key=key, size=size, fan=fan)
                return tree("{x}.astype({d})", x=drawn, d=more[0]) if more else drawn
        return node


def plain(node: Expr) -> Expr:
    """The expression without Flax."""
    result = _Plain().visit(expr.copied(node))
    assert isinstance(result, ast.expr)
    return result


def pools(made: str) -> Iterator[str]:
    """The functions for pooling that the text `made` calls, with no more than that says."""
    for name, reduced in (("max_pool", "-jnp.inf, jax.lax.max"), ("avg_pool", "0.0, jax.lax.add")):
        calls = [ast.unparse(c) for c in ast.walk(ast.parse(made)) if _calls(c, name)]
        if calls:
            padded = any("padding=" in call for call in calls)
            yield _pool(name, reduced, padded, any("count_include_pad=" in c for c in calls))


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _pool(name: str, reduced: str, padded: bool, counting: bool) -> str:
    arguments = ["x: jax.Array", "window: tuple[int, ...]", "strides: tuple[int, ...]"]
    arguments += ['padding: Any = "VALID"'] if padded else []
    arguments += ["count_include_pad: bool = True"] if counting else []
    what = "largest" if name == "max_pool" else "mean"
    lines = [f'"""The {what} of each window of (B, ..., C)."""']
    if padded:
        outer = "((0, 0), *padding, (0, 0))"
        lines.append(f"pads = padding if isinstance(padding, str) else {outer}")
    pads = "pads" if padded else '"VALID"'

    def over(x: str) -> str:
        return f"jax.lax.reduce_window({x}, {reduced}, (1, *window, 1), (1, *strides, 1), {pads})"

    count = "math.prod(window)"
    if name == "max_pool":
        lines.append(f"return {over('x')}")
    else:
        if counting:
            count = f"({count} if count_include_pad else {over('jnp.ones_like(x)')})"
        lines.append(f"return {over('x')} / {count}")
    body = "\n".join(f"    {line}" for line in lines)
    return f"def {name}({', '.join(arguments)}) -> jax.Array:\n{body}\n"
