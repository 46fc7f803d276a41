"""Static expressions: how a number came from hyper-parameters and sizes.

They are Python's own expression trees (`ast.expr`), restricted to names, literals, lists,
arithmetic, comparisons, conditionals, indexing and a few calls. Only `evaluate` below ever computes
one; nothing is handed to Python's `eval`.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from . import dim
from .dim import Dim, Size
from .ratio import Ratio as Ratio
from .ratio import divide as divide
from .ratio import settle as settle
from .ratio import whole

Expr: TypeAlias = ast.expr

Tree = TypeVar("Tree", bound=ast.AST)


def name(identifier: str) -> Expr:
    """A reference to a hyper-parameter, size or loop variable."""
    return ast.Name(identifier, ast.Load())


def literal(value: Any) -> Expr:
    """The tree of a static value: None, bool, number, size, str, or lists and tuples of such."""
    if isinstance(value, (list, tuple)):
        kind = ast.List if isinstance(value, list) else ast.Tuple
        return kind([literal(v) for v in value], ast.Load())
    if isinstance(value, Size):
        return size(str(value))
    if isinstance(value, Fraction):
        return parse(str(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return ast.Constant(value)
    raise TypeError(f"{value!r} is not a static value")


def size(text: str) -> Expr:
    """The tree of a size; its names may be words that Python keeps for itself."""
    kept = {f"{word}_{'_' * len(text)}": word for word in keyword.kwlist}
    words = {word: stand_in for stand_in, word in kept.items()}
    tree = parse(re.sub(r"[A-Za-z_]\w*", lambda found: words.get(found[0], found[0]), text))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = kept.get(node.id, node.id)
    return tree


def parse(text: str) -> Expr:
    """The tree of `text`, written by us and never by a user."""
    return ast.parse(text, mode="eval").body


def show(expr: Expr) -> str:
    """The expression as Python (and .mdl) text."""
    return ast.unparse(expr)


def copied(tree: Tree) -> Tree:
    """A copy of a tree, to be changed in place; `copy.deepcopy` takes four times as long."""
    made = type(tree)()
    for field, value in vars(tree).items():
        if isinstance(value, list):
            value = [copied(each) if isinstance(each, ast.AST) else each for each in value]
        elif isinstance(value, ast.AST):
            value = copied(value)
        setattr(made, field, value)
    return made


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

        def visit_Call(self, node: ast.Call) -> Expr:
            node.args = [self.visit(x) for x in node.args]
            return node

    result = Replace().visit(copied(expr))  # not by way of text: a name may be a keyword of Python
    assert isinstance(result, ast.expr)
    return result


LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.UnaryOp)
"""The kinds of tree that `literal` makes."""


def element(sequence: Expr, index: int) -> Expr:
    """One element of a list."""
    return ast.Subscript(sequence, literal(index), ast.Load())


def unknown(reads: Iterable[str]) -> Expr:
    """Stands for a value that no expression gives, and that was computed from these names."""
    return ast.Call(name("unknown"), [name(each) for each in sorted(reads)], [])


def known(expr: Expr) -> bool:
    """Whether no part of it is `unknown`."""
    called = (n.func for n in ast.walk(expr) if isinstance(n, ast.Call))
    return all(not isinstance(f, ast.Name) or f.id != "unknown" for f in called)


def fixed(expr: Expr | None) -> bool:
    """Whether it is a literal: a tree that `literal` makes, and in which no name stands."""
    return isinstance(expr, LITERALS) and not names(expr)


def integral(expr: Expr) -> Expr:
    """The same for code in which `/` of integers is no exact quotient: `D / heads` as `D // heads`,
    `ceil(H / 2)` as `-(-H // 2)`. For a value that is known to be an integer."""

    class Integral(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            if isinstance(node.op, ast.Div):
                return ast.BinOp(node.left, ast.FloorDiv(), node.right)
            return node

        def visit_Call(self, node: ast.Call) -> ast.AST:
            quotient = node.args[0] if len(node.args) == 1 else None
            named = node.func.id if isinstance(node.func, ast.Name) else ""
            if named not in ("ceil", "floor"):
                return self.generic_visit(node)
            if not (isinstance(quotient, ast.BinOp) and isinstance(quotient.op, ast.Div)):
                return self.visit(node.args[0])  # type: ignore[no-any-return]
            a, b = self.visit(quotient.left), self.visit(quotient.right)
            if named == "floor":
                return ast.BinOp(a, ast.FloorDiv(), b)
            minus = ast.UnaryOp(ast.USub(), a)
            return ast.UnaryOp(ast.USub(), ast.BinOp(minus, ast.FloorDiv(), b))

    result = Integral().visit(copied(expr))
    assert isinstance(result, ast.expr)
    return result


def spoken(expr: Expr) -> Expr:
    """The same in plain Python, which has no `ceil`, `floor` and `sqrt`, and a `zip` that cuts."""

    class Spoken(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            named = node.func.id if isinstance(node.func, ast.Name) else ""
            if named in ("ceil", "floor"):
                return integral(node)
            if named == "sqrt":
                return ast.BinOp(node.args[0], ast.Pow(), ast.Constant(0.5))
            if named == "zip" and not node.keywords:
                node.keywords = [ast.keyword("strict", ast.Constant(True))]
            return node

    result = Spoken().visit(copied(expr))
    assert isinstance(result, ast.expr)
    return result


def sequence(items: Iterable[Expr]) -> Expr:
    """The list of these expressions."""
    return ast.List(list(items), ast.Load())


def negate(expr: Expr) -> Expr:
    """`not expr`, a comparison turned round where it is one."""
    turned = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt,
              ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
    if isinstance(expr, ast.Compare) and type(expr.ops[0]) in turned:
        return ast.Compare(expr.left, [turned[type(expr.ops[0])]()], expr.comparators)
    if isinstance(expr, ast.BoolOp):
        other = ast.Or() if isinstance(expr.op, ast.And) else ast.And()
        return ast.BoolOp(other, [negate(term) for term in expr.values])
    if isinstance(expr, ast.UnaryOp) and isinstance(expr.op, ast.Not):
        return expr.operand
    return ast.UnaryOp(ast.Not(), expr)


def reduce(expr: Expr, values: Mapping[str, Any]) -> Expr:
    """`expr` with the names in `values` put in, computed wherever nothing else is left open."""

    class Reduce(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.expr) and not isinstance(node, (*LITERALS, ast.Slice)):
                read = names(node)
                if read and read <= set(values) and known(node) and not _counts(node):
                    return literal(evaluate(node, values))
            test = node.test if isinstance(node, ast.IfExp) else None
            if isinstance(node, ast.IfExp) and test and names(test) <= set(values) and known(test):
                return self.visit(node.body if evaluate(node.test, values) else node.orelse)
            return self.generic_visit(node)

    result = Reduce().visit(copied(expr))
    assert isinstance(result, ast.expr)
    return result


def _counts(expr: ast.AST) -> bool:
    """Whether it is a `range`, which reads better than its numbers."""
    return isinstance(expr, ast.Call) and ast.unparse(expr.func) == "range"


def _exact(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: whole(operation(a, b))


def ceil(x: Any) -> Dim:
    """The least integer >= x; of a Ratio, a size."""
    if isinstance(x, Ratio) and dim.bounds(x.denominator)[0] >= 1:
        return dim.floordiv(x.numerator + x.denominator - 1, x.denominator)
    if isinstance(x, Ratio):
        return -dim.floordiv(-x.numerator, x.denominator)
    return x if isinstance(x, Size) else math.ceil(x)


def floor(x: Any) -> Dim:
    """The greatest integer <= x; of a Ratio, a size."""
    if isinstance(x, Ratio):
        return dim.floordiv(x.numerator, x.denominator)
    return x if isinstance(x, Size) else math.floor(x)


def _integer(x: Any) -> Any:
    """`int(x)`, rounding towards zero; of a size, itself."""
    return settle(x) if isinstance(x, (Size, Ratio)) else int(x)


def _absolute(x: Any) -> Any:
    return dim.maximum(settle(x), -settle(x)) if isinstance(x, (Size, Ratio)) else abs(x)


def _power(a: Any, b: Any) -> Any:
    """`a ** b`; exact for integers with a negative exponent too."""
    whole = type(a) is int and type(b) is int and b < 0
    return divide(1, a**-b) if whole else a**b


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
    return dim.minimum(settle(a), settle(b)) if _unknown(a, b) else min(a, b)


def _greatest(a: Any, b: Any) -> Any:
    return dim.maximum(settle(a), settle(b)) if _unknown(a, b) else max(a, b)


def _unknown(*values: Any) -> bool:
    return any(isinstance(x, (Size, Ratio)) for x in values)


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
    "abs": _absolute,
    "int": _integer,
    "round": round,
}
"""The functions of the static language, by name."""

OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _exact(operator.add),
    ast.Sub: _exact(operator.sub),
    ast.Mult: _exact(operator.mul),
    ast.Div: divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _exact(operator.mod),
    ast.Pow: _exact(_power),
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
    """A comparison of sizes that depends on what they will be; its text is the comparison."""


SIGNS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def compare(op: ast.cmpop, a: Any, b: Any) -> bool:
    """Whether the comparison holds; Undecided where it depends on unknown sizes."""
    if isinstance(op, (ast.In, ast.NotIn)):
        return _contains(b, a) == isinstance(op, ast.In)
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return _equal(a, b) == isinstance(op, ast.Eq)
    if not _unknown(a, b):
        return bool(COMPARISONS[type(op)](a, b))
    ends = dim.bounds(settle(a) - settle(b))
    holds = {bool(COMPARISONS[type(op)](x, 0)) for x in ends}
    if len(holds) == 2:
        raise Undecided(f"{a} {SIGNS[type(op)]} {b}")
    return holds.pop()


def _equal(a: Any, b: Any) -> bool:
    """Whether two static values are equal, element by element."""
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and _decided(all, map(_equal, a, b))
    if not (_unknown(a, b) and all(isinstance(x, (int, Size, Ratio)) for x in (a, b))):
        return bool(a == b)
    difference = settle(a) - settle(b)
    low, high = dim.bounds(difference)
    if low <= 0 <= high and isinstance(difference, Size):
        raise Undecided(f"{a} == {b}")
    return isinstance(difference, int) and difference == 0


def _contains(items: Any, item: Any) -> bool:
    if isinstance(items, (list, tuple)):
        return _decided(any, map(lambda x: _equal(x, item), items))
    return item in items


def _decided(combine: Callable[[Iterable[bool]], bool], answers: Iterator[bool]) -> bool:
    """`all` or `any` of answers, some of which may be undecided where others settle it."""
    known: list[bool] = []
    doubt: Undecided | None = None
    while True:
        try:
            known.append(next(answers))
        except StopIteration:
            break
        except Undecided as undecided:
            doubt = undecided
    if doubt is not None and combine([*known, True]) != combine([*known, False]):
        raise doubt
    return combine(known)


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
        case ast.Compare(left=first, ops=ops, comparators=others):
            terms = [evaluate(x, values) for x in (first, *others)]
            return all(compare(op, *pair) for op, pair in zip(ops, pairwise(terms), strict=True))
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
