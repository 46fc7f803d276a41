"""Loops over equal layers as one call of layers whose arrays have an axis for them: a scan.

What is traced and compiled is then one turn of the loop, however many there are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, names
from ...compiler.graph import Scope
from ...compiler.program import (
    Apply,
    Call,
    Carried,
    Chain,
    Class,
    If,
    Member,
    Phi,
    Program,
    Repeat,
    Statement,
    Var,
    WeightVar,
    Whole,
    walk,
)  # fmt: skip
from ..source.draws import draws
from .runs import Runs


@dataclass(eq=False, slots=True)
class Stack(Call):
    """The calls of a loop as one: of `count` equal blocks, on what the first input carries from one
    to the next. Of the `each` inputs behind it every block takes a slice, and what they give
    besides what is carried is stacked."""

    loop: Repeat = field(kw_only=True)
    count: Expr = field(kw_only=True)
    each: int = field(kw_only=True)
    empty: bool = field(kw_only=True)
    """Whether the loop runs no time in some place."""

    @property
    def more(self) -> bool:
        """Whether it takes or gives more than what is carried, and what is the same for all."""
        return bool(self.each) or len(self.outputs) > 1


@dataclass(frozen=True, slots=True)
class Left:
    """A loop that stays one, and why."""

    cls: Class
    loop: Repeat
    why: str

    def __str__(self) -> str:
        line = self.loop.loop.name
        return f"the loop over {line} of {self.cls.name} is not scanned: {self.why}"


def stack(program: Program, runs: Runs) -> list[Left]:
    """Puts a Stack in the place of each loop that can be one; says which cannot.

    MlcError `unsupported` if none can.
    """
    left: list[Left] = []
    for cls in program.classes:
        cls.body[:] = _Stacking(cls, runs, left).body(cls.body, None)
    if not any(isinstance(s, Stack) for cls in program.classes for s in walk(cls.body)):
        name = program.model.name
        text = "; ".join(map(str, left)) or f"{name} has no loop of equal blocks"
        text = f"there is nothing to scan: {text}"
        help = "write `repeat layers:` with one block in it, whose result is like its first input"
        raise MlcError("unsupported", text, help=help)
    return left


class _Stacking:
    """The statements of one class, those loops replaced that can be."""

    def __init__(self, cls: Class, runs: Runs, left: list[Left]) -> None:
        self.cls = cls
        self.runs = runs
        self.left = left

    def body(self, statements: Iterable[Statement], outer: Repeat | None) -> list[Statement]:
        return [self._statement(s, outer) for s in statements]

    def _statement(self, statement: Statement, outer: Repeat | None) -> Statement:
        match statement:
            case If():
                statement.then[:] = self.body(statement.then, outer)
                statement.orelse[:] = self.body(statement.orelse, outer)
            case Repeat():
                statement.body[:] = self.body(statement.body, outer or statement)
                if any(isinstance(s, Repeat) for s in walk(statement.body)):
                    return statement  # what keeps those is told of them
                if any(isinstance(s, Stack) for s in walk(statement.body)):
                    return statement
                found = self._turn(statement, outer)
                if isinstance(found, str):
                    if any(_listed(s) for s in walk(statement.body)):
                        self.left.append(Left(self.cls, statement, found))
                else:
                    return found.stacked(statement, outer is not None)
        return statement

    def _turn(self, loop: Repeat, outer: Repeat | None) -> Turn | str:
        """What a turn is, or why there is no scan of it."""
        found = Turn.of(loop)
        if isinstance(found, str):
            return found
        if loop.sizes or loop.elements:
            return "its turns work on different sizes, or take tensors of another loop along"
        if any(draws(call.cls) for call in found.calls):
            return "its blocks draw noise"
        changing = [
            name for call in found.calls
            for name, e in (*call.args.items(), *call.sizes.items()) if names(e) & {*loop.variables}
        ]  # fmt: skip
        if changing:
            return f"{changing[0]} differs from turn to turn"
        if isinstance(found.call, If) and names(found.call.condition) & {*loop.variables}:
            return "it chooses in each turn"
        if loop.variables and not found.each:
            return "it counts its turns"
        carried = found.carried
        if len({_form(v) for v in (carried.initial, carried.current, carried.next)}) > 1:
            return f"{carried.current.name} differs in shape from turn to turn"
        if {v for v in loop.results if v is not carried.next} or not self._stacks(loop, found):
            return "what its turns make besides is used one by one"
        return self._alone(loop, found, outer) or self._ran(loop, found)

    def _ran(self, loop: Repeat, found: Turn) -> Turn | str:
        counts = self.runs.counts(self.cls, loop)
        if 0 in counts and found.more:
            return "it runs no time in some place"
        return replace(found, empty=0 in counts)

    def _alone(self, loop: Repeat, found: Turn, outer: Repeat | None) -> str | None:
        """Why its layers are not its own."""
        member = found.calls[0].member
        if not member.listed or not all(call.first for call in found.calls):
            return "its turns share what they call"
        own = {*walk(loop.body)}
        around = {*walk(outer.body)} if outer is not None else own
        for statement in walk(self.cls.body):
            reads = statement.inputs if isinstance(statement, (Apply, Call)) else ()
            weights = {v.member.name for v in reads if isinstance(v, WeightVar) and v.member}
            if member.name in weights:
                return "its layers are read by name"
            if statement in around or not _listed(statement):
                continue
            if _listed(statement).name == member.name:  # type: ignore[union-attr]
                return "its layers are in a list with others"
        if outer is not None and any(_uneven(s, member.name) for s in walk(outer.body)):
            return "its layers are in a list with some that may be missing"
        return None

    def _stacks(self, loop: Repeat, found: Turn) -> bool:
        """Whether all that is done with the lists that the loop fills is to stack them."""
        lists = {*loop.collects.values()}
        body = self.cls.body
        read = [v for statement in walk(body) for v in _read(statement)]
        others = [*read, *self.cls.outputs.values(), *(v for _, v in self.cls.updates)]
        collected = {*loop.collects} <= {*found.given[1:]}
        return collected and not any(getattr(v, "of", v) in lists for v in others)


@dataclass(frozen=True)
class Turn:
    """What a turn of a loop is: a call, or one of two by a condition, on what is carried, then on a
    slice of each of `each`, then on `rest`. What it gives besides goes into `lists`, None for what
    nothing wants."""

    call: Call | If
    carried: Carried
    each: tuple[Var, ...]
    rest: tuple[Var, ...]
    lists: tuple[Var | None, ...]
    empty: bool = False

    @property
    def calls(self) -> list[Call]:
        """The call, or those of both arms."""
        return _calls(self.call)

    @property
    def given(self) -> tuple[Var, ...]:
        """What it gives."""
        return _given(self.call)

    @property
    def more(self) -> bool:
        """As of Stack."""
        return bool(self.each or self.lists)

    @classmethod
    def of(cls, loop: Repeat) -> Turn | str:
        """That of a loop, or what else it does."""
        found = [s for s in loop.body if isinstance(s, (Call, If))]
        picked = _picked(loop)
        if len(found) != 1 or not _calls(found[0]) or len(loop.carried) != 1 or picked is None:
            return "its turns are not one call of a block each, on one tensor that they carry"
        (call,), (carried,) = found, loop.carried
        first, *others = _calls(call)[0].inputs
        each = tuple(picked[v] for v in others if v in picked)
        rest = tuple(v for v in others[len(each) :] if v is not None)
        alike = first is carried.current and _given(call)[0] is carried.next
        ordered = all(v in picked for v in others[: len(each)])
        if not alike or not ordered or len(each) + len(rest) < len(others) or first in rest:
            return "its block does not take what is carried first, and what all share last"
        return cls(call, carried, each, rest, tuple(map(loop.collects.get, _given(call)[1:])))

    def stacked(self, loop: Repeat, within: bool) -> Statement:
        """In the place of the loop: `within` says that another is around it."""
        result = self.carried.result
        outputs = (result, *(made or Var("", result.type) for made in self.lists))
        if isinstance(self.call, Call):
            return self._stack(loop, self.call, outputs, within)
        arms = []
        for call in self.calls:
            own = tuple(Var(v.name, v.type, v.order) for v in outputs)
            arms.append(self._stack(loop, call, own, within))
        phis = [Phi(v, *each) for v, *each in zip(outputs, *(a.outputs for a in arms), strict=True)]
        choice = self.call
        return If(choice.condition, [arms[0]], [arms[1]], phis, choice.site, choice.shares)

    def _stack(self, loop: Repeat, call: Call, outputs: tuple[Var, ...], within: bool) -> Stack:
        inputs = (self.carried.initial, *self.each, *self.rest)
        return Stack(
            call.cls, Member(call.member.name, within), inputs, outputs, call.args, call.sizes,
            site=loop.site, loop=loop, count=count_of(loop), each=len(self.each), empty=self.empty,
        )  # fmt: skip


def count_of(loop: Repeat) -> Expr:
    """How many turns it has, over the class's names."""
    match loop.table:
        case ast.Call(args=[count]) if loop.variables:  # `range(count)`, see `_one_each`
            return count
    return loop.table


