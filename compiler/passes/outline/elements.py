"""Tensors that a loop leaves behind one by one: the skips of a U-Net, the outputs of all stages."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ... import expr
from ...dim import Dim, Size, symbol, symbols
from ...expr import Expr
from ...graph import Type, Value
from ...program import Element, Repeat, Var, Whole, outputs
from .frame import Frame, agree
from .sizes import Sizes

if TYPE_CHECKING:
    from .body import Body

Place: TypeAlias = "tuple[bool, int]"
"""(whether it goes along with the iterations, the index or what that starts from: 0 or -1)."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A loop of a body, with its iterations in all frames."""

    loop: Repeat
    frames: Sequence[Frame]

    def made(self, outer: Sequence[Frame], values: Sequence[Value]) -> list[Frame] | None:
        """The iteration that made each of the values; None unless it made all of them."""
        found = [
            next((f for f in self.frames if f.outer is o and v in f.vars), None)
            for o, v in zip(outer, values, strict=True)
        ]
        present = [frame for frame in found if frame is not None]
        return present if len(present) == len(found) else None

    def count(self, outer: Frame) -> int:
        """How many iterations run within `outer`."""
        return sum(f.outer is outer for f in self.frames)


class Elements:
    """What a body takes from the lists that earlier loops have filled."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.finished: list[Finished] = []
        self.taken: dict[Element, bool] = {}
        self._known: dict[tuple[Var, Place], Element] = {}

    def numbered(self, frames: Sequence[Frame], values: Sequence[Value]) -> Element | None:
        """The element, where the source counts from the start: the last one of a list may have a
        name behind the loop, but is what is meant for this number of iterations alone."""
        outer = self.body.outer.body if self.body.outer else None
        done = [*self.finished, *(outer.elements.finished if outer is not None else ())]
        ends = self._picked(frames, values) if done else set()
        if ends == {False, True}:  # both the third and the last one
            self.body.builder.freeze([each.loop.table for each in done])
        return self.find(frames, values) if ends == {False} else None

    def find(self, frames: Sequence[Frame], values: Sequence[Value]) -> Element | None:
        """The element that is `values[i]` in `frames[i]`: at one index in all of them; or, in a
        loop, the one that has the number of the iteration, counted from either end."""
        for owner, outer in self.owners(frames):
            for done in owner.elements.finished:
                made = done.made(outer, values)
                if made is None:
                    continue
                inside = {frame.vars[value] for frame, value in zip(made, values, strict=True)}
                place = self._place(done, outer, frames, made, values)
                whole = {var for s in done.loop.body for var in outputs(s)}
                if len(inside) == 1 and inside <= whole and place is not None:
                    return self._element(done, inside.pop(), place, frames, values)
        return None

    def owners(self, frames: Sequence[Frame]) -> Iterator[tuple[Body, Sequence[Frame]]]:
        """The bodies whose loops may have made a tensor, with the frames that run them."""
        yield self.body, frames
        if self.body.numbers is not None and self.body.outer is not None:
            yield self.body.outer.body, [f.outer for f in frames if f.outer is not None]

    def _place(
        self,
        done: Finished,
        outer: Sequence[Frame],
        frames: Sequence[Frame],
        made: list[Frame],
        values: Sequence[Value],
    ) -> Place | None:
        counts = [done.count(o) for o in outer]
        first = {m.number for m in made}
        last = {m.number - n for m, n in zip(made, counts, strict=True)}
        ends = self._picked(frames, values)
        for fixed, end in ((first, False), (last, True)):
            if len(fixed) == 1 and ends != {not end}:
                if ends != {end}:  # either may be meant: right only for this number of iterations
                    self.body.builder.freeze([done.loop.table])
                return False, fixed.pop()
        if outer is frames or any(self._turns(f) != n for f, n in zip(frames, counts, strict=True)):
            return None
        if all(m.number == f.number for m, f in zip(made, frames, strict=True)):
            return True, 0
        turned = zip(made, frames, counts, strict=True)
        return (True, -1) if all(m.number == n - 1 - f.number for m, f, n in turned) else None

    def _picked(self, frames: Sequence[Frame], values: Sequence[Value]) -> set[bool]:
        """Whether the source takes the values from the end of their list."""
        tree = self.body.tree
        found: set[bool] = set()
        for frame, value in zip(frames, values, strict=True):
            for picked, ends in frame.block.scope.picks.items():
                found |= ends if tree.current(picked) is value else set()
        return found

    def _turns(self, frame: Frame) -> int:
        """How often the loop runs that the frame is an iteration of."""
        return sum(f.outer is frame.outer for f in self.body.frames)

    def _element(
        self,
        done: Finished,
        var: Var,
        place: Place,
        frames: Sequence[Frame],
        values: Sequence[Value],
    ) -> Element:
        key = self._list(done, var, frames[0], values[0]), place
        if key not in self._known:
            along, index = place
            given = self._replaced(done.loop, frames[0], along, index)
            kind = self._type(frames, values, var.type, given)
            order = agree(frames, [v.order for v in values])
            element = Element(var.name, kind, order, key[0], None if along else index)
            self._known[key] = element
            if along:
                self.taken[element] = index < 0
        for frame, value in zip(frames, values, strict=True):
            frame.vars.setdefault(value, self._known[key])
        return self._known[key]

    def whole(
        self,
        done: Finished,
        var: Var,
        frames: Sequence[Frame],
        pieces: Sequence[Sequence[Value]],
    ) -> Whole:
        """All that a loop has left behind; a size that differs from one to the next has no name."""
        found = self._list(done, var, frames[0], pieces[0][0])
        kind = self._type(frames, [values[0] for values in pieces], var.type, {})
        alike = [
            all(len({v.type.shape[axis] for v in values}) == 1 for values in pieces)
            for axis in range(kind.rank)
        ]
        shape = [
            size if same else symbol(self.body.builder.unknown.name())
            for size, same in zip(kind.shape, alike, strict=True)
        ]
        order = agree(frames, [values[0].order for values in pieces])
        return Whole(var.name, kind.with_(shape=tuple(shape)), order, of=found, loop=done.loop)

    def _list(self, done: Finished, var: Var, frame: Frame, value: Value) -> Var:
        """The list that a loop puts a tensor in."""
        if var not in done.loop.collects:
            done.loop.collects[var] = Var(self._called(frame, value, var), var.type)
            done.loop.chain = None
        return done.loop.collects[var]

    def _called(self, frame: Frame, value: Value, var: Var) -> str:
        """What the source calls the list."""
        current = self.body.tree.current
        lists = {current(v): name for v, name in frame.block.scope.lists.items()}
        return lists.get(value) or f"{var.name or 'value'}s"

    # ------------------------------------------------------------------------------- sizes

    def _replaced(self, loop: Repeat, frame: Frame, along: bool, index: int) -> dict[str, Expr]:
        """The variable of an earlier loop in terms of this one: `widths[-1 - i]` for `width`."""
        if len(loop.variables) != 1:
            return {}
        place = expr.literal(index)
        if along:
            numbers = {n for n, v in frame.scope.values.items() if type(v) is int}
            found = [n for n in sorted(numbers) if self._counts(n)]
            if not found:
                return {}
            place = expr.parse(f"{index} - {found[0]}") if index else expr.name(found[0])
        element: Expr = ast.Subscript(loop.table, place, ast.Load())
        if not expr.names(element):
            element = expr.literal(expr.evaluate(element, {}))
        return {loop.variables[0]: element}

    def _counts(self, name: str) -> bool:
        """Whether a variable of the loop is the number of the iteration."""
        return all(f.scope.values.get(name) == f.number for f in self.body.frames)

    def _type(
        self,
        frames: Sequence[Frame],
        values: Sequence[Value],
        inside: Type,
        given: dict[str, Expr],
    ) -> Type:
        body = self.body
        whole = len(frames) == len(body.frames)
        sizes = body.sizes if whole else Sizes(frames, body.builder.unknown, body.builder.frozen)
        types = [value.type for value in values]
        known = [
            self._explained(sizes, [t.shape[axis] for t in types], size, given)
            for axis, size in enumerate(inside.shape)
        ]
        kind = sizes.type(types[0].with_(shape=tuple(known)), types)
        body.sizes.symbolic.update(sizes.symbolic)
        return kind

    def _explained(
        self, sizes: Sizes, given: Sequence[Dim], inside: Dim, replaced: dict[str, Expr]
    ) -> Dim | None:
        """What a size of the earlier loop is in terms of this body: the same; or what its variable
        stands for here; or else one that the body computes with."""
        if sizes.holds(inside, given):
            return inside
        chosen = self.body.builder.unknown.chosen
        told = replaced or (isinstance(inside, Size) and chosen.keys() & symbols(inside))
        spelled = expr.substitute(expr.literal(inside), chosen)
        first = [expr.substitute(spelled, replaced)] if told else []
        for expression in (*first, *self._expressions(sizes.frames[0])):
            if [frame.evaluate(expression) for frame in sizes.frames] == list(given):
                return sizes.named(expression)
        return None

    def _expressions(self, frame: Frame) -> Iterator[Expr]:
        for item in self.body.tree.body(frame.scope):
            holder = item.node or item.scope
            for expression in holder.exprs.values() if holder is not None else ():
                yield self.body.own(expression)


__all__ = ["Elements", "Finished"]
