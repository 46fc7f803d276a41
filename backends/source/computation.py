"""What a class computes, as lines of one function, where classes hold their layers."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import ClassVar

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import symbol
from ...compiler.expr import Expr
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    Element,
    If,
    Member,
    Phi,
    Repeat,
    RunningSize,
    Statement,
    Var,
    WeightVar,
    Whole,
    followed,
    taken,
    walk,
)  # fmt: skip
from ...compiler.program import outputs as outputs_of
from .compose import Assign, Composer, For, Line, Store, When, expressions
from .constructor import listed
from .draws import lined
from .lists import Lists, counts, numbered, singular, uncounted, zipped
from .names import free
from .parts import Parts, Rule, spell
from .scope import Scope, members, size_of
from .tree import is_literal, real, tree


class Computation(ABC):
    """Collects the lines of one class; what differs between targets is in the hooks below."""

    target: ClassVar[str]
    rules: ClassVar[Mapping[str, Rule]]
    """How ops are written that are not layers of the target's."""

    layers: ClassVar[Mapping[str, Rule | None]]
    """How a layer is applied (`{f}` is the member), None for just `f(x)`."""

    grouped: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """How many of the tensors that a layer gives stand together: `y, (h, c) = lstm(x)`."""

    chains: ClassVar[bool] = True
    """Whether a list of members can be called as a whole."""

    def __init__(self, cls: Class, scope: Scope, taken: frozenset[str]) -> None:
        self.cls = cls
        self.scope = scope
        self.taken = taken
        self.out = Composer()
        self.place = scope.call(self.out.ref)
        self.elements: dict[str, Expr] = {}
        self.fixed: dict[Var, Expr] = {}
        self.around: set[str] = set()
        self.lists = Lists({*taken, *scope.locals, *scope.locals.values(), *cls.inputs})
        self.numbers = numbers(cls)
        applied = [s for s in walk(cls.body) if isinstance(s, Apply)]
        self.made = {out: s for s in applied for out in s.outputs}
        self.ops = {s.member.name: s.op.name for s in applied if s.member is not None}
        self.users = users(cls)
        self.lined = lined(cls)

    # -------------------------------------------------------------------------------- hooks

    def read(self, var: Var) -> Expr:
        """A tensor, a weight as a tensor, or a constant that stays a Python number."""
        if var in self.numbers:
            return number(self.numbers[var], self.place)
        if var in self.fixed:
            return self.fixed[var]
        if isinstance(var, (Element, Whole)):
            return self.lists.element(var)
        if isinstance(var, WeightVar):
            return self.weight(var)
        return self.out.ref(var)

    @abstractmethod
    def weight(self, var: WeightVar) -> Expr:
        """A weight as a tensor of the shape that `var` has."""

    def buffer(self, var: WeightVar) -> Expr:
        """A buffer of a layer as it is after a call, whatever later calls make of it."""
        return self.weight(var)

    def passed_by(self, statement: If, member: Expr, given: Expr) -> Expr:
        """The application of a member that its class may be without."""
        del statement
        return tree("{f}({x})", f=member, x=given)

    def picked(self, statement: Apply) -> Apply | None:
        """The slice of single elements, the axes of which the statement takes away: `x[:, 0]`."""
        given = statement.inputs[0] if statement.op.name == "squeeze" else None
        cut = self.made.get(given) if given is not None else None
        if given is None or cut is None or cut.op.name != "slice" or len(self.users[given]) > 1:
            return None
        sizes = [given.type.shape[axis] for axis in statement.values["axes"]]
        fits = set(statement.values["axes"]) <= set(cut.values["axes"]) and set(sizes) == {1}
        return cut if fits and is_literal(cut.attrs["steps"], 1) else None

    def skips(self, statement: Apply) -> bool:
        """Whether an op is written as part of another."""
        users = self.users.get(statement.outputs[0], ())
        return any(isinstance(u, Apply) and self.picked(u) is statement for u in users)

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        """The member that an If passes by, if that is all it does."""
        return statement.optional

    def reserved(self) -> set[str]:
        """Names that nothing of the function may have."""
        return {*self.taken, *self.scope.locals.values(), *self.cls.inputs}

    def control(self, statement: Apply) -> None:
        """Adds a scan, loop or choice on data."""
        what = f"{self.target} has no spelling of {statement.op.name}"
        raise MlcError("unsupported", what)

    def layer(self, statement: Apply, member: Member) -> None:
        """Adds the application of a layer."""
        rule = self.layers[statement.op.name]
        self.apart(member, statement.outputs)
        if rule is None:
            value = self.called(member, statement.inputs[: len(statement.op.inputs)])
        else:
            value = spell({statement.op.name: rule}, self.parts(statement), self.target)
        made = statement.outputs[:1] if statement.op.effect == "state" else statement.outputs
        groups = self.grouped.get(statement.op.name, ())
        if groups:
            self.out.lines.append(Assign(list(made), value, groups=groups))
        else:
            self.define(made, value)

    def call(self, statement: Call) -> None:
        """Adds the application of a block."""
        self.apart(statement.member, statement.outputs)
        self.define(statement.outputs, self.called(statement.member, statement.inputs))

    def element(self, name: str) -> str:
        """What an element of a list of members is called."""
        return free(singular(name), self.lists.reserved)

    def whole(self, loop: Repeat) -> str | None:
        """The one list of members that a loop only runs through."""
        return loop.chain if loop.chain not in self.elements else None

    def turn(self, loop: Repeat, chain: str) -> None:
        """Adds what one turn of such a loop does."""
        (carried,) = loop.carried
        self.define([carried.next], self.called(Member(chain), (carried.current,)))

    def chain(self, statement: Chain) -> None:
        """Adds the application of a linear branch."""
        self.define((statement.output,), self.called(statement.member, (statement.input,)))

    # --------------------------------------------------------------------------- statements

    def body(self, statements: Sequence[Statement]) -> None:
        """Adds the lines of these statements."""
        for statement in statements:
            match statement:
                case Apply():
                    if not self.skips(statement):
                        self._apply(statement)
                case Call():
                    self.call(statement)
                case Chain():
                    self.chain(statement)
                case If():
                    self._if(statement)
                case Repeat():
                    self._loop(statement)
            self.out.lines += self.lists.appended(outputs_of(statement), self.read)

    def define(self, outputs: Sequence[Var], value: Expr) -> None:
        """`outputs = value`."""
        self.out.lines.append(Assign(list(outputs), value))
        if outputs[0] in self.lined:
            self.out.join(outputs[0])

    def assign(self, outputs: Sequence[Var], value: Expr, groups: tuple[int, ...]) -> None:
        """`(h, c), ys = value`."""
        self.out.lines.append(Assign(list(outputs), value, groups=groups))

    def holder(self, member: Member) -> Expr:
        """A member: `self.conv1`, or the element of a list that the loop is at."""
        if member.name in self.elements:
            return self.elements[member.name]
        return expr.parse(f"self.{self.scope.attribute(member.name)}")

    def apart(self, member: Member, outputs: Sequence[Var]) -> None:
        """Gives what takes the next member of a list a line of its own: Python would look for the
        outer of two members first."""
        if isinstance(self.elements.get(member.name), ast.Call):
            self.out.join(outputs[0])

    def called(self, member: Member, inputs: Sequence[Var | None]) -> Expr:
        """A member applied to tensors."""
        given = [self.read(v) for v in inputs if v is not None]
        return tree("{f}(*{xs})", f=self.holder(member), xs=given)

    def _apply(self, statement: Apply) -> None:
        if statement.outputs[0] in self.numbers:
            return
        if statement.regions:
            self.control(statement)
            return
        member = statement.member
        if member is None or statement.op.name not in self.layers:
            self.define(statement.outputs, self.spelled(statement))
            return
        self.layer(statement, member)
        self._buffers(statement, member)

    def _buffers(self, statement: Apply, member: Member) -> None:
        """What a layer has made of its buffers is read from it, where the model wants to know."""
        parts = ("running_mean", "running_var") if statement.op.effect == "state" else ()
        for part, made in zip(parts, statement.outputs[1:], strict=False):
            if made in self.users:
                self.out.join(made)
                held = WeightVar(made.name, made.type, member=member, part=part)
                self.define([made], self.buffer(held))

    def parts(self, statement: Apply) -> Parts:
        """What a rule is given; `p.name` is the layer that is applied."""
        holder = self.holder(statement.member) if statement.member else None
        return Parts(statement, self.read, self.place, holder, self.numbers)

    def spelled(self, statement: Apply) -> Expr:
        """An op that is no layer."""
        return spell(self.rules, self.parts(statement), self.target)

    def _if(self, statement: If) -> None:
        optional = self.optional_member(statement)
        if optional is not None:
            (phi,) = statement.phis
            given = optional.input if isinstance(optional, Chain) else optional.inputs[0]
            assert given is not None
            assert optional.member is not None
            member = self.holder(optional.member)
            self.define((phi.result,), self.passed_by(statement, member, self.read(given)))
            return
        common = statement.common
        if common is not None:
            results = [phi.result for phi in statement.phis]
            self.define(results, self.called(common.member, common.inputs))
            return
        arms = [self.arm(statement.then, statement.phis, "then"),
                self.arm(statement.orelse, statement.phis, "orelse")]  # fmt: skip
        for phi in statement.phis:
            self.out.join(phi.result)
        self.out.lines.append(When(self.place(statement.condition), arms[0], arms[1]))

    def arm(self, body: Sequence[Statement], phis: Sequence[Phi], which: str) -> list[Line]:
        """The lines of one arm of an If."""
        outside, self.out.lines = self.out.lines, []
        self.body(body)
        for phi in phis:
            self.define([phi.result], self.read(getattr(phi, which)))
        inside, self.out.lines = self.out.lines, outside
        return inside

    # -------------------------------------------------------------------------------- loops

    def _loop(self, loop: Repeat) -> None:
        chain = self.whole(loop)
        if chain and self.chains:
            (carried,) = loop.carried
            self.define((carried.result,), self.called(Member(chain), (carried.initial,)))
            self._behind(loop, set())
            return
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self.define([carried.current], self.read(carried.initial))
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)
        self.out.lines += self.lists.started(loop)
        self.iterators(loop)
        running = [] if chain else self.running(loop)
        self.run_along((size.name, size.start) for size in running)
        line = self.header(loop, chain)
        outside, self.out.lines = self.out.lines, line.body
        if chain:
            self.turn(loop, chain)
        else:
            self.body(loop.body)
        self.run_along((size.name, size.update or size.start) for size in running)
        self.out.lines = outside
        self.out.lines.append(line)
        self._unread(line)
        self._behind(loop, {size.name for size in running})

    def _behind(self, loop: Repeat, known: Set[str]) -> None:
        """`C = h.shape[1]`, for sizes that a loop changes and that lines behind it read."""
        wanted = {size.name for size in loop.sizes} - known
        for name in sorted(wanted & self._names(self.cls.body) if wanted else wanted):
            for var in (carried.result for carried in loop.carried):
                if symbol(name) in var.type.shape:
                    axis = var.type.shape.index(symbol(name))
                    size = size_of(var, axis, self.read)
                    self.out.lines.append(Store(expr.name(self.scope.locals[name]), size))
                    break

    def running(self, loop: Repeat) -> list[RunningSize]:
        """The numbers that change from iteration to iteration and that the lines of a loop read."""
        return carried_numbers(loop, self._names(loop.body))

    def run_along(self, sizes: Iterable[tuple[str, Expr]]) -> None:
        """`dilation = 2 * dilation`."""
        self.out.lines += along(sizes, self.scope, self.place)

    def iterators(self, loop: Repeat) -> None:
        """A list of which a turn takes several members, as loops within loops do, is gone through
        by an iterator: `next(blocks)(h)`."""
        inner = {n for s in walk(loop.body) if isinstance(s, Repeat) for n in listed(s)}
        found = Counter(member.name for member in members(loop.body))
        for name in listed(loop):
            once = name not in inner and found[name] == 1
            if loop.chain or once or name in self.elements:
                continue
            own = free(name, {*self.taken, *self.scope.locals, *self.cls.inputs})
            start = tree("iter({xs})", xs=self.holder(Member(name)))
            self.out.lines.append(Store(expr.name(own), start))
            self.elements[name] = tree("next({xs})", xs=expr.name(own))

    def header(self, loop: Repeat, chain: str | None) -> For:
        """`for width, conv in zip(table, self.conv)`: what the body reads, and no more."""
        lists = [name for name in ([chain] if chain else listed(loop)) if name not in self.elements]
        targets: list[Expr] = []
        sources: list[Expr] = []
        read = followed([loop, *walk(loop.body)], self._names(loop.body))
        reads = set(loop.variables) & read and not chain
        if reads or not (lists or loop.elements):
            targets.append(self.variables(loop))
            table = self.place(loop.table)
            sources.append(table if loop.variables else tree("range({n})", n=table))
        for name in lists:
            element = self.element(name)
            sources.append(self.holder(Member(name)))
            self.elements[name] = expr.name(element)
            targets.append(expr.name(element))
        if reads and lists and counts(loop):
            rest = [*zip(targets[1:], sources[1:], strict=True), *self.lists.taken(loop)]
            return numbered(targets[0], zipped(rest))
        return zipped([*zip(targets, sources, strict=True), *self.lists.taken(loop)])

    def variables(self, loop: Repeat) -> Expr:
        """What its variables are called in the header."""
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        if not names:
            return expr.name("_")
        return names[0] if len(names) == 1 else ast.Tuple(names, ast.Store())

    def _unread(self, line: For) -> None:
        """Writes `_` for the variables that the body turned out not to read."""
        read = {
            n.id for e in expressions(line.body) for n in ast.walk(e) if isinstance(n, ast.Name)
        }
        for node in ast.walk(line.target):
            own = isinstance(node, ast.Name) and node.id in self.scope.variables.values()
            if own and node.id not in read:  # type: ignore[attr-defined]
                node.id = "_"  # type: ignore[attr-defined]
        uncounted(line)

    def _names(self, body: Sequence[Statement]) -> set[str]:
        """The names that the lines of these statements read."""

        def given(statement: Apply | Call) -> Mapping[str, Expr]:
            layer = isinstance(statement, Call) or statement.op.name in self.layers
            return {} if layer else statement.attrs  # type: ignore[union-attr]

        return read_by(body, given)


