"""Statements from expressions: what is nested, what gets a name of its own, and which name.

A backend says what each tensor of a class body is, where it loops and branches, what it returns.
Tensors are placeholders until the end; then a value that is used once and has no name in the source
is written where it is used, as long as the line stays readable, and the rest are named as in the
source: a name is used again only where its former tensor is no longer needed.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ...compiler import expr
from ...compiler.program import Var
from .gather import gathered
from .lifetimes import Lifetimes
from .lines import (
    Assign,
    Break,
    Def,
    Do,
    For,
    Line,
    Raise,
    Return,
    Store,
    When,
    bodies,
    expressions,
    head,
    place,
    replace,
    walk,
)  # fmt: skip
from .tree import text

WIDTH = 86
"""The longest statement, in characters without indentation, that nesting may make."""

TRIVIAL = 20
"""A value named in the source is nested all the same if it is as short as this."""


class Composer:
    """Collects the lines of one function and turns them into statements."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width = width
        self.lines: list[Line] = []
        self._ids: dict[Var, str] = {}
        self._vars: dict[str, Var] = {}
        self._leader: dict[Var, Var] = {}
        self._pinned: set[Var] = set()
        self.final: set[Var] = set()
        self._unread: set[Var] = set()

    # -------------------------------------------------------------------------- collecting

    def ref(self, var: Var) -> ast.expr:
        """A placeholder for the tensor."""
        return ast.Name(self._id(var), ast.Load())

    def _id(self, var: Var) -> str:
        if var not in self._ids:
            self._ids[var] = f"%{len(self._ids)}"
            self._vars[self._ids[var]] = var
        return self._ids[var]

    def join(self, var: Var, *others: Var) -> None:
        """All of these are one variable, assigned more than once."""
        leader = self.leader(var)
        for other in others:
            self._leader[self.leader(other)] = leader
        self._leader.pop(leader, None)
        self._pinned.add(leader)

    def leader(self, var: Var) -> Var:
        """The Var that stands for all that were joined with `var`."""
        while var in self._leader:
            var = self._leader[var]
        return var

    # ------------------------------------------------------------------------------ reading

    def reads(self, node: ast.expr) -> list[Var]:
        """The variables that an expression reads, once for each time."""
        return [
            self.leader(self._vars[n.id])
            for n in ast.walk(node)
            if isinstance(n, ast.Name) and n.id in self._vars
        ]

    def uses(self, lines: Iterable[Line]) -> dict[Var, int]:
        """How often each variable is read."""
        count: dict[Var, int] = {}
        for node in expressions(lines):
            for var in self.reads(node):
                count[var] = count.get(var, 0) + 1
        return count

    def _put(self, node: ast.expr, value: Callable[[Var], ast.expr | None]) -> ast.expr:
        """Writes into an expression what variables are; it is changed in place."""
        return _Put(self._vars, value).visit(node)  # type: ignore[no-any-return]

    # ----------------------------------------------------------------------------- nesting

    def _nest(self, lines: list[Line], count: Mapping[Var, int], assigned: Counter[Var]) -> None:
        """Writes values that are used once where they are used."""
        for i, line in enumerate(lines):
            for body in bodies(line):
                self._nest(body, count, assigned)
            if isinstance(line, When):
                lines[i] = self._conditional(line, assigned)
        i = len(lines) - 1
        while i >= 0:
            line = lines[i]
            while i > 0 and self._nests(lines[i - 1], line, count):
                self._absorb(lines.pop(i - 1), line)
                i -= 1
            i -= 1

    def _conditional(self, line: When, assigned: Counter[Var]) -> Line:
        """`y = relu(h) if act else h`, where that is all, and is no change of a name in one arm."""
        match line:
            case When(condition, [Assign([then], a, hint)], [Assign([orelse], b)]):
                var = self.leader(then)
                plain = [self._vars[n.id] for n in (a, b) if isinstance(n, ast.Name)]
                kept = [v.name for v in plain] if len(plain) == 1 else []
                value = ast.IfExp(condition, a, b)
                short = len(self.shown(value)) + len(then.name or "x") + 3 <= self.width
                if var is self.leader(orelse) and short and then.name not in kept:
                    if assigned[var] == 2:
                        self._pinned.discard(var)
                    assigned[var] -= 1
                    return Assign([then], value, hint)
        return line

    def _nests(self, inner: Line, outer: Line, count: Mapping[Var, int]) -> bool:
        if not isinstance(inner, Assign) or len(inner.targets) != 1 or inner.groups:
            return False
        var = self.leader(inner.targets[0])
        where = place(outer)
        if where is None or var in self._pinned or count.get(var) != 1:
            return False
        if var not in self.reads(where) or var in self._perhaps(where):
            return False
        renaming = isinstance(where, ast.Name)
        named = bool(inner.targets[0].name) and var not in self.final
        if renaming and isinstance(outer, (Assign, Return)):
            return True
        if named and not self._trivial(inner.value):
            return False
        whole = self._put(expr.copied(where), {inner.targets[0]: inner.value}.get)
        return len(self.shown(whole)) + len(head(outer)) <= self.width

    def _perhaps(self, node: ast.expr) -> list[Var]:
        """The variables in the arms of conditional expressions: what makes them is always run."""
        choices = [n for n in ast.walk(node) if isinstance(n, ast.IfExp)]
        return [var for n in choices for arm in (n.body, n.orelse) for var in self.reads(arm)]

    def _trivial(self, value: ast.expr) -> bool:
        """Whether it is a call on tensors with names, and short."""
        if not isinstance(value, ast.Call) or len(self.shown(value)) > TRIVIAL:
            return False
        return all(self._vars[a.id].name if a.id in self._vars else True
                   for a in value.args if isinstance(a, ast.Name))  # fmt: skip

    def shown(self, node: ast.expr) -> str:
        """The expression as text, placeholders by their likely names."""
        likely = self._put(expr.copied(node), lambda var: expr.name(var.name or "x"))
        return text(likely)

    def _absorb(self, inner: Line, outer: Line) -> None:
        assert isinstance(inner, Assign)
        where = place(outer)
        assert where is not None
        replace(outer, self._put(where, {inner.targets[0]: inner.value}.get))
        if isinstance(outer, Assign):
            outer.hint = outer.hint or inner.hint

    def inline(self, values: Mapping[Var, ast.expr]) -> None:
        """Writes these values wherever the variables are read."""
        for line in walk(self.lines):
            where = place(line)
            if where is not None and not values.keys().isdisjoint(self.reads(where)):
                replace(line, self._put(where, values.get))

    # ------------------------------------------------------------------------------ naming

    def finish(self, fixed: Mapping[Var, str], taken: Collection[str]) -> list[ast.stmt]:
        """The statements; `fixed` are the arguments by name, `taken` names that stay free."""
        self._nest(self.lines, self.uses(self.lines), Counter(map(self.leader, self._assigned())))
        self._unread = self._without_readers()
        given = Lifetimes(self, fixed, taken).names
        return gathered([stmt for line in self.lines for stmt in self._statement(line, given)])

    def _assigned(self) -> Iterator[Var]:
        """The variables, once for each line that assigns them."""
        for line in walk(self.lines):
            if isinstance(line, Assign):
                yield from line.targets

    def _without_readers(self) -> set[Var]:
        """Of what one call gives several of, those that nothing reads."""
        count = self.uses(self.lines)
        several = (
            target
            for line in walk(self.lines)
            if isinstance(line, Assign) and len(line.targets) > 1
            for target in line.targets
        )
        return {var for var in map(self.leader, several) if var not in count}

    def _statement(self, line: Line, given: Mapping[Var, str]) -> Iterator[ast.stmt]:
        def put(node: ast.expr) -> ast.expr:
            return self._put(node, lambda var: expr.name(given.get(self.leader(var), "_")))

        match line:
            case Assign(targets=targets, value=value):
                names = [
                    "_" if self.leader(t) in self._unread else given[self.leader(t)]
                    for t in targets
                ]
                target = _target(names, line.groups)
                filled = put(value)
                if not (isinstance(filled, ast.Name) and expr.show(target) == filled.id):
                    yield ast.Assign([target], filled)
            case Return(value=value):
                yield ast.Return(put(value))
            case Store(target=target, value=value):
                yield ast.Assign([target], put(value))
            case Raise(value=value):
                yield ast.Raise(put(value))
            case Do(value=value):
                yield ast.Expr(put(value))
            case Def(name=name, params=params, body=body):
                called = [given.get(self.leader(p), "_") if p else "_" for p in params]
                inner = [s for each in body for s in self._statement(each, given)]
                yield _function(name, called, inner)
            case Break():
                yield ast.Break()
            case For(iterable=ast.Constant(True), body=body):
                yield _endless([s for each in body for s in self._statement(each, given)])
            case For(target=target, iterable=iterable, body=body):
                inner = [s for each in body for s in self._statement(each, given)]
                yield ast.For(target, put(iterable), inner or [ast.Pass()], [])
            case When(condition=condition, then=then, orelse=orelse):
                arms = [
                    [s for each in arm for s in self._statement(each, given)]
                    for arm in (then, orelse)
                ]
                if arms[0]:
                    yield ast.If(put(condition), arms[0], arms[1])
                elif arms[1]:
                    yield ast.If(expr.negate(put(condition)), arms[1], [])


