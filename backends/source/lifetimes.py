"""Which name each variable has: several have one where no two of them are needed at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ...compiler import expr
from ...compiler.program import Var
from . import names
from .lines import Assign, For, Line, bodies, length, place

if TYPE_CHECKING:
    from .compose import Composer


class Lifetimes:
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
        self.held: dict[str, _Held] = {}
        self.names: dict[Var, str] = {}
        self._wished: dict[Var, str] = {}
        self._tried: dict[str, tuple[int, int]] = {}
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
            if isinstance(line, Assign):
                self._define(line, now)
            self._scan_bodies(line)
            if isinstance(line, For):
                self._clock += 1
                self._close(line, now, self._touched[before:])

    def _touch(self, var: Var, now: int) -> None:
        self.last[var] = max(self.last.get(var, now), now)
        self.first[var] = min(self.first.get(var, now), now)
        self._touched.append(var)

    def _scan_bodies(self, line: Line) -> None:
        """Arms stand beside each other, and end together: only one of them is run."""
        inside = bodies(line)
        end = self._clock + max(map(length, inside), default=0)
        for body in inside:
            self._clock = end - length(body)
            self._scan(body)

    def _define(self, line: Assign, now: int) -> None:
        for target in line.targets:
            var = self.composer.leader(target)
            self._touch(var, now)
            self.wish.setdefault(var, var.name or target.name)
            self.wish[var] = self.wish[var] or line.hint

    def _pass_on(self, var: Var, line: Line) -> None:
        """What has no name in the source is called like the tensor that it becomes."""
        if isinstance(line, Assign) and len(line.targets) == 1 and not self.wish.get(var):
            heir = self.composer.leader(line.targets[0])
            if heir not in self.composer.final:
                self.heirs[var] = heir

    def _close(self, loop: For, start: int, touched: Iterable[Var]) -> None:
        """What was there before a loop and is read in it is needed until its end."""
        for name in sorted(expr.names(loop.target)):
            self._hold(name, start, self._clock)
        for var in touched:
            if self.last[var] > start and self.first[var] < start:
                self.last[var] = self._clock

    def _hold(self, name: str, first: int, last: int) -> None:
        self.held.setdefault(name, _Held()).add(first, last)

    # ------------------------------------------------------------------------------- naming

    def _name(self, var: Var) -> None:
        first, last = self.first[var], self.last[var]
        if self._overwritten(var, first, last):
            self.names[var] = self.names[self.heirs[var]]
            return
        wish = names.free(self._heir(var) or "h", self.taken)
        self.names[var] = self._numbered(wish, first, last)
        self._hold(self.names[var], first, last)

    def _numbered(self, wish: str, first: int, last: int) -> str:
        """`h`, or the first of `h2`, `h3` that is not needed for something else by then."""
        number, until = self._tried.get(wish, (1, 0))
        if until <= first:
            number, until = 1, self._clock + 1
        while True:
            name = wish if number == 1 else f"{wish}{number}"
            held = self.held.get(name)
            if name not in self.taken:
                if held is None or held.open(first, last):
                    break
                until = min(until, held.until(first))
            number += 1
        self._tried[wish] = number, until
        return name

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
        if heir is None or self.names.get(heir) is None or self.wish.get(var):
            return False
        same = self.body[first] == self.body[last]
        return same and not any(first < at <= last for at in self.read_at.get(heir, ()))


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