def _calls(statement: Call | If) -> list[Call]:
    """The call, or those of both arms where these do nothing else."""
    if isinstance(statement, Call):
        return [statement]
    if statement.common is None:
        return []
    return [s for s in (*statement.then, *statement.orelse) if isinstance(s, Call)]


def _given(statement: Call | If) -> tuple[Var, ...]:
    if isinstance(statement, Call):
        return statement.outputs
    return tuple(phi.result for phi in statement.phis)


def _picked(loop: Repeat) -> dict[Var | None, Var] | None:
    """By the slice of a tensor that each turn takes along the first axis (`keys[i]`), the tensor;
    None where a turn does anything else but one call."""
    made: dict[Var, Apply] = {}
    picked: dict[Var | None, Var] = {}
    for statement in loop.body:
        if isinstance(statement, (Call, If)):
            continue
        if not isinstance(statement, Apply) or not statement.inputs:
            return None
        x, attrs = statement.inputs[0], statement.attrs
        if x is None:
            return None
        if statement.op.name == "slice" and _one_each(loop, x, attrs):
            made[statement.outputs[0]] = statement
        elif statement.op.name == "squeeze" and x in made and expr.show(attrs["axes"]) == "(0,)":
            whole = made[x].inputs[0]
            assert whole is not None
            picked[statement.outputs[0]] = whole
        else:
            return None
    return picked if len(picked) == len(made) else None


