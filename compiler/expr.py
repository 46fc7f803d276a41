"""Static expressions: how a number came from hyper-parameters and sizes.

They are Python's own expression trees (`ast.expr`), restricted to names, literals, lists,
arithmetic, comparisons, conditionals, indexing and a few calls. Only `evaluate` below ever computes
one; nothing is handed to Python's `eval`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from . import dim
from .dim import Dim, Size

Expr: TypeAlias = ast.expr


def name(identifier: str) -> Expr:
    """A reference to a hyper-parameter, size or loop variable."""
    return ast.Name(identifier, ast.Load())


def literal(value: Any) -> Expr:
    """The tree of a static value: None, bool, int, float, str, or lists and tuples of such."""
    if isinstance(value, (list, tuple)):
        kind = ast.List if isinstance(value, list) else ast.Tuple
        return kind([literal(v) for v in value], ast.Load())
    if isinstance(value, Size):
        return parse(str(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return ast.Constant(value)
    raise TypeError(f"{value!r} is not a static value")


def parse(text: str) -> Expr:
    """The tree of `text`, written by us and never by a user."""
    return ast.parse(text, mode="eval").body


def show(expr: Expr) -> str:
    """The expression as Python (and .mdl) text."""
    return ast.unparse(expr)


def same(a: Expr, b: Expr) -> bool:
    """Whether two expressions are the same tree."""
    return ast.dump(a) == ast.dump(b)


def names(expr: Expr) -> set[str]:
    """The identifiers that the expression reads; functions that it calls are not among them."""
    called = {id(n.func) for n in ast.walk(expr) if isinstance(n, ast.Call)}
    return {n.id for n in ast.walk(expr) if isinstance(n, ast.Name) and id(n) not in called}


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """A copy of `expr` in which names are replaced by expressions."""

    class Replace(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> Expr:
            return values.get(node.id, node)

    copied = ast.parse(ast.unparse(expr), mode="eval").body
    result = Replace().visit(copied)
    assert isinstance(result, ast.expr)
    return result


LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.UnaryOp)
"""The kinds of tree that `literal` makes."""


def sequence(items: Iterable[Expr]) -> Expr:
    """The list of these expressions."""
    return ast.List(list(items), ast.Load())


def negate(expr: Expr) -> Expr:
    """`not expr`, a comparison turned round where it is one."""
    turned = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt,
              ast.Gt: ast.LtE, ast.LtE: ast.Gt}  # fmt: skip
    if isinstance(expr, ast.Compare) and type(expr.ops[0]) in turned:
        return ast.Compare(expr.left, [turned[type(expr.ops[0])]()], expr.comparators)
    return ast.UnaryOp(ast.Not(), expr)


def reduce(expr: Expr, values: Mapping[str, Any]) -> Expr:
    """`expr` with the names in `values` put in, computed wherever nothing else is left open."""

    class Reduce(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.expr) and not isinstance(node, LITERALS):
                read = names(node)
                if read and read <= set(values):
                    return literal(evaluate(node, values))
            if isinstance(node, ast.IfExp) and names(node.test) <= set(values):
                return self.visit(node.body if evaluate(node.test, values) else node.orelse)
            return self.generic_visit(node)

    result = Reduce().visit(ast.parse(ast.unparse(expr), mode="eval").body)
    assert isinstance(result, ast.expr)
    return result


class Ratio:
    """An exact quotient of sizes that are not known yet: `H / 2`."""

    __slots__ = ("denominator", "numerator")

    def __init__(self, numerator: Dim, denominator: Dim) -> None:
        self.numerator = numerator
        self.denominator = denominator

    def __str__(self) -> str:
        return f"{self.numerator} / {self.denominator}"


def divide(a: Any, b: Any) -> Any:
    """`a / b`: exact for integers (a Fraction if need be), a Ratio where sizes are unknown."""
    if isinstance(a, Size) or isinstance(b, Size):
        quotient = dim.floordiv(a, b)
        return quotient if quotient * b == a else Ratio(a, b)
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    exact = Fraction(a) / Fraction(b)
    return int(exact) if exact.denominator == 1 else exact


def ceil(x: Any) -> Dim:
    """The least integer >= x; of a Ratio, a size."""
    if isinstance(x, Ratio):
        return dim.floordiv(x.numerator + x.denominator - 1, x.denominator)
    return x if isinstance(x, Size) else math.ceil(x)


def floor(x: Any) -> Dim:
    """The greatest integer <= x; of a Ratio, a size."""
    if isinstance(x, Ratio):
        return dim.floordiv(x.numerator, x.denominator)
    return x if isinstance(x, Size) else math.floor(x)


def _sqrt(x: Any) -> Any:
    root = math.isqrt(x) if isinstance(x, int) and x >= 0 else None
    return root if root is not None and root * root == x else math.sqrt(x)


def _fold(pick: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fold(*args: Any) -> Any:
        items = list(args[0]) if len(args) == 1 else list(args)
        result = items[0]
        for item in items[1:]:
            result = pick(result, item)
        return result

    return fold


def _least(a: Any, b: Any) -> Any:
    return dim.minimum(a, b) if isinstance(a, Size) or isinstance(b, Size) else min(a, b)


def _greatest(a: Any, b: Any) -> Any:
    return dim.maximum(a, b) if isinstance(a, Size) or isinstance(b, Size) else max(a, b)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": _fold(_least),
    "max": _fold(_greatest),
    "ceil": ceil,
    "floor": floor,
    "sqrt": _sqrt,
    "len": len,
    "range": lambda *args: list(range(*args)),
    "zip": lambda *args: [tuple(items) for items in zip(*args, strict=True)],
    "enumerate": lambda xs: list(enumerate(xs)),
    "sum": sum,
    "abs": abs,
    "int": int,
    "round": round,
}
"""The functions of the static language, by name."""

OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}

COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class Undecided(Exception):
    """A comparison of sizes that depends on what they will be; `text` is the comparison."""


def compare(op: ast.cmpop, a: Any, b: Any) -> bool:
    """Whether the comparison holds; Undecided where it depends on unknown sizes."""
    if not (isinstance(a, Size) or isinstance(b, Size)) or type(op) in (ast.In, ast.NotIn):
        return bool(COMPARISONS[type(op)](a, b))
    low, high = dim.bounds(a - b)
    holds = {COMPARISONS[type(op)](x, 0) for x in (low, high)}
    if isinstance(op, (ast.Eq, ast.NotEq)):
        apart = low > 0 or high < 0
        if not apart and a != b:
            raise Undecided(f"{a} {'==' if isinstance(op, ast.Eq) else '!='} {b}")
        return bool(a == b) == isinstance(op, ast.Eq)
    if len(holds) == 2:
        raise Undecided(f"{a} ? {b}")
    return bool(holds.pop())


def evaluate(expr: Expr, values: Mapping[str, Any]) -> Any:
    """The value of a static expression.

    Raises KeyError for an unknown name, Undecided for a comparison that depends on unknown sizes,
    and TypeError for what the static language does not have.
    """
    match expr:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=identifier):
            return values[identifier]
        case ast.List(elts=items):
            return [evaluate(x, values) for x in items]
        case ast.Tuple(elts=items):
            return tuple(evaluate(x, values) for x in items)
        case ast.UnaryOp(op=ast.Not(), operand=x):
            return not evaluate(x, values)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return -evaluate(x, values)
        case ast.BinOp(left=a, op=op, right=b) if type(op) in OPERATORS:
            return OPERATORS[type(op)](evaluate(a, values), evaluate(b, values))
        case ast.BoolOp(op=op, values=terms):
            return _boolean(isinstance(op, ast.And), terms, values)
        case ast.Compare(left=a, ops=[op], comparators=[b]):
            return compare(op, evaluate(a, values), evaluate(b, values))
        case ast.IfExp(test=test, body=a, orelse=b):
            return evaluate(a if evaluate(test, values) else b, values)
        case ast.Subscript(value=value, slice=index):
            return _index(evaluate(value, values), index, values)
        case ast.Call(func=ast.Name(id=function), args=args) if function in FUNCTIONS:
            return FUNCTIONS[function](*(evaluate(x, values) for x in args))
    raise TypeError(f"{show(expr)} is not a static expression")


def _boolean(conjunction: bool, terms: list[Expr], values: Mapping[str, Any]) -> Any:
    result: Any = conjunction
    for term in terms:
        result = evaluate(term, values)
        if bool(result) != conjunction:
            return result
    return result


def _index(value: Any, index: Expr, values: Mapping[str, Any]) -> Any:
    if isinstance(index, ast.Slice):
        ends = [
            None if x is None else evaluate(x, values)
            for x in (index.lower, index.upper, index.step)
        ]
        return value[slice(*ends)]
    return value[evaluate(index, values)]
