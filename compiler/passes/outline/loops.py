"""Loops: one body for all iterations, what it carries, and the sizes that change on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import expr
from ...dim import Dim
from ...expr import Expr
from ...graph import Loop, Scope, Value
from ...program import (
    Apply,
    Call,
    Carried,
    Chain,
    If,
    Repeat,
    RunningSize,
    Statement,
    Var,
    walk,
)  # fmt: skip
from .elements import Finished
from .frame import Disagree, Frame, Runs, Unroll, agree, common, disagree, plain, same
from .numbers import Numbers
from .sizes import Sizes

if TYPE_CHECKING:
    from .body import Body, Part


def merge_loop(part: Part) -> Repeat:
    """The loop that all frames of `part` run, over iterations that are all alike."""
    from .body import Body  # bodies hold loops, and loops bodies

    loops = [item.loop for item in part.items]
    frames = [
        Frame(scope, outer, number)
        for outer, item in zip(part.frames, part.items, strict=True)
        for number, scope in enumerate(item.iterations)
    ]
    variables = agree(part.frames, [loop.variables for loop in loops])
    if any(name not in frame.scope.values for frame in frames for name in variables):
        raise Unroll(part.items[0].iterations[0])  # it goes through tensors
    table = _table(part, loops)
    numbers = Numbers(part, frames)
    body = Body(part.builder, frames, part, numbers)
    statements = body.statements()
    for carried in body.carried:
        carried.close(body)
    sizes = [size for carried in body.carried for size in carried.axes.values()]
    sizes += numbers.close(body, statements, sizes)
    results = _results(part, body, frames)
    kept = [carried.record for carried in body.carried]
    chain = _chain(statements, kept[0].current, kept[0].next) if len(kept) == 1 else None
    chain = None if body.elements.taken else chain
    loop = Repeat(loops[0], table, variables, statements, kept, sizes, results, chain)
    loop.elements = body.elements.taken
    part.body.elements.finished.append(Finished(loop, frames))
    return loop


def _table(part: Part, loops: Sequence[Loop]) -> Expr:
    """What the loop runs over: the source's expression, or else the rows themselves."""
    rows = [_rows(item.iterations, loop) for item, loop in zip(part.items, loops, strict=True)]
    sources = [part.bound(loop.table, i) for i, loop in enumerate(loops)]
    given = [
        _normal(f.evaluate(s) if s else None, loop)
        for f, s, loop in zip(part.frames, sources, loops, strict=True)
    ]
    first = sources[0]
    assert first is not None
    alike = all(s is not None and expr.same(s, first) for s in sources)
    alike = alike and all(f.evaluate(first) in (0, ()) for f in part.empty)
    if alike and all(same(g, r) for g, r in zip(given, rows, strict=True)):
        return first
    found = common(part.frames, rows, [None] * len(rows), part.literal)
    if found is None and all(same(row, rows[0]) for row in rows):  # of ops, which have no literal
        raise Unroll(part.items[0].iterations[0])
    if found is None or part.empty:
        frames = [*part.frames, *part.empty]
        disagree(frames, [*rows, *[0] * len(part.empty)])
    part.builder.freeze(sources)
    return found


def _rows(iterations: Sequence[Scope], loop: Loop) -> Any:
    if not loop.variables:
        return len(iterations)
    single = len(loop.variables) == 1
    rows = [tuple(s.values[name] for name in loop.variables) for s in iterations]
    return plain([row[0] if single else row for row in rows])


def _normal(given: Any, loop: Loop) -> Any:
    return given if not loop.variables or given is None else plain(list(given))


class Carry:
    """A tensor that a loop carries, while its body is merged."""

    def __init__(self, body: Body, name: str, starts: Sequence[Value]) -> None:
        assert body.outer is not None
        self.name = name
        self.starts = list(starts)
        outer = body.outer
        firsts = {f.outer: s for f, s in zip(body.frames, starts, strict=True) if f.number == 0}
        initial = outer.body.operand(outer.frames, [firsts[f] for f in outer.frames])
        assert initial is not None
        self.axes: dict[int, RunningSize] = {}
        self.numbers: dict[int, str] = {}
        shape = tuple(self._size(body, axis, was) for axis, was in enumerate(initial.type.shape))
        kind = initial.type.with_(shape=shape)
        current = Var(name, kind, starts[0].order)
        self.record = Carried(initial, current, current, current)

    def _size(self, body: Body, axis: int, was: Dim) -> Dim:
        """The size at the start of an iteration: always the first one, or one that runs along."""
        assert body.outer is not None
        sizes = [s.type.shape[axis] for s in self.starts]
        runs = self._place(body, axis) in body.builder.running
        if body.sizes.holds(was, sizes) and not runs:
            return was
        number = body.numbers.size(body, sizes) if body.numbers else None
        if number is not None:
            self.numbers[axis] = str(number)
            return number
        try:
            start = body.outer.sizes.expression(was)
        except Disagree:
            return body.sizes.dim(None, sizes)
        hint = self._hint(body, axis)
        now = body.sizes.fresh(hint, sizes) if runs else body.sizes.dim(None, sizes, hint)
        if not isinstance(now, int):
            self.axes[axis] = RunningSize(str(now), start)
        return now

    def _hint(self, body: Body, axis: int) -> str:
        """What to call the size: as the first block that takes the tensor does, or by its label."""
        for item in body.tree.body(body.frames[0].scope):
            if item.kind == "call" and item.scope is not None:
                cls, made = body.builder.class_of(item.scope), body.builder.made[item.scope]
                for name, place in cls.sizes.items():
                    if place[1] == axis and made.inputs.get(place[0]) is self.starts[0]:
                        return name
        label = self.starts[0].type.labels[axis]
        return label if label and label.isidentifier() else "channels" if axis == 1 else "width"

    def close(self, body: Body) -> None:
        """Finds what the tensor is at the end of the body, and how its sizes move on."""
        name = self.record.current.name
        ends = [body.tree.current(f.scope.outputs[name]) for f in body.frames]
        last = body.operand(body.frames, ends)
        assert last is not None
        self.record.next = last
        self._constant(body, last)
        for axis, size in list(self.axes.items()):
            try:
                size.update = body.sizes.expression(last.type.shape[axis])
            except Disagree:
                if size.name in body.builder.init_names:
                    raise
                del self.axes[axis]  # nobody asks for it
        for axis, number in self.numbers.items():
            if not body.becomes(number, last.type.shape[axis]):
                raise Unroll(body.frames[0].scope)

    def _constant(self, body: Body, last: Var) -> None:
        """Holds the sizes that do not run to being what they are at the start by expression, too:
        3 and `width` are two, also where all instances have a width of 3."""
        shapes = zip(self.record.current.type.shape, last.type.shape, strict=True)
        for axis, (was, now) in enumerate(shapes):
            runs = axis in self.axes or axis in self.numbers
            if runs or body.sizes.unknown.equal(was, now):
                continue
            with suppress(Disagree):  # what has no expression is nobody's size
                body.sizes.expression(was), body.sizes.expression(now)
                raise Runs(self._place(body, axis))

    def _place(self, body: Body, axis: int) -> tuple[int, str, int]:
        loop = body.frames[0].scope.loop
        assert loop is not None
        return loop.site, self.name, axis