def read_by(
    body: Sequence[Statement], given: Callable[[Apply | Call], Mapping[str, Expr]]
) -> set[str]:
    """The names that these statements read; `given` is what is written where one is applied."""
    found: set[str] = set()
    for statement in walk(list(body)):
        match statement:
            case Apply() | Call():
                found |= {n for e in given(statement).values() for n in expr.names(e)}
            case If(condition=condition):
                found |= expr.names(condition)
            case Repeat(table=table):
                found |= expr.names(table)
    return found


def carried_numbers(loop: Repeat, read: set[str]) -> list[RunningSize]:
    """Those of the numbers that a loop carries that its body needs, which reads these names."""
    needed = followed([loop, *walk(loop.body)], read)
    return [size for size in loop.sizes if size.name in needed]


def along(
    sizes: Iterable[tuple[str, Expr]], scope: Scope, place: Callable[[Expr], Expr]
) -> Iterator[Line]:
    """`dilation = 2 * dilation`."""
    for name, value in sizes:
        yield Store(expr.name(scope.locals[name]), place(value))


def users(cls: Class) -> dict[Var, list[Statement | None]]:
    """What takes each tensor of a class; None where it leaves the class, or is put in a list."""
    found: dict[Var, list[Statement | None]] = {}
    for statement in walk(cls.body):
        for var in statement.collects if isinstance(statement, Repeat) else ():
            found.setdefault(var, []).append(None)
        for var in taken(statement):
            found.setdefault(var, []).append(statement)
    for var in (*cls.outputs.values(), *(var for _, var in cls.updates)):
        found.setdefault(var, []).append(None)
    return found