def _target(names: list[str], groups: tuple[int, ...]) -> ast.expr:
    """What is assigned: one name, several, or groups of them."""
    stored: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
    if groups:
        parts = iter(stored)
        grouped = [[next(parts) for _ in range(count)] for count in groups]
        stored = [_group(each) for each in grouped]
    return stored[0] if len(stored) == 1 else ast.Tuple(stored, ast.Store())


def _endless(body: list[ast.stmt]) -> ast.stmt:
    """`while True:`, or `while condition:` where nothing stands before the condition."""
    match body:
        case [ast.If(ast.UnaryOp(ast.Not(), condition), [ast.Break()], []), _, *_]:
            return ast.While(condition, body[1:], [])
    return ast.While(ast.Constant(True), body, [])


def _group(names: list[ast.expr]) -> ast.expr:
    """Names that stand together; `_` where none of them is read."""
    if all(isinstance(name, ast.Name) and name.id == "_" for name in names):
        return ast.Name("_", ast.Store())
    return names[0] if len(names) == 1 else ast.Tuple(names, ast.Store())


def _function(name: str, params: list[str], body: list[ast.stmt]) -> ast.stmt:
    given = ast.arguments([], [ast.arg(p) for p in params], None, [], [], None, [])
    return ast.FunctionDef(name, given, body, [], lineno=0)


class _Put(ast.NodeTransformer):
    """Writes what variables are in the place of their placeholders."""

    def __init__(
        self, variables: Mapping[str, Var], value: Callable[[Var], ast.expr | None]
    ) -> None:
        self.variables = variables
        self.value = value

    def visit_Name(self, name: ast.Name) -> ast.AST:
        var = self.variables.get(name.id)
        return name if var is None else self.value(var) or name


__all__ = [
    "Assign", "Break", "Composer", "Def", "Do", "For", "Line", "Raise", "Return", "Store", "When",
    "expressions",
]  # fmt: skip
