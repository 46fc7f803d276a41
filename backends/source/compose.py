"""Statements from expressions: what is nested, what gets a name of its own, and which name.

A backend says what each tensor of a class body is, where it loops and branches, what it returns.
Tensors are placeholders until the end; then a value that is used once and has no name in the source
is written where it is used, as long as the line stays readable, and the rest are named as in the
source: a name is used again only where its former tensor is no longer needed.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ...compiler import expr
from ...compiler.program import Var
from . import names
from .tree import text

WIDTH = 86
"""The longest statement, in characters without indentation, that nesting may make."""

TRIVIAL = 20
"""A value named in the source is nested all the same if it is as short as this."""


@dataclass(eq=False, slots=True)
class Assign:
    """`targets = value`; `hint` names targets that the source does not."""

    targets: list[Var]
    value: ast.expr
    hint: str = ""


@dataclass(eq=False, slots=True)
class Return:
    """`return value`."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Do:
    """An expression for its effect."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Raise:
    """`raise value`."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Store:
    """`target = value`, where the target is an attribute."""

    target: ast.expr
    value: ast.expr


@dataclass(eq=False, slots=True)
class For:
    """`for target in iterable:`; the names in `target` are fixed."""

    target: ast.expr
    iterable: ast.expr
    body: list[Line] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class When:
    """`if condition: then else: orelse`."""

    condition: ast.expr
    then: list[Line] = field(default_factory=list)
    orelse: list[Line] = field(default_factory=list)


