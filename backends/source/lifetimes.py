"""Which name each variable has: several have one where no two of them are needed at a time."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ...compiler import expr
from ...compiler.program import Var
from . import names
from .lines import Assign, Def, For, Line, When, bodies, expressions, length, place

if TYPE_CHECKING:
    from .compose import Composer


class Lifetimes:
    """Gives every variable a name that no other has while both are needed.

    Functions within the function have names of their own: one of theirs may be one of outside that
    they do not read.
    """

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
        self.around: dict[int, int] = {}
        self.read_at: dict[Var, list[int]] = {}
        self.made_at: dict[Var, list[tuple[int, Var | None]]] = {}
        self.held: dict[tuple[str, Def | None], _Held] = {}
        self.passing: dict[Var, _Held] = {}
        self.home: dict[Var, Def] = {}
        self.functions: list[Def] = []
        self.captured: dict[Def, set[Var]] = {}
        self.barred: dict[Def, set[str]] = {}
        self.names: dict[Var, str] = {}
        self._wished: dict[Var, str] = {}
        self._tried: dict[tuple[str, Def | None], tuple[int, int]] = {}
        self._touched: list[Var] = []
        self._clock = 1
        self._scan(composer.lines)
        for var, name in fixed.items():
            self.names[composer.leader(var)] = name
            self._hold(name, 0, self.last.get(composer.leader(var), 0))
        for var in sorted(self.first, key=lambda v: self.first[v]):
            if var not in self.names:
                self._name(var)

    # ---------------------------------------------------------------------------- lifetimes

    def _scan(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._clock += 1
            now = self._clock
            before = len(self._touched)
            self.body[now] = id(lines)
            read = place(line)
            for var in self.composer.reads(read) if read is not None else ():
                self.read_at.setdefault(var, []).append(now)
                self._touch(var, now)
                self._pass_on(var, line)
                self._capture(var)
            if isinstance(line, Assign):
                self._define(line.targets, now, line.hint)
                self._make(line, now)
            if isinstance(line, Def):
                self._enter(line, now)
            self._scan_bodies(line)
            if isinstance(line, Def):
                self.functions.pop()
            if isinstance(line, (For, Def)):
                self._clock += 1
                self._close(line, now, self._touched[before:])

    def _touch(self, var: Var, now: int) -> None:
        self.last[var] = max(self.last.get(var, now), now)
        self.first[var] = min(self.first.get(var, now), now)
        self._touched.append(var)

    def _scan_bodies(self, line: Line) -> None:
        """Arms stand beside each other, and end together: only one of them is run."""
        inside = bodies(line)
        if isinstance(line, When):
            self.around |= {id(body): self.body[self._clock] for body in inside}
        end = self._clock + max(map(length, inside), default=0)
        for body in inside:
            self._clock = end - length(body)
            self._scan(body)

    def _enter(self, line: Def, now: int) -> None:
        """Begins a function: its name is held until the line behind it, which calls it."""
        self._hold(line.name, now, now + length(line.body) + 2)
        plain = {n.id for e in expressions(line.body) for n in ast.walk(e)
                 if isinstance(n, ast.Name) and not n.id.startswith("%")}  # fmt: skip
        self.captured[line], self.barred[line] = set(), plain
        self.functions.append(line)
        given = [p for p in line.params if p is not None]
        self._define(given, now)
        for param in given:  # also those that nothing reads differ in name
            self._touch(self.composer.leader(param), now + 1)

    def _capture(self, var: Var) -> None:
        """Notes that the functions that are being written read a variable of outside."""
        for function in reversed(self.functions):
            if self.home.get(var) is function:
                break
            self.captured[function].add(var)

    def _define(self, targets: Iterable[Var], now: int, hint: str = "") -> None:
        for target in targets:
            var = self.composer.leader(target)
            if self.functions:
                self.home.setdefault(var, self.functions[-1])
            self._touch(var, now)
            self.wish.setdefault(var, var.name or target.name)
            self.wish[var] = self.wish[var] or hint

    def _make(self, line: Assign, now: int) -> None:
        """Notes when a variable is assigned, and which other one it then equals."""
        copied = self.composer.reads(line.value) if isinstance(line.value, ast.Name) else []
        for target in line.targets:
            made = now, copied[0] if copied else None
            self.made_at.setdefault(self.composer.leader(target), []).append(made)

    def _pass_on(self, var: Var, line: Line) -> None:
        """What has no name in the source is called like the tensor that it becomes; so is what has
        the same name, and does nothing but become it."""
        if not isinstance(line, Assign) or len(line.targets) != 1:
            return
        heir = self.composer.leader(line.targets[0])
        copied = isinstance(line.value, ast.Name) and self.wish.get(var) == line.targets[0].name
        if heir not in self.composer.final and (copied or not self.wish.get(var)):
            self.heirs[var] = heir

    def _close(self, loop: For | Def, start: int, touched: Iterable[Var]) -> None:
        """What was there before a loop and is read in it is needed until its end."""
        for name in sorted(expr.names(loop.target)) if isinstance(loop, For) else ():
            self._hold(name, start, self._clock)
        for var in touched:
            if self.last[var] > start and self.first[var] < start:
                self.last[var] = self._clock

    def _hold(self, name: str, first: int, last: int, var: Var | None = None) -> None:
        home = self.functions[-1] if self.functions else None
        home = home if var is None else self.home.get(var)
        self.held.setdefault((name, home), _Held()).add(first, last)

    # ------------------------------------------------------------------------------- naming

    def _name(self, var: Var) -> None:
        first, last = self.first[var], self.last[var]
        if self._overwritten(var, first, last):
            self.names[var] = self.names[self.heirs[var]]
            self.passing.setdefault(self.heirs[var], _Held()).add(first, last)
            return
        wish = names.free(self._heir(var) or "h", self.taken)
        self.names[var] = self._numbered(wish, first, last, self.home.get(var))
        self._hold(self.names[var], first, last, var)

    def _numbered(self, wish: str, first: int, last: int, home: Def | None) -> str:
        """`h`, or the first of `h2`, `h3` that is not needed for something else by then."""
        barred = self.taken if home is None else self.taken | self._barred(home)
        number, until = self._tried.get((wish, home), (1, 0))
        if until <= first:
            number, until = 1, self._clock + 1
        while True:
            name = wish if number == 1 else f"{wish}{number}"
            held = self.held.get((name, home))
            if name not in barred:
                if held is None or held.open(first, last):
                    break
                until = min(until, held.until(first))
            number += 1
        self._tried[wish, home] = number, until
        return name

    def _barred(self, function: Def) -> set[str]:
        """The names that a function reads of outside."""
        found = {self.names[var] for var in self.captured[function] if var in self.names}
        return self.barred[function] | found

    def _heir(self, var: Var) -> str:
        """The name that the source has for it, or for what it becomes."""
        path = {var: None}
        while not (var in self._wished or self.wish.get(var)) and var in self.heirs:
            var = self.heirs[var]
            if var in path:
                break
            path[var] = None
        found = self._wished.get(var) or self.wish.get(var) or var.name
        self._wished.update(dict.fromkeys(path, found))
        return found

    def _overwritten(self, var: Var, first: int, last: int) -> bool:
        """Whether the value is on its way into a variable that nobody reads before that: `h = f(h)`
        and then `h = g(h)` may both be `h`."""
        heir = self.heirs.get(var)
        if heir is None or self.names.get(heir) is None:
            return False
        if self.wish.get(var) and self.wish[var] != self.wish.get(heir):
            return False
        same = self._inside(self.body[first], self.body[last])
        others = self.passing.get(heir)
        if others is not None and not others.open(first, last):
            return False
        apart = self._equal_until(var, heir, first)
        return same and not any(apart < at <= last for at in self.read_at.get(heir, ()))

    def _equal_until(self, var: Var, heir: Var, first: int) -> int:
        """When a variable that begins as a copy of its heir is assigned anew: `skip = x`, and then,
        if so, `skip = f(x)`."""
        match self.made_at.get(var):
            case [(at, copied), (again, _), *_] if at == first and copied is heir:
                once = self._inside(self.body[again], self.body[first])
                return again if once else first
        return first

    def _inside(self, body: int | None, outer: int) -> bool:
        """Whether one body is the other, or an arm in it."""
        while body is not None and body != outer:
            body = self.around.get(body)
        return body == outer


class _Held:
    """The times at which a name is needed: where each begins, and how far those up to it reach."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.reach: list[int] = []

    def add(self, first: int, last: int) -> None:
        at = bisect_right(self.starts, first)
        self.starts.insert(at, first)
        self.reach.insert(at, max(last, self.reach[at - 1] if at else 0))
        for later in range(at + 1, len(self.starts)):
            self.reach[later] = max(self.reach[later], last)

    def open(self, first: int, last: int) -> bool:
        """Whether the name is not needed in between."""
        at = bisect_left(self.starts, last)
        return at == 0 or self.reach[at - 1] <= first

    def until(self, now: int) -> int:
        """How far those times reach that begin before `now`."""
        at = bisect_left(self.starts, now)
        return self.reach[at - 1] if at else 0