# ------------------------------------------------------------------------------------- numbers

MIXED = frozenset(
    {"add", "sub", "mul", "div", "pow", "floor_div", "mod", "maximum", "minimum", "where"}
    | {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
)
"""Ops that every framework takes a Python number in, beside a tensor."""


def numbers(cls: Class) -> dict[Var, Apply]:
    """The constants of rank 0 that can stay Python numbers: each use has a tensor beside them."""
    found = {
        s.outputs[0]: s
        for s in walk(cls.body)
        if isinstance(s, Apply) and s.op.name == "constant" and s.outputs[0].type.rank == 0
    }
    kept = {*cls.outputs.values(), *(var for _, var in cls.updates)}
    for statement in walk(cls.body):
        kept.update(_tensors(statement, found))
    return {var: made for var, made in found.items() if var not in kept}


def _tensors(statement: Statement, found: Mapping[Var, Apply]) -> list[Var]:
    """What the statement needs as tensors."""
    given = taken(statement)
    if not isinstance(statement, Apply) or statement.op.name not in MIXED:
        return given
    mixed = given[1:] if statement.op.name == "where" else given
    beside = any(v not in found for v in mixed)
    return given[: len(given) - len(mixed)] if beside else given


def number(statement: Apply, place: Callable[[Expr], Expr]) -> Expr:
    """The constant as a literal, or as the expression that the source has for it."""
    given = statement.attrs.get("value")
    if given is not None and expr.names(given):
        return place(given)
    value = statement.values["value"]
    value = value.item() if hasattr(value, "item") else value
    kind = statement.outputs[0].type
    value = bool(value) if kind.dtype == "bool" else float(value) if kind.floating else int(value)
    return real(value) if isinstance(value, float) else expr.literal(value)


__all__ = [
    "Computation", "along", "carried_numbers", "number", "numbers", "read_by", "taken", "users",
]  # fmt: skip
