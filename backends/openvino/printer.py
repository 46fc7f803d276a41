"""A class of the program as a method that adds its part of the graph."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from ...compiler import expr
from ...compiler.dim import Dim, symbols
from ...compiler.expr import Expr, literal
from ...compiler.ops.draw import NOISE
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Member,
    Repeat,
    RunningSize,
    Statement,
    Var,
    WeightVar,
    followed,
    walk,
)  # fmt: skip
from ..source.compose import Assign, Do, For, Line, Raise, Return, Store, When
from ..source.computation import Computation, carried_numbers, number
from ..source.constructor import listed
from ..source.lists import indexed, places, quiet
from ..source.names import free
from ..source.scope import Scope, members
from ..source.tree import number as number_of
from ..source.tree import shown, tree
from .control import written
from .convolution import ROWS, read_off
from .methods import INLINE, SPECS, Methods
from .ports import ports
from .rules import RULES, Parts, Rule, scalar
from .sizes import Sizes
from .states import ordered

TOLD = ("features", "count", "width")
"""Attributes of layers that their weights tell."""


class Graph(Computation):
    """The lines that build one class's part; `used` are the hyper-parameters that they read."""

    target: ClassVar[str] = "openvino"
    rules: ClassVar[Mapping[str, Rule]] = {**RULES, **ROWS}  # type: ignore[assignment]
    layers: ClassVar[Mapping[str, None]] = dict.fromkeys(SPECS)
    chains: ClassVar[bool] = False

    def __init__(
        self,
        cls: Class,
        scope: Scope,
        taken: frozenset[str],
        methods: Methods,
        known: Mapping[str, Graph],
        names: Mapping[str, str],
    ) -> None:
        super().__init__(cls, scope, taken)
        self.model = cls.definition.kind == "model"
        self.methods = methods
        self.known = known
        self.names = names
        self.ordered = ordered(cls)
        self.ports = ports(cls)
        self.held: dict[Var, Var] = {}
        self.prefix: tuple[str, ...] = ()
        self.index: dict[str, Callable[[], Expr]] = {}
        self.counters: set[str] = set()
        own = "self." if self.model else ""
        self.sizes = Sizes(cls, scope, self.out, own, methods.ports)
        self.place = self.sizes.place

    # ------------------------------------------------------------------------------ names

    def path(self, member: Member | None, part: str = "") -> Expr:
        """What the weights of a member begin with: `f"{name}.conv1"`."""
        pieces: list[ast.expr] = []
        if not self.model:
            pieces = [ast.FormattedValue(expr.name("name"), -1), ast.Constant(".")]
        texts = [*self.prefix, *([member.name] if member else []), *([part] if part else [])]
        for i, piece in enumerate(texts):
            pieces.append(ast.Constant(f".{piece}" if i else piece))
            if member is not None and piece == member.name and member.listed:
                pieces += [ast.Constant("."), ast.FormattedValue(self.index[member.name](), -1)]
        if all(isinstance(p, ast.Constant) for p in pieces):
            return literal("".join(str(p.value) for p in pieces if isinstance(p, ast.Constant)))
        return ast.JoinedStr(pieces)

    def skips(self, statement: Apply) -> bool:
        picked = (
            self.picked(u) for u in self.users.get(statement.outputs[0], ()) if isinstance(u, Apply)
        )
        return any(cut is statement for cut in picked)

    def picked(self, statement: Apply) -> Apply | None:
        """Where one place on one axis is taken: `x[:, 0]`."""
        cut = super().picked(statement)
        if cut is None or cut.values["axes"] != statement.values["axes"]:
            return None
        start = cut.attrs["starts"]
        plain = isinstance(start, ast.Tuple) and len(start.elts) == 1
        return cut if plain and number_of(start.elts[0]) is not None else None  # type: ignore[attr-defined]

    def spelled(self, statement: Apply) -> Expr:
        cut = self.picked(statement)
        if cut is None:
            return super().spelled(statement)
        (place,), (axis,) = number_of(cut.attrs["starts"]), cut.values["axes"]
        return self.parts(cut).fill(
            "ops.gather({x}, np.int32({place}), {axis})", place=literal(place), axis=literal(axis)
        )

    def read(self, var: Var) -> Expr:
        if var in self.numbers:
            made = self.numbers[var]
            value = number(made, self.place)
            if not self.sizes.open(value):
                return scalar(value, made.outputs[0].type.dtype)
            return self.spelled(made)
        return super().read(var)

    def control(self, statement: Apply) -> None:
        written(self, statement)

    def result(self, var: Var) -> Expr:
        """A tensor that leaves the class, as a node."""
        value = self.read(var)
        return tree("ops.identity({x})", x=value) if var in self.ports else value

    def weight(self, var: WeightVar) -> Expr:
        if var in self.held:
            return self.out.ref(self.held[var])
        return tree("self.constant({name})", name=self.path(var.member, var.part))

    def states(self) -> None:
        """The states as they are before the call."""
        for parameter, _ in self.cls.updates:
            if parameter.var not in self.users:
                continue
            self.held[parameter.var] = Var(parameter.name, parameter.type)
            before = tree("self.state({name})[-1]", name=self.path(None, parameter.var.part))
            self.define([self.held[parameter.var]], before)

    def update(self) -> None:
        """The states after the call."""
        for parameter, var in self.cls.updates:
            name = self.path(None, parameter.var.part)
            after = tree("self.state({name}).append({y})", name=name, y=self.result(var))
            self.out.lines.append(Do(after))

    def parts(self, statement: Apply) -> Parts:
        parts = Parts(statement, self.read, self.place)
        parts.sizes = self.sizes
        return parts

    # ------------------------------------------------------------------------- statements

    def _apply(self, statement: Apply) -> None:
        if statement.op is NOISE:
            self.define(statement.outputs, self._noise(statement))
            return
        if statement.member is not None and statement.op.name in INLINE:
            weight = tree("self.constant({n})", n=self.path(statement.member, "weight"))
            made = self.parts(statement).fill(INLINE[statement.op.name], weight=weight)
            self.define(statement.outputs, made)
            return
        if statement.member is None or statement.op.name not in SPECS:
            super()._apply(statement)
            return
        method = self.methods.of(statement)
        hypers = {hyper.name: hyper.value for hyper in self.cls.params}
        name = self.path(statement.member)
        made = method.call(statement, self.parts(statement), name, hypers)
        several = SPECS[statement.op.name].count(method.traits)
        self.define(statement.outputs[:several], made)

    def _noise(self, statement: Apply) -> Expr:
        """An input of the model: what is not known of its sizes is left open."""
        whole = statement.attrs["shape"]
        shape = [self.place(size) for size in getattr(whole, "elts", ())]
        return tree(
            "self.noise({name}, {shape})",
            name=self.path(None, statement.values["key"]),
            shape=ast.List([literal(-1) if self.sizes.open(s) else s for s in shape], ast.Load()),
        )

    def body(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            match statement:
                case Call():
                    self.define(statement.outputs, self._call(statement))
                    if statement.outputs[0] in self.ordered:
                        self.out.join(statement.outputs[0])
                    self.out.lines += self.lists.appended(statement.outputs, self.read)
                case Chain(body=stages, member=member):
                    outside, self.prefix = self.prefix, (*self.prefix, member.name)
                    self.body(stages)
                    self.prefix = outside
                    self.out.lines += self.lists.appended([statement.output], self.read)
                case _:
                    super().body([statement])

    def _call(self, statement: Call) -> Expr:
        other = self.known[statement.cls.name]
        given = {n: self.place(v) for n, v in statement.args.items() if n in other.used()}
        positional, keywords = _arguments(other, given)
        tensors = [self.read(v) for v in statement.inputs if v is not None]
        first, rest = tensors[:1], tensors[1:]
        call = tree(
            f"self.{self.names[statement.cls.name]}(*{{xs}})",
            xs=[*first, self.path(statement.member), *rest, *positional],
        )
        assert isinstance(call, ast.Call)
        call.keywords = keywords
        return call

    def used(self) -> list[str]:
        """The hyper-parameters that the lines, or a model's inputs, read, in source order."""
        found = followed(walk(self.cls.body), self._names(self.cls.body))
        for check in self.cls.checks:
            found |= expr.names(check.condition)
        if self.model:
            found |= {n for v in self.cls.inputs.values() for s in v.type.shape for n in symbols(s)}
        return [hyper.name for hyper in self.cls.params if hyper.name in found]

    def _names(self, body: Sequence[Statement]) -> set[str]:
        """Those that the lines read; not what the weights of a layer tell."""
        found: set[str] = set()
        for statement in walk(list(body)):
            match statement:
                case Apply(op=op) if statement.member is not None and op.name in INLINE:
                    continue
                case Apply(op=op, attrs=attrs) if statement.member is not None and op.name in SPECS:
                    method = self.methods.of(statement)
                    for key in method.varying():
                        found |= expr.names(attrs[key])
                case Apply(op=op, attrs=attrs):
                    told = TOLD if op.weights else ()
                    read = [e for key, e in attrs.items() if key not in told]
                    found |= {n for e in read for n in expr.names(e)}
                    found |= {n for s in sizes_of(statement) for n in expr.names(literal(s))}
                case Call(cls=cls, args=args):
                    other = self.known[cls.name].used()
                    found |= {n for key in args if key in other for n in expr.names(args[key])}
                case If(condition=condition):
                    found |= expr.names(condition)
                case Repeat(table=table):
                    found |= expr.names(table)
        return found

    def checks(self) -> None:
        """`require` lines that can be decided while the graph is built."""
        for check in self.cls.checks:
            problem = self.place(expr.negate(check.condition))
            if self.sizes.open(problem):
                continue
            names = {n: self.place(expr.name(n)) for n in expr.names(check.condition)}
            error = tree("ValueError({m})", m=shown(check.message, names))
            self.out.lines.append(When(problem, [Raise(error)]))

    def _if(self, statement: If) -> None:
        """`skip = x` before, where one arm only passes a tensor on."""
        arms = [self.arm(statement.then, statement.phis, "then"),
                self.arm(statement.orelse, statement.phis, "orelse")]  # fmt: skip
        for phi in statement.phis:
            self.out.join(phi.result)
        self._level(statement, arms)
        condition = self.place(statement.condition)
        counts = any(isinstance(line, Do) for arm in arms for line in arm)
        if (statement.then and statement.orelse) or counts:
            self.out.lines.append(When(condition, arms[0], arms[1]))
            return
        plain, other = (1, 0) if statement.then else (0, 1)
        self.out.lines += arms[plain]
        self.out.lines.append(When(expr.negate(condition) if other else condition, arms[other], []))

    def _level(self, statement: If, arms: Sequence[list[Line]]) -> None:
        """Counts the members that the other arm has: they have their numbers in either case."""
        bodies = statement.then, statement.orelse
        for name in self.counters:
            used = [sum(m.name == name for m in members(body)) for body in bodies]
            for arm, lacks in zip(arms, (used[1] - used[0], used[0] - used[1]), strict=True):
                arm += [Do(self.index[name]()) for _ in range(lacks)]

    # ------------------------------------------------------------------------------ loops

    def _loop(self, loop: Repeat) -> None:
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self.define([carried.current], self.read(carried.initial))
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)
        self.out.lines += self.lists.started(loop)
        running = self.running(loop)
        self.sizes.run_along(running)
        self.run_along((size.name, size.start) for size in running)
        line = self._numbered(loop)
        outside, self.out.lines = self.out.lines, line.body
        self.body(loop.body)
        self.run_along((size.name, size.update or size.start) for size in running)
        self.out.lines = outside
        self.out.lines.append(line)

    def running(self, loop: Repeat) -> list[RunningSize]:
        """Those that lines behind the loop read, too: a graph is built in one go."""
        return carried_numbers(loop, self._names(self.cls.body))

    def _numbered(self, loop: Repeat) -> For:
        """`for i, (width, stride) in enumerate(table)`; members are numbered by `i`."""
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        turns = self.lists.turns(loop, names, self.place(loop.table))
        counted = [n for n in listed(loop) if n not in self.index]
        inner = {n for s in walk(loop.body) if isinstance(s, Repeat) for n in listed(s)}
        self._count([name for name in counted if name in inner])
        counted = [name for name in counted if name not in inner]
        if not counted:
            return turns
        taken = {*self.scope.locals.values(), *self.taken, *self.cls.inputs}
        index, turns = indexed(turns, taken)
        per = len(list(members(loop.body))) if loop.chain else 1
        for name in counted:
            self.index[name] = places(index, per)
        return turns

    def _count(self, lists: list[str]) -> None:
        """Nested loops that fill one list number its members by a counter."""
        self.counters.update(lists)
        for name in lists:
            wish = "index" if len(lists) == 1 else f"{name}_index"
            counter = expr.name(free(wish, self.scope.locals.values()))
            self.out.lines.append(Store(counter, tree("itertools.count()")))
            self.index[name] = lambda c=counter: tree("next({c})", c=c)  # type: ignore[misc]

    def finish(self, names: Mapping[Var, str]) -> list[ast.stmt]:
        """The statements, the sizes that are read first."""
        count = self.out.uses(self.out.lines)
        lines: list[Line] = [line for line in self.sizes.lines() if line.targets[0] in count]
        self.out.lines[:0] = lines
        return quiet(self.out.finish(names, self.taken))


def sizes_of(apply: Apply) -> Sequence[Dim]:
    """The sizes that the spelling of an op reads off the types of its tensors."""
    if apply.op.name == "flatten":
        return apply.outputs[0].type.shape
    return read_off(apply) if apply.op.name in ROWS else ()


def _arguments(other: Graph, given: Mapping[str, Expr]) -> tuple[list[Expr], list[ast.keyword]]:
    """Those that a method takes: by position as long as none is left out, then by keyword."""
    positional: list[Expr] = []
    keywords: list[ast.keyword] = []
    for name in other.used():
        if name in given and not keywords and len(positional) == other.used().index(name):
            positional.append(given[name])
        elif name in given:
            keywords.append(ast.keyword(other.scope.locals[name], given[name]))
    return positional, keywords


__all__ = ["Assign", "Graph", "Return"]