def _one_each(loop: Repeat, x: Var, attrs: Mapping[str, Expr]) -> bool:
    """Whether it is the slice of `x` for this turn, and `x` has as many as there are turns."""
    if len(loop.variables) != 1 or not x.type.rank or (x.order or (0,))[0] != 0:
        return False
    (i,) = loop.variables
    wanted = {"starts": f"({i},)", "ends": f"({i} + 1,)", "axes": "(0,)", "steps": "1"}
    count = f"range({x.type.shape[0]})"
    same = all(expr.show(attrs[name]) == text for name, text in wanted.items())
    return same and expr.show(loop.table) == count


def _form(var: Var) -> tuple[object, ...]:
    return var.type.dtype, var.type.shape, var.order


def _listed(statement: Statement) -> Member | None:
    """The element of a list of members that the statement applies."""
    match statement:
        case Apply(member=Member() as member) | Call(member=member) | Chain(member=member):
            return member if member.listed else None
    return None


def _uneven(statement: Statement, name: str) -> bool:
    """Whether it is a choice whose arms put unlike numbers of members into the list."""
    if not isinstance(statement, If):
        return False
    counts = {
        sum(member is not None and member.name == name for member in map(_listed, walk(arm)))
        for arm in (statement.then, statement.orelse)
    }
    return len(counts) > 1


def _read(statement: Statement) -> Iterable[Var]:
    """The tensors that a statement takes, but for the lists that it only stacks."""
    match statement:
        case Apply(op=op, inputs=(Whole(),), attrs=attrs) if op.name == "stack":
            return () if expr.show(attrs["axis"]) == "0" else _there(statement.inputs)
        case Apply(inputs=inputs) | Call(inputs=inputs):
            return _there(inputs)
        case Chain(input=given):
            return (given,)
        case Repeat(carried=carried, elements=elements):
            return (*(c.initial for c in carried), *(c.next for c in carried), *elements)
        case If(phis=phis):
            return (v for phi in phis for v in (phi.then, phi.orelse))
    raise AssertionError(statement)


def _there(inputs: Iterable[Var | None]) -> tuple[Var, ...]:
    return tuple(v for v in inputs if v is not None)


def stacks(program: Program) -> Iterator[Stack]:
    """All of a program."""
    for cls in program.classes:
        yield from (s for s in walk(cls.body) if isinstance(s, Stack))


__all__ = ["Left", "Scope", "Stack", "stack", "stacks"]