def _results(part: Part, body: Body, frames: Sequence[Frame]) -> dict[Var, Var]:
    """What the tensors of the last iteration are called after the loop; what it carries comes
    last, since that is the name of a tensor that has several."""
    last = {f.outer: f for f in frames}
    ends = [last[f] for f in part.frames]
    results: dict[Var, Var] = {}
    carried = {carry.record.next for carry in body.carried}
    for value, var in list(ends[0].vars.items()):
        if var not in carried and not part.empty:
            values = [next((v for v, x in f.vars.items() if x is var), value) for f in ends]
            _leave(part, results, var, values, {})
    for carry in body.carried:
        var, name = carry.record.next, carry.record.current.name
        values = [body.tree.current(f.scope.outputs[name]) for f in ends]
        running = {**{axis: size.name for axis, size in carry.axes.items()}, **carry.numbers}
        initial = carry.record.initial
        carry.record.result = _leave(part, results, var, values, running, initial)
        for frame in part.empty:
            frame.passed[carry.record.result] = carry.record.initial
    return results


def _leave(
    part: Part,
    results: dict[Var, Var],
    var: Var,
    values: Sequence[Value],
    running: Mapping[int, str],
    initial: Var | None = None,
) -> Var:
    """What `var`, which is `values` in the last iterations, is after the loop; where that runs no
    time, it is `initial`."""
    types = [v.type for v in values]
    sizes = part.sizes
    if part.empty and initial is not None:
        passed = [frame.value(initial) for frame in part.empty]
        if any(value is None for value in passed):
            disagree([*part.frames, *part.empty], [*[1] * len(values), *[0] * len(passed)])
        types += [value.type for value in passed if value is not None]
        frames = [*part.frames, *part.empty]
        sizes = Sizes(frames, part.builder.unknown, part.builder.frozen)
    kind = sizes.after(var.type, types, running)
    part.body.sizes.symbolic.update(sizes.symbolic)
    result = results.setdefault(var, Var(var.name, kind, var.order))
    for frame, each in zip(part.frames, values, strict=True):
        frame.vars[each] = result
    return result


def _chain(body: Sequence[Statement], current: Var, last: Var) -> str | None:
    """The list that all members stand in, if each takes only the output of the one before."""
    names = _linked(body, current, last)
    return names.pop() if len(names) == 1 else None


def _linked(body: Sequence[Statement], current: Var, last: Var) -> set[str | None]:
    """The lists that members stand in, from a tensor to the last one; None where one stands in
    no list, or takes anything else."""
    names: set[str | None] = set()
    for statement in body:
        match statement:
            case Apply(member=member) | Call(member=member):
                data = [v for v in statement.inputs if v is not None]
                linear = len(data) == 1 and data[0] is current and _gives_one(statement)
                listed = member is not None and member.listed
                names.add(member.name if member and linear and listed else None)
                current = statement.outputs[0]
            case Repeat(carried=[one]):
                names.add(statement.chain if one.initial is current else None)
                current = one.result
            case If(phis=[phi]):
                names |= _linked(statement.then, current, phi.then)
                names |= _linked(statement.orelse, current, phi.orelse)
                current = phi.result
            case _:
                return {None}
    return names if current is last else {None}


def _gives_one(statement: Apply | Call) -> bool:
    """Whether it gives one tensor, besides new values of buffers."""
    state = isinstance(statement, Apply) and statement.op.effect == "state"
    return state or len(statement.outputs) == 1


def loops(body: Sequence[Statement]) -> Iterator[Repeat]:
    """The loops of a body that lie in no other loop."""
    for statement in body:
        match statement:
            case Repeat():
                yield statement
            case If(then=then, orelse=orelse):
                yield from loops([*then, *orelse])
            case Apply(regions=regions):
                for region in regions:
                    yield from loops(region.body)


def lists(loop: Repeat) -> set[str]:
    """The names of the lists that a loop's members stand in."""
    return {
        s.member.name
        for s in walk(loop.body)
        if isinstance(s, (Apply, Call, Chain)) and s.member is not None and s.member.listed
    }