Line: TypeAlias = "Assign | Return | Do | Raise | Store | For | When"


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
        for line in _walk(lines):
            for node in _expressions(line):
                for var in self.reads(node):
                    count[var] = count.get(var, 0) + 1
        return count

    def _put(self, node: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
        class Put(ast.NodeTransformer):
            def visit_Name(self, name: ast.Name) -> ast.AST:
                return values.get(name.id, name)

        result = Put().visit(node)
        assert isinstance(result, ast.expr)
        return result

    # ----------------------------------------------------------------------------- nesting

    def nest(self, lines: list[Line]) -> None:
        """Writes values that are used once where they are used."""
        for i, line in enumerate(lines):
            for body in _bodies(line):
                self.nest(body)
            if isinstance(line, When):
                lines[i] = self._conditional(line)
        count = self.uses(self.lines)
        i = len(lines) - 1
        while i >= 0:
            line = lines[i]
            while i > 0 and self._nests(lines[i - 1], line, count):
                self._absorb(lines.pop(i - 1), line)
                i -= 1
            i -= 1

    def _conditional(self, line: When) -> Line:
        """`y = relu(h) if act else h`, where that is all, and is no change of a name in one arm."""
        match line:
            case When(condition, [Assign([then], a, hint)], [Assign([orelse], b)]):
                var = self.leader(then)
                plain = [self._vars[n.id] for n in (a, b) if isinstance(n, ast.Name)]
                kept = [v.name for v in plain] if len(plain) == 1 else []
                value = ast.IfExp(condition, a, b)
                short = len(self.shown(value)) + len(then.name or "x") + 3 <= self.width
                if var is self.leader(orelse) and short and then.name not in kept:
                    if self._assigned(var) == 2:
                        self._pinned.discard(var)
                    return Assign([then], value, hint)
        return line

    def _assigned(self, var: Var) -> int:
        """How many lines assign the variable."""
        lines = (line for line in _walk(self.lines) if isinstance(line, Assign))
        return sum(self.leader(target) is var for line in lines for target in line.targets)

    def _nests(self, inner: Line, outer: Line, count: Mapping[Var, int]) -> bool:
        if not isinstance(inner, Assign) or len(inner.targets) != 1:
            return False
        var = self.leader(inner.targets[0])
        place = _place(outer)
        if place is None or var in self._pinned or count.get(var) != 1:
            return False
        if var not in self.reads(place) or var in self._perhaps(place):
            return False
        renaming = isinstance(place, ast.Name)
        named = bool(inner.targets[0].name) and var not in self.final
        if renaming and isinstance(outer, (Assign, Return)):
            return True
        if named and not self._trivial(inner.value):
            return False
        whole = self._put(_copy(place), {self._id(inner.targets[0]): inner.value})
        return len(self.shown(whole)) + len(_head(outer)) <= self.width

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
        likely = {i: ast.Name(v.name or "x", ast.Load()) for i, v in self._vars.items()}
        return text(self._put(_copy(node), likely))

    def _absorb(self, inner: Line, outer: Line) -> None:
        assert isinstance(inner, Assign)
        place = _place(outer)
        assert place is not None
        _replace(outer, self._put(place, {self._id(inner.targets[0]): inner.value}))
        if isinstance(outer, Assign):
            outer.hint = outer.hint or inner.hint

    def inline(self, var: Var, value: ast.expr) -> None:
        """Writes `value` wherever `var` is read."""
        for line in _walk(self.lines):
            place = _place(line)
            if place is not None and var in self.reads(place):
                _replace(line, self._put(place, {self._id(var): value}))

    # ------------------------------------------------------------------------------ naming

    def finish(self, fixed: Mapping[Var, str], taken: Collection[str]) -> list[ast.stmt]:
        """The statements; `fixed` are the arguments by name, `taken` names that stay free."""
        self.nest(self.lines)
        self._unread = self._without_readers()
        naming = _Naming(self, fixed, taken)
        return [stmt for line in self.lines for stmt in self._statement(line, naming.names)]

    def _without_readers(self) -> set[Var]:
        """Of what one call gives several of, those that nothing reads."""
        count = self.uses(self.lines)
        several = (
            target
            for line in _walk(self.lines)
            if isinstance(line, Assign) and len(line.targets) > 1
            for target in line.targets
        )
        return {var for var in map(self.leader, several) if var not in count}

    def _statement(self, line: Line, given: Mapping[Var, str]) -> Iterator[ast.stmt]:
        values = {
            i: ast.Name(given.get(self.leader(v), "_"), ast.Load()) for i, v in self._vars.items()
        }

        def put(node: ast.expr) -> ast.expr:
            return self._put(node, dict(values))

        match line:
            case Assign(targets=targets, value=value):
                names = [
                    "_" if self.leader(t) in self._unread else given[self.leader(t)]
                    for t in targets
                ]
                stored: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
                target = stored[0] if len(stored) == 1 else ast.Tuple(stored, ast.Store())
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


class _Naming:
    """Gives every variable a name that no other has while both are needed."""

    def __init__(
        self, composer: Composer, fixed: Mapping[Var, str], taken: Collection[str]
    ) -> None:
        self.composer = composer
        self.taken = set(taken)
        self.first: dict[Var, int] = {}
        self.last: dict[Var, int] = {}
        self.wish: dict[Var, str] = {}
        self.heirs: dict[Var, Var] = {}
        self.body: dict[int, int] = {}
        self.read_at: dict[Var, list[int]] = {}
        self.held: dict[str, list[tuple[int, int]]] = {}
        self.names: dict[Var, str] = {}
        self._clock = 1
        self._scan(composer.lines, ())
        for var, name in fixed.items():
            self.names[composer.leader(var)] = name
            self._hold(name, 0, self.last.get(composer.leader(var), 0))
        for var in sorted(self.first, key=lambda v: self.first[v]):
            if var not in self.names:
                self._name(var)

    def _scan(self, lines: Iterable[Line], loops: tuple[For, ...]) -> None:
        for line in lines:
            self._clock += 1
            now = self._clock
            self.body[now] = id(lines)
            for node in _expressions(line):
                for var in self.composer.reads(node):
                    self.read_at.setdefault(var, []).append(now)
                    self.last[var] = max(self.last.get(var, now), now)
                    self.first[var] = min(self.first.get(var, now), now)
                    self._pass_on(var, line)
            if isinstance(line, Assign):
                self._define(line, now)
            self._scan_bodies(line, loops)
            if isinstance(line, For):
                self._clock += 1
                self._close(line, now)

    def _scan_bodies(self, line: Line, loops: tuple[For, ...]) -> None:
        """Arms stand beside each other, and end together: only one of them is run."""
        inner = (*loops, line) if isinstance(line, For) else loops
        bodies = _bodies(line)
        end = self._clock + max(map(_length, bodies), default=0)
        for body in bodies:
            self._clock = end - _length(body)
            self._scan(body, inner)

    def _define(self, line: Assign, now: int) -> None:
        for target in line.targets:
            var = self.composer.leader(target)
            self.first[var] = min(self.first.get(var, now), now)
            self.last[var] = max(self.last.get(var, now), now)
            self.wish.setdefault(var, var.name or target.name)
            self.wish[var] = self.wish[var] or line.hint

    def _pass_on(self, var: Var, line: Line) -> None:
        """What has no name in the source is called like the tensor that it becomes."""
        if isinstance(line, Assign) and len(line.targets) == 1 and not self.wish.get(var):
            heir = self.composer.leader(line.targets[0])
            if heir not in self.composer.final:
                self.heirs[var] = heir

    def _heir(self, var: Var) -> str:
        seen = {var}
        while not self.wish.get(var) and self.heirs.get(var, var) not in seen:
            var = self.heirs[var]
            seen.add(var)
        return self.wish.get(var) or var.name

    def _close(self, loop: For, start: int) -> None:
        """What was there before a loop and is read in it is needed until its end."""
        for name in sorted(expr.names(loop.target)):
            self._hold(name, start, self._clock)
        for var, last in self.last.items():
            if last > start and self.first.get(var, 0) < start:
                self.last[var] = self._clock

    def _hold(self, name: str, first: int, last: int) -> None:
        self.held.setdefault(name, []).append((first, last))

    def _name(self, var: Var) -> None:
        first, last = self.first[var], self.last.get(var, self.first[var])
        wish = names.free(self._heir(var) or "h", self.taken)
        name, number = wish, 2
        if self._overwritten(var, first, last):
            self.names[var] = self.names[self.heirs[var]]
            return
        while not self._open(name, first, last) or name in self.taken:
            name, number = f"{wish}{number}", number + 1
        self.names[var] = name
        self._hold(name, first, last)

    def _overwritten(self, var: Var, first: int, last: int) -> bool:
        """Whether the value is on its way into a variable that nobody reads before that: `h = f(h)`
        and then `h = g(h)` may both be `h`."""
        heir = self.heirs.get(var)
        if heir is None or self.names.get(heir) is None or self.wish.get(var):
            return False
        same = self.body[first] == self.body[last]
        return same and not any(first < at <= last for at in self.read_at.get(heir, ()))

    def _open(self, name: str, first: int, last: int) -> bool:
        return all(last <= a or b <= first for a, b in self.held.get(name, []))


def expressions(lines: Iterable[Line]) -> Iterator[ast.expr]:
    """Everything that lines read, those within them too."""
    for line in _walk(lines):
        yield from _expressions(line)


def _walk(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield line
        for body in _bodies(line):
            yield from _walk(body)


def _bodies(line: Line) -> tuple[list[Line], ...]:
    match line:
        case For(body=body):
            return (body,)
        case When(then=then, orelse=orelse):
            return (then, orelse)
    return ()


def _length(lines: Iterable[Line]) -> int:
    """How many steps of the clock lines take; arms of one choice take them together."""
    steps = 0
    for line in lines:
        steps += 1 + max(map(_length, _bodies(line)), default=0) + isinstance(line, For)
    return steps


def _place(line: Line) -> ast.expr | None:
    """The expression of a line into which the line before it may be nested."""
    match line:
        case Assign(value=value) | Return(value=value) | Do(value=value) | Store(value=value):
            return value
        case Raise(value=value):
            return value
        case For(iterable=iterable):
            return iterable
        case When(condition=condition):
            return condition
    return None


def _replace(line: Line, place: ast.expr) -> None:
    """Puts another expression where `_place` finds one."""
    match line:
        case Assign() | Return() | Do() | Raise() | Store():
            line.value = place
        case For():
            line.iterable = place
        case When():
            line.condition = place


def _expressions(line: Line) -> tuple[ast.expr, ...]:
    place = _place(line)
    return (place,) if place is not None else ()


def _head(line: Line) -> str:
    match line:
        case Assign(targets=targets):
            return ", ".join(t.name or "x" for t in targets) + " = "
        case Return():
            return "return "
    return ""


def _copy(node: ast.expr) -> ast.expr:
    import copy

    return copy.deepcopy(node)
