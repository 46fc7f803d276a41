"""Which ops of a class are computed inside layers of its own.

A variable may be used only inside a layer's `call`, and a size that is open until then is known
only there. So the ops that read a `param` or `state`, or name an open size, are gathered in groups,
each of which becomes one small layer: `Position` holds `position` and adds it. A tensor of the
class's own that such groups would have to share is given out by a layer that does nothing else.

Noise is drawn by a layer that does nothing else, and keeps a generator, where its line stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from ...compiler.diagnose import MlcError
from ...compiler.ops.draw import NOISE
from ...compiler.program import (
    Apply,
    Chain,
    Class,
    If,
    Parameter,
    Repeat,
    Statement,
    Var,
    WeightVar,
    walk,
)  # fmt: skip
from ...compiler.program import outputs as outputs_of
from ..source.computation import numbers, users
from ..source.masks import masks
from .layers import LAYERS, WITHIN
from .running import having, open_sizes, sizes_read
from .shapes import needs_sizes

START, END = "start", "end"
"""Where a layer is applied that belongs to no statement."""

Place: TypeAlias = "Statement | str"

HOPS = 3
"""How many ops between two of a group join it."""


@dataclass(eq=False)
class Group:
    """Ops in order that one layer computes, what it takes and gives, and the tensors that it holds.

    `updates` are states with their new values; `outputs` may be a parameter itself. `change` is the
    new value of a state that is given out first, and changed by a second call.
    """

    statements: list[Apply]
    inputs: list[Var] = field(default_factory=list)
    outputs: list[Var] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    updates: list[tuple[Parameter, Var]] = field(default_factory=list)
    change: Var | None = None


class Grouping:
    """The groups of one class."""

    def __init__(self, cls: Class) -> None:
        self.cls = cls
        self.open = open_sizes(cls)
        self.numbers = numbers(cls)
        self.place = {s: (body, i) for body in _bodies(cls.body) for i, s in enumerate(body)}
        whole = {inner: s for s in self.place if isinstance(s, Apply) for inner in walk([s])}
        self.users = {
            var: list(dict.fromkeys(whole.get(s, s) if s else None for s in found))
            for var, found in users(cls).items()
        }
        self.made = {o: s for s in self.place for o in getattr(s, "outputs", ())}
        self.parent = {s: outer for outer in self.place for body in _inside(outer) for s in body}
        self.source = {v: s for s in self.place for v in outputs_of(s)}
        self.constants = self._independent()
        self.own = {p.var: p for p in cls.parameters}
        self.states = {p: v for p, v in cls.updates}
        self.along = {s: self._along(s) for s in self.place if isinstance(s, Apply)}
        self.given_out = {p for p in cls.parameters if not self._readable(p)}
        self.groups: list[list[Apply]] = []
        self.group: dict[Apply, list[Apply]] = {}
        self.holders: dict[Statement | None, list[set[Apply]]] = {}
        while not self._settled():
            pass

    # --------------------------------------------------------------------------- what joins

    def _readable(self, parameter: Parameter) -> bool:
        """Whether only plain ops of the class's own body read it."""
        return all(
            r is not None and self._plain(r) and self.place[r][0] is self.cls.body
            for r in self.users.get(parameter.var, [])
        )

    def _plain(self, statement: Statement) -> bool:
        """Whether it is an op that can be written inside a layer, and no layer by itself."""
        if not isinstance(statement, Apply):
            return False
        if statement.op.name not in WITHIN and not statement.regions:
            return False
        return statement.member is None or statement.op.name not in LAYERS

    def _seed(self, statement: Apply) -> bool:
        own = any(v in self.own and self.own[v] not in self.given_out for v in _given(statement))
        return (
            own
            or statement.op is NOISE
            or masks(statement)
            or bool(statement.regions)
            or self._needs_sizes(statement)
            or self._from_nothing(statement)
        )

    def _needs_sizes(self, statement: Apply) -> bool:
        if statement.outputs[0] in self.numbers:
            return False
        read = (self.numbers[v] for v in _given(statement) if v in self.numbers)
        return any(needs_sizes(s, self.open) for s in (statement, *read))

    def _from_nothing(self, statement: Apply) -> bool:
        """Whether it leaves the class and is computed from no input: a constant."""
        leaves = any(not self._plain(u) if u else True for u in self._users(statement))
        constant = statement in self.constants and statement.outputs[0] not in self.numbers
        return leaves and constant

    def _independent(self) -> set[Apply]:
        """The ops that are computed from no input and no weight."""
        found: set[Apply] = set()
        for statement in walk(self.cls.body):
            if (
                isinstance(statement, Apply)
                and statement in self.place
                and statement.op is not NOISE
            ):
                made = [None if isinstance(v, WeightVar) else self.made.get(v)
                        for v in _given(statement)]  # fmt: skip
                if all(m in found for m in made):
                    found.add(statement)
        return found

    def is_constant(self, var: Var) -> bool:
        """Whether a tensor depends on no input."""
        made = self.made.get(var)
        return var in self.numbers or made in self.constants

    def _with_constants(self, statement: Apply) -> list[Apply]:
        """An op, and if no input is behind what it takes, those from which that is computed."""
        found = {statement: None}
        rest = [] if _tensors(statement, self) else [statement]
        while rest:
            for var in _given(rest.pop()):
                made = self.made.get(var)
                if isinstance(made, Apply) and var not in self.numbers and made not in found:
                    found[made] = None
                    rest.append(made)
        return self._ordered([*found])

    def _users(self, statement: Apply) -> list[Statement | None]:
        return [u for o in statement.outputs for u in self.users.get(o, [])]

    def _settled(self) -> bool:
        """Forms the groups; false where a parameter must be given out, and all begins anew."""
        seeds = [s for s in self.place if isinstance(s, Apply) and self._plain(s) and self._seed(s)]
        self.groups, self.group = [], {}
        for seed in seeds:
            if seed not in self.group:
                self._form(self._with_constants(seed))
        self._join()
        for parameter in self.own.values():
            if parameter in self.given_out:
                continue
            readers = self._readers(parameter)
            if len(readers) > 1 and not self._merge(readers):
                self.given_out.add(parameter)
                return False
        for group in tuple(self.groups):
            if all(g is not group for g in self.groups) or self._convex(group):
                continue
            held = {self.own[v] for s in group for v in _given(s) if v in self.own}
            if held - self.given_out:
                self.given_out |= held
                return False
            if not self._closed(group):
                raise MlcError("internal", f"a layer of {self.cls.name} would need itself")
        return True

    def _readers(self, parameter: Parameter) -> list[list[Apply]]:
        """The groups that read a parameter."""
        users = [u for u in self.users.get(parameter.var, ()) if isinstance(u, Apply)]
        found = {id(self.group[u]) for u in users if u in self.group}
        return [g for g in self.groups if id(g) in found] if found else []

    def _form(self, statements: list[Apply], *instead: list[Apply]) -> None:
        """Adds a group, in the place of others."""
        gone = {id(group) for group in instead}
        if gone:
            self.groups = [g for g in self.groups if id(g) not in gone]
        self.groups.append(statements)
        for statement in statements:
            if id(self.group.get(statement)) in gone or statement not in self.group:
                self.group[statement] = statements

    def _join(self) -> None:
        """Joins groups with what alone takes their result, where that belongs inside."""
        own = {id(group): set(group) for group in self.groups}
        ends = {id(group): self._ends(group, own[id(group)]) for group in self.groups}
        grown: list[Apply] = []
        i = 0
        while i < len(self.groups):
            group = self.groups[i]
            inside = own[id(group)]
            after = self._follower(ends[id(group)], inside)
            if after is None or group[0].op is NOISE:
                i += 1
                continue
            other = self.group.get(after[-1], [])
            anew = any(s not in self.group for s in after)
            self.groups = [g for g in self.groups if g is not other]
            more = [s for s in dict.fromkeys([*after, *other]) if s not in inside]
            inside.update(more)
            ends[id(group)] = self._ends([*ends[id(group)], *more], inside)
            group += more
            self.group.update(dict.fromkeys(more if grown is group else group, group))
            grown = group
            # What came in anew may be what an earlier group leads to.
            i = 0 if anew else next(j for j, g in enumerate(self.groups) if g is group)
        for group in self.groups:
            group[:] = self._ordered(group)

    def _ends(self, statements: Sequence[Apply], inside: Set[Apply]) -> list[Apply]:
        """Those whose results are taken outside."""
        return [s for s in statements if any(u not in inside for u in self._users(s))]

    def _follower(self, ends: Sequence[Apply], inside: Set[Apply]) -> list[Apply] | None:
        """The ops that take what a group gives: one that belongs inside, with those on the way."""
        last = self._only_user(ends, inside)
        if last is None:
            return None
        if last in self.group or self._without_data(inside):
            return [last]
        path = [last]
        while len(path) < HOPS:
            last = self._only_user(path[-1:], {path[-1]})
            if last is None or len({*_tensors(path[-1], self)}) > 1:
                return None
            path.append(last)
            if last in self.group:
                return path
        return None

    def _only_user(self, ends: Sequence[Apply], inside: Set[Apply]) -> Apply | None:
        """The one plain op of the same body that takes all that leaves these."""
        found = {u for s in ends for u in self._users(s)} - inside
        user = next(iter(found)) if len(found) == 1 else None
        if not isinstance(user, Apply) or not self._plain(user):
            return None
        return user if self.place[user][0] is self.place[ends[0]][0] else None

    def _without_data(self, group: Collection[Apply]) -> bool:
        """Whether a group takes no tensor: only what the class holds, and constants."""
        own = {o for s in group for o in s.outputs}
        taken = {v for s in group for v in _tensors(s, self)} - own
        return not taken

    def _merge(self, groups: list[list[Apply]]) -> bool:
        """Joins groups that read one parameter, where no op between them is outside."""
        merged = self._ordered([s for group in groups for s in group])
        if not self._convex(merged):
            return False
        self._form(merged, *groups)
        return True

    def _ordered(self, statements: Sequence[Apply]) -> list[Apply]:
        unique = dict.fromkeys(statements)
        return sorted(unique, key=lambda s: self.place[s][1])

    def _convex(self, group: Sequence[Apply]) -> bool:
        """Whether all it takes is there before anything outside takes what it gives."""
        body = self.place[group[0]][0]
        if any(self.place[s][0] is not body for s in group):
            return False
        own = set(group)
        start = self._start(group, body)
        outside = [u for s in group for u in self._users(s) if u is not None and u not in own]
        return all(start < self._wanted(u, body) for u in outside)

    def _closed(self, group: list[Apply]) -> bool:
        """Takes in the ops between those of a group, and says whether they may all be inside."""
        found = list(group)
        while not self._convex(found):
            body = self.place[found[0]][0]
            own = set(found)
            start = self._start(found, body)
            between = [u for s in found for u in self._users(s) if u is not None
                       and u not in own and self._wanted(u, body) <= start]  # fmt: skip
            more: list[Apply] = []
            for user in between:
                if not isinstance(user, Apply) or not self._plain(user):
                    return False
                more += self.group.get(user, [user])
            if not more:
                return False
            found = self._ordered([*found, *more])
        inside = set(found)
        taken_in = [g for g in self.groups if g is group or inside >= set(g)]
        self._form(found, *taken_in)
        return True

    def _start(self, group: Sequence[Apply], body: list[Statement]) -> int:
        """The place in `body` of the last that must stand before a group."""
        own = set(group)
        taken = (v for s in group for v in (*_given(s), *self.along[s].values())
                 if self.made.get(v) not in own)  # fmt: skip
        return max((self._index(v, body) for v in taken), default=-1)

    def _index(self, var: Var, body: list[Statement]) -> int:
        return self._enclosing(self.source.get(var), body)

    def _enclosing(self, statement: Statement | None, body: list[Statement]) -> int:
        """The place in `body` of the statement, or of the loop or choice that it is in."""
        while statement is not None:
            where, i = self.place.get(statement, (None, -1))
            if where is body:
                return i
            statement = self.parent.get(statement)
        return -1

    def _wanted(self, user: Statement, body: list[Statement]) -> int:
        """The place in `body` at which a user takes what is made in it; its end for one outside."""
        return found if (found := self._enclosing(user, body)) >= 0 else len(body)

    @cached_property
    def eager(self) -> set[Var]:
        """What is computed while the model is put together: constants that no group computes."""
        return {
            o
            for s in self.place
            if isinstance(s, Apply) and s.outputs[0] not in self.numbers
            and s in self.constants and s not in self.group
            for o in s.outputs
        }  # fmt: skip

    # ------------------------------------------------------------------------------- result

    def result(self) -> list[tuple[Place, Group]]:
        """The groups, each with the statement before which its layer is applied.

        START of the class for what gives a parameter out, END for what only changes a state.
        """
        found: list[tuple[Place, Group]] = []
        for parameter in self.cls.parameters:
            if parameter in self.given_out:
                change = self.states.get(parameter)
                made = Group([], self._anything(), [parameter.var], [parameter], [], change)
                found.append((START, made))
        for statements in self._needed():
            group = self._group(statements)
            if not group.outputs:
                group.inputs = list(dict.fromkeys([self._last(), *self._tensors_of(group)]))
            found.append((self._before(statements) if group.outputs else END, group))
        held = {p for _, g in found for p in g.parameters}
        for parameter, value in self.states.items():
            if parameter not in held:
                taken = [self._last(), value]
                found.append((END, Group([], taken, [], [parameter], [(parameter, value)])))
        return found

    def _needed(self) -> list[list[Apply]]:
        """The groups without those of constants that every reader computes for itself."""
        groups = self.groups
        while True:
            self.holders = defaultdict(list)
            for inside in map(set, groups):
                for statement in inside:
                    self.holders[statement].append(inside)
            found = [g for g in groups if self._left(g) or self._holds(g)]
            if len(found) == len(groups):
                return groups
            groups = found

    def _left(self, statements: Sequence[Apply]) -> list[Var]:
        """What of a group's results is read outside, where its op is not computed anew."""
        inside = set(statements)
        return [
            o
            for s in statements
            for o in s.outputs
            if any(u not in inside and not self._anew(s, u) for u in self.users.get(o, []))
        ]

    def _anew(self, statement: Apply, user: Statement | None) -> bool:
        """Whether each group that computes `user` computes `statement` too."""
        around = self.holders.get(user, [])
        return bool(around) and all(statement in group for group in around)

    def _holds(self, statements: Sequence[Apply]) -> bool:
        return any(v in self.own for s in statements for v in _given(s))

    def _last(self) -> Var:
        """What a layer that only changes a state passes on: an output of the class."""
        return next(iter(self.cls.outputs.values()))

    def _tensors_of(self, group: Group) -> list[Var]:
        """What a group takes, if it takes anything of its own accord."""
        read = {v for s in group.statements for v in _given(s)} | {v for _, v in group.updates}
        return [v for v in group.inputs if v in read]

    def _before(self, statements: Sequence[Apply]) -> Statement:
        """The earliest statement at which all that the group takes is there."""
        body = self.place[statements[0]][0]
        own = set(statements)
        outside = [u for s in statements for u in self._users(s) if u and u not in own]
        first = min((self._wanted(u, body) for u in outside), default=len(body))
        last = self.place[statements[-1]][1]
        return body[last] if last < first else body[first]

    def _group(self, statements: list[Apply]) -> Group:
        own = {o for s in statements for o in s.outputs}
        given = {v for s in statements for v in _given(s)}
        held = [p for v, p in self.own.items() if p not in self.given_out and v in given]
        updates = [(p, self.states[p]) for p in held if p in self.states]
        read = [v for s in statements for v in _given(s) if v not in own and v not in self.numbers]
        read += [v for _, v in updates if v not in own]
        tensors = [v for v in read if v not in self.own or self.own[v] in self.given_out]
        known = {str(size) for v in tensors for size in v.type.shape}
        running = {n: v for s in statements for n, v in self.along[s].items()}
        sizes = [running.get(n) or self.cls.inputs[self.cls.sizes[n][0]]
                 for n in sorted(self._names(statements))
                 if n not in known and (n in running or n in self.cls.sizes)]  # fmt: skip
        inputs = list(dict.fromkeys([*tensors, *sizes])) or self._anything()
        outside = set(self._left(statements))
        only = {v for _, v in updates}
        outputs = [o for s in statements for o in s.outputs if o in outside
                   and not (o in only and self._only_updates(o, statements))]  # fmt: skip
        return Group(statements, inputs, outputs, held, updates)

    def _only_updates(self, var: Var, statements: Sequence[Apply]) -> bool:
        """Whether a new value leaves the group for nothing but its state."""
        out = var in self.cls.outputs.values()
        return not out and all(u is None or u in statements for u in self.users.get(var, []))

    def _names(self, statements: Sequence[Apply]) -> set[str]:
        """The open sizes that the ops read, and the numbers that stand in them."""
        return sizes_read(statements, self.numbers) & self.open

    def _along(self, statement: Apply) -> dict[str, Var]:
        """The open sizes it reads that run along loops, each with a tensor that has it by then."""
        read = self._names([statement])
        found: dict[str, Var] = {}
        for loop, (body, i) in self.place.items() if read else ():
            if isinstance(loop, Repeat) and (at := self._enclosing(statement, body)) >= i:
                found |= having(loop, inside=at == i)
        return {n: v for n, v in found.items() if n in read}

    def _anything(self) -> list[Var]:
        """Something to apply a layer to that takes no tensor."""
        return list(self.cls.inputs.values())[:1]


def _given(statement: Apply) -> list[Var]:
    return [v for v in statement.inputs if v is not None]


def _tensors(statement: Apply, grouping: Grouping) -> list[Var]:
    """What an op takes that depends on the inputs."""
    return [v for v in _given(statement) if not (v in grouping.own or grouping.is_constant(v))]


def _bodies(body: list[Statement]) -> Iterator[list[Statement]]:
    yield body
    for statement in body:
        for inner in _inside(statement):
            yield from _bodies(inner)


def _inside(statement: Statement) -> tuple[list[Statement], ...]:
    match statement:
        case Repeat(body=body):
            return (body,)
        case If(then=then, orelse=orelse):
            return (then, orelse)
        case Chain(body=body):
            return (body,)
    return ()


__all__ = ["END", "START", "Group", "Grouping", "Place"]
