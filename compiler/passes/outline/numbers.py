"""Numbers that a loop carries, as `width` in `width = 2 * width`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ... import expr
from ...dim import Dim, symbol
from ...expr import Expr
from ...program import RunningSize, Statement
from .frame import Frame, Unroll, plain, same
from .reads import names_read

if TYPE_CHECKING:
    from .body import Body, Part


class Numbers:
    """The numbers that the iterations of `frames` hand on. One that is called like something
    outside of the loop gets a name of its own, since that may still be read behind the loop."""

    def __init__(self, part: Part, frames: Sequence[Frame]) -> None:
        self.part = part
        self.frames = frames
        outside = {name for frame in part.frames for name in frame.names}
        carried = set.intersection(*(set(frame.scope.carries) for frame in frames))
        self.names = {name: _free(name, outside) for name in sorted(carried)}
        for frame in frames:
            for name, own in self.names.items():
                frame.names[own] = frame.scope.values[name]

    @property
    def renamed(self) -> dict[str, Expr]:
        """The source's names as expressions of the class."""
        return {name: expr.name(own) for name, own in self.names.items() if own != name}

    def size(self, body: Body, sizes: Sequence[Dim]) -> Dim | None:
        """The number that is the size in every iteration, if there is one."""
        found = (symbol(own) for own in self.names.values())
        return next((each for each in found if body.sizes.holds(each, sizes)), None)

    def close(
        self, body: Body, statements: list[Statement], sizes: Sequence[RunningSize]
    ) -> list[RunningSize]:
        """How those numbers go on that something reads."""
        updates = {name: self._update(body, name) for name in self.names}
        read = set.union(body.builder.init_names, *names_read(statements, set(), ()))
        read |= {n for size in sizes for n in expr.names(size.update or size.start)}
        found: dict[str, RunningSize] = {}
        while missing := [n for n, own in self.names.items() if own in read and n not in found]:
            for name in missing:
                update = updates[name]
                if update is None:
                    raise Unroll(self.frames[0].scope)
                start = self._start(name)
                if all(type(frame.scope.values[name]) is int for frame in self.frames):
                    start, update = expr.integral(start), expr.integral(update)
                found[name] = RunningSize(self.names[name], start, update)
                read |= expr.names(update)
        return self._ordered(list(found.values()))

    def _start(self, name: str) -> Expr:
        firsts = [frame for frame in self.frames if frame.number == 0]
        sources = [self.part.bound(f.scope.exprs.get(name), i) for i, f in enumerate(firsts)]
        return self.part.common([f.scope.values[name] for f in firsts], sources)

    def _update(self, body: Body, name: str) -> Expr | None:
        """The expression of the next value, if it is one for all iterations and holds."""
        sources = [body.own(frame.scope.carries[name]) for frame in self.frames]
        if not all(expr.same(source, sources[0]) for source in sources):
            return None
        follows = (p for p in pairwise(self.frames) if p[1].outer is p[0].outer)
        holds = (same(a.evaluate(sources[0]), _value(b, name)) for a, b in follows)
        return sources[0] if expr.known(sources[0]) and all(holds) else None

    def _ordered(self, sizes: list[RunningSize]) -> list[RunningSize]:
        """In an order in which no number is read after it has changed."""
        ordered: list[RunningSize] = []
        while sizes:
            ready = [s for s in sizes if not any(_reads(o, s) for o in sizes if o is not s)]
            if not ready:
                raise Unroll(self.frames[0].scope)
            ordered.append(ready[0])
            sizes.remove(ready[0])
        return ordered


def _free(name: str, outside: set[str]) -> str:
    while name in outside:
        name += "_"
    return name


def _value(frame: Frame, name: str) -> Any:
    return plain(frame.scope.values[name])


def _reads(size: RunningSize, other: RunningSize) -> bool:
    return size.update is not None and other.name in expr.names(size.update)


__all__ = ["Numbers"]
