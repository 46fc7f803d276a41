"""The statements of a class as the lines of one function on Keras tensors."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import Size, symbols
from ...compiler.expr import Expr, literal
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
    walk,
)  # fmt: skip
from ...compiler.program import outputs as outputs_of
from ..source.compose import Assign, Composer, Do, For, Line, Store, When
from ..source.computation import along, carried_numbers, number, numbers, read_by, users
from ..source.constructor import arguments, listed
from ..source.draws import lined
from ..source.lists import Lists, indexed
from ..source.names import free
from ..source.parts import spell
from ..source.scope import Scope
from ..source.tree import tree
from .clusters import Grouping, Place
from .custom import Custom
from .layers import LAYERS, POOLS, REVERSIBLE, TENSORS
from .members import Labels, Names, constructor, held, places, renamed, reversible, stages
from .rules import dtype
from .running import running
from .shapes import Pieces, element, picked

Make: TypeAlias = "Callable[[Apply, Expr], Expr]"
"""What becomes of the call that makes a layer."""

WIDTH = 72
"""Keras names its constructors in full: one layer a line reads best."""

STAND_IN = "%size:"
"""What the names of sizes begin with while they are counted."""


class Body:
    """Collects the lines of one class's function.

    `make` may write the constructor of a layer more briefly. `sizes` say how often each size is
    read: what is read more than once has a name. While it is empty, sizes have stand-ins, so that
    they can be counted.
    """

    def __init__(
        self,
        cls: Class,
        names: Names,
        make: Make,
        sizes: Counter[str] | None,
    ) -> None:
        self.cls = cls
        self.names = names
        self.taken = taken = names.taken
        self.make = make
        self.sizes = sizes
        self.bound = sorted(n for n, times in (sizes or {}).items() if times > 1)
        self.scope = Scope(cls, frozenset(), taken)
        self.scope.kept = {}
        self.out = Composer(WIDTH)
        self.top = self.out.lines
        self.absent: set[Var] = set()
        self.grouping = Grouping(cls)
        self.lists = Lists({*taken, *self.scope.locals.values(), *cls.inputs})
        self.numbers = numbers(cls)
        self.users = users(cls)
        self.lined = lined(cls)
        self.rectified = {o for s in walk(cls.body) if isinstance(s, Apply)
                          and s.op.name in ("relu", "relu6") for o in s.outputs}  # fmt: skip
        self.running: dict[str, tuple[Var, int]] = {}
        self.labels = Labels(names.members if cls.definition.kind == "model" else None)
        calls = (s for s in walk(cls.body) if isinstance(s, Call) and s.cls in names.nameless)
        self.unnamed = {call.member.name for call in calls}
        self.held = held(cls.body) - self.unnamed
        self.reversible = reversible(cls.body)
        self.made: dict[str, Expr] = {}
        self.custom: dict[Place, list[Custom]] = {}
        self.states: dict[Custom, Expr] = {}
        self.inside: set[Statement] = set()
        self.picked = picked(cls.body, self.inside)

    def use(self, before: Place, custom: Custom) -> None:
        """A layer of the file's own computes a group of ops, before this statement."""
        self.custom.setdefault(before, []).append(custom)
        self.inside |= set(custom.group.statements)
        self.picked = picked(self.cls.body, self.inside)

    # ---------------------------------------------------------------------------- expressions

    def place(self, expression: Expr) -> Expr:
        """An expression where the tensors are in sight: sizes are read from them."""

        def name(each: str) -> Expr:
            if each in self.running:
                var, axis = self.running[each]
                end = axis == var.type.rank - 1
                return tree("{x}.shape[{i}]", x=self.out.ref(var), i=literal(-1 if end else axis))
            if each in self.cls.sizes and self.cls.sizes[each][0] in self.cls.inputs:
                if self.sizes is None:
                    return expr.name(f"{STAND_IN}{each}")
                if each not in self.bound:
                    return self.size(each)
            return expr.name(self.scope.locals.get(each, each))

        expression = expr.spoken(expr.substitute(expression, self.cls.chosen))
        return expr.substitute(expression, {n: name(n) for n in expr.names(expression)})

    def size(self, name: str) -> Expr:
        """`x.shape[-1]`."""
        source, axis = self.cls.sizes[name]
        var = self.cls.inputs[source]
        axis = var.order.index(axis) if var.order else axis
        end = axis == var.type.rank - 1
        return tree("{x}.shape[{i}]", x=self.out.ref(var), i=literal(-1 if end else axis))

    def read(self, var: Var) -> Expr:
        """A tensor, or a constant that stays a Python number."""
        if var in self.numbers:
            return number(self.numbers[var], self.place)
        if isinstance(var, (Element, Whole)):
            return self.lists.element(var)
        if isinstance(var, WeightVar) and var.member is not None:
            what = f"{var.member.name}.{var.part} is read outside its layer"
            help = "use a param, or make a block of it where it stands in a loop"
            raise MlcError("unsupported", f"{what}, which Keras cannot do here", help=help)
        return self.out.ref(var)

    def _pieces(self, statement: Apply, name: Expr | None) -> Pieces:
        pieces = Pieces(statement, self.read, self.place, name, self.numbers)
        pieces.open = self.grouping.open
        pieces.running = frozenset(self.running)
        pieces.eager = self.grouping.eager
        pieces.rectified = self.rectified
        pieces.given = self.cls.inputs.values()
        return pieces

    # ----------------------------------------------------------------------------- statements

    def add(self, body: Sequence[Statement]) -> None:
        """Adds the lines of these statements."""
        for statement in body:
            self.add_layers(statement)
            if statement in self.inside:
                continue
            match statement:
                case Apply():
                    self._apply(statement)
                case Call(outputs=outputs, inputs=inputs):
                    self.define(outputs, self._call(statement, inputs))
                case Chain(body=inner, member=member):
                    with self.labels.within(member, stages(inner)):
                        self.add(inner)
                case If():
                    self._if(statement)
                case Repeat():
                    self._loop(statement)
            self.out.lines += self.lists.appended(outputs_of(statement), self.read)

    def add_layers(self, place: Place) -> None:
        """Adds the layers of the file's own that stand there."""
        for custom in self.custom.get(place, []):
            given = [self.read(v) for v in custom.inputs]
            value = self.applied(custom, given)
            if custom.change is not None:
                assert isinstance(value, ast.Call)
                name = expr.name(free(f"{custom.member}_state", self.taken))
                self.top.append(Store(name, value.func))
                self.states[custom] = value.func = name
            self.define(custom.given, value)
            self.out.lines += self.lists.appended(custom.given, self.read)

    def changed(self, result: Expr) -> Expr:
        """A result that passes through the layers of the states that change."""
        for custom, layer in self.states.items():
            assert custom.change is not None
            new, old = self.read(custom.change), self.read(custom.given[0])
            result = tree("{f}({y}, {new}, {old})", f=layer, y=result, new=new, old=old)
        return result

    def define(self, outputs: Sequence[Var], value: Expr) -> None:
        """`outputs = value`; a layer applied to a layer's result is a line of its own."""
        match value:
            case ast.Call(func=ast.Call() | ast.Name(), args=[ast.Call(func=ast.Call()) as inner]):
                middle = Var("", outputs[0].type)
                self.define([middle], inner)
                value.args = [self.out.ref(middle)]
        self.out.lines.append(Assign(list(outputs), value))
        if outputs[0] in self.lined:
            self.out.join(outputs[0])

    def applied(self, custom: Custom, given: Sequence[Expr]) -> Expr:
        """A layer of the file's own on these tensors."""
        label = self.labels.name(Member(custom.member)) if custom.member else None
        return custom.call(given, label, self.place)

    def _apply(self, statement: Apply) -> None:
        if statement.outputs[0] in self.numbers or statement in self.picked.values():
            return
        member = statement.member
        if statement in self.picked:
            cut = self._pieces(self.picked[statement], None)
            self.define(statement.outputs, element(cut, statement.values["axes"]))
        elif self._projects(statement):
            self.define(statement.outputs, self._reversed(statement))
        elif member is None or statement.op.name not in LAYERS:
            pieces = self._pieces(statement, None)
            self.define(statement.outputs, spell({**TENSORS, **POOLS}, pieces, "Keras"))
        else:
            state = statement.op.effect == "state"
            if state and any(var in self.users for var in statement.outputs[1:]):
                what = f"what {member.name} makes of its buffers is read, which Keras cannot do"
                raise MlcError("unsupported", what, help="choose another target")
            made = statement.outputs[:1] if state else statement.outputs
            self.define(made, self._layer(statement, member))

    def _layer(self, statement: Apply, member: Member) -> Expr:
        """A layer with a name, applied."""
        tied = member.name in self.reversible
        rules = {**LAYERS, "embedding": REVERSIBLE} if tied else LAYERS
        value = spell(rules, self._pieces(statement, self.labels.name(member)), "Keras")
        if member.name in self.made:
            return renamed(value, self.made[member.name])
        made = self.make(statement, constructor(value))
        if member.name in self.held:
            name = self._own_name(member)
            self.top.append(Store(name, made))
            made = name
        return renamed(value, made)

    def _own_name(self, member: Member) -> Expr:
        """The variable of a member that is made once and applied more often."""
        inputs = {*self.cls.inputs, *self.taken, *self.scope.locals.values()}
        self.made[member.name] = expr.name(free(member.name, inputs))
        return self.made[member.name]

    def _projects(self, statement: Apply) -> bool:
        """Whether it is a product with the weight of an embedding."""
        if statement.op.name != "linear" or statement.member is not None:
            return False
        weight, bias = statement.inputs[1:3]
        member = weight.member if isinstance(weight, WeightVar) else None
        return bias is None and member is not None and member.name in self.reversible

    def _reversed(self, statement: Apply) -> Expr:
        """`token(h, reverse=True)`: logits from the weight of an embedding."""
        x, weight = statement.inputs[:2]
        assert isinstance(weight, WeightVar) and weight.member is not None and x is not None
        if weight.member.name not in self.made:
            what = f"{weight.member.name} of {self.cls.name} is used before it is applied"
            raise MlcError("unsupported", what, help="choose another target")
        return tree("{f}({x}, reverse=True)", f=self.made[weight.member.name], x=self.read(x))

    # ------------------------------------------------------------------------------- blocks

    def _call(self, statement: Call, inputs: Sequence[Var | None]) -> Expr:
        present = [v for v in inputs if v is not None]
        given = [self.read(v) for v in present]
        if statement.member.name in self.held:
            model = self._submodel(statement, present)
            return tree("{f}({xs})", f=model, xs=one_or_list(given))
        return self._block(statement, given)

    def _block(self, statement: Call, given: list[Expr]) -> Expr:
        args = {name: self.place(value) for name, value in statement.given.items()}
        positional, keywords = arguments(statement.cls, args)
        called = Scope(statement.cls, frozenset(), self.taken).locals
        for keyword in keywords:
            keyword.arg = called.get(str(keyword.arg), keyword.arg)
        if statement.cls not in self.names.nameless:
            keywords = [*keywords, ast.keyword("name", self.labels.name(statement.member))]
        function = expr.name(self.names.functions[statement.cls.name])
        return ast.Call(function, [*given, *positional], keywords)

    def _submodel(self, statement: Call, inputs: Sequence[Var]) -> Expr:
        """A block that is applied more than once is a `keras.Model` of its own."""
        member = statement.member
        if member.name not in self.made:
            name = self._own_name(member)
            fresh = [Var(n, v.type, v.order) for n, v in statement.cls.inputs.items()]
            for var, given in zip(fresh, inputs, strict=True):
                self.top.append(Assign([var], self._example(statement, given)))
            refs = [self.out.ref(v) for v in fresh]
            model = tree("keras.Model({i}, {o}, name={n})", i=one_or_list(refs),
                         o=self._block(statement, refs), n=self.labels.name(member))  # fmt: skip
            self.top.append(Store(name, model))
        return self.made[member.name]

    def _example(self, statement: Call, var: Var) -> Expr:
        """An input like this tensor; sizes are left open that differ from call to call."""
        slot = statement.inputs.index(var)
        calls = (s for s in walk(self.cls.body) if isinstance(s, Call))
        taken = [c.inputs[slot] for c in calls if c.member == statement.member]
        shape = []
        for axis in var.order or range(var.type.rank):
            size = var.type.shape[axis]
            alike = {str(v.type.shape[axis]) for v in taken if v is not None} == {str(size)}
            known = alike and not self._opened(size)
            shape.append(self.place(literal(size)) if known else literal(None))
        kind = None if var.type.dtype == "f32" else dtype(var.type.dtype)
        absent = literal(True) if self.absent & {*taken} else None
        return tree(
            "keras.Input((*{shape},), dtype={kind}, optional={absent})",
            shape=shape[1:], kind=kind, absent=absent,
        )  # fmt: skip

    def _opened(self, size: int | Size) -> bool:
        return any(n in self.grouping.open or n.startswith("size_") for n in symbols(size))

    # ---------------------------------------------------------------------- choices, loops

    def _if(self, statement: If) -> None:
        """`skip = x` before the choice, where one arm only passes a tensor on.

        Not where the other arm still reads what was in `skip`.
        """
        before, used, arms = self.labels.used.copy(), [], []
        for which in ("then", "orelse"):
            self.labels.used = before.copy()
            arms.append(self._arm(getattr(statement, which), statement.phis, which))
            used.append(self.labels.used)
        for arm, gaps in zip(arms, self.labels.level(used), strict=True):
            arm += [Do(gap) for gap in gaps]
        for phi in statement.phis:
            self.out.join(phi.result)
        condition = self.place(statement.condition)
        plain, other = (1, 0) if statement.then else (0, 1)
        choice = When(expr.negate(condition) if other else condition, arms[other], [])
        both = bool(statement.then) == bool(statement.orelse) or any(map(_counts, arms))
        read = self.out.uses([choice])
        if both or any(self.out.leader(phi.result) in read for phi in statement.phis):
            self.out.lines.append(When(condition, arms[0], arms[1]))
        else:
            self.out.lines += [*arms[plain], choice]

    def _arm(self, body: Sequence[Statement], phis: Sequence[Phi], which: str) -> list[Line]:
        outside, self.out.lines = self.out.lines, []
        self.add(body)
        for phi in phis:
            self.define([phi.result], self.read(getattr(phi, which)))
        inside, self.out.lines = self.out.lines, outside
        return inside

    def _loop(self, loop: Repeat) -> None:
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self.define([carried.current], self.read(carried.initial))
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)
        self._run_along(loop, "current")
        self.out.lines += self.lists.started(loop)
        handed_on = _carried_numbers(loop)
        self._along((size.name, size.start) for size in handed_on)
        line = self._header(loop)
        outside, self.out.lines = self.out.lines, line.body
        self.add(loop.body)
        self._along((size.name, size.update or size.start) for size in handed_on)
        self.out.lines = outside
        self._run_along(loop, "result")
        self.out.lines.append(line)

    def _along(self, numbers: Iterable[tuple[str, Expr]]) -> None:
        self.out.lines += along(numbers, self.scope, self.place)

    def _run_along(self, loop: Repeat, which: str) -> None:
        """Sizes that change from iteration to iteration are read from the tensor that has them."""
        for name, carried, axis in running(loop):
            var = getattr(carried, which)
            self.running[name] = (var, var.order.index(axis) if var.order else axis)

    def _header(self, loop: Repeat) -> For:
        """`for i, (width, stride) in enumerate(table)`; members are numbered by `i`."""
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        table = self.place(loop.table)
        turns = self.lists.turns(loop, names, table)
        fresh = [n for n in listed(loop)
                 if not self.labels.numbered(n) and n not in self.unnamed]  # fmt: skip
        inner = {n for s in walk(loop.body) if isinstance(s, Repeat) for n in listed(s)}
        self._counted([name for name in fresh if name in inner])
        fresh = [name for name in fresh if name not in inner]
        if not fresh:
            return turns
        index, turns = indexed(turns, {*self.scope.locals.values(), *self.cls.inputs})
        per = places(loop.body)
        for name in fresh:
            self.labels.number(name, index, per[name])
        return turns

    def _counted(self, lists: Sequence[str]) -> None:
        """Nested loops that fill one list number its members by a counter."""
        for name in lists:
            wish = "index" if len(lists) == 1 else f"{name}_index"
            counter = expr.name(free(wish, {*self.scope.locals.values(), *self.cls.inputs}))
            self.out.lines.append(Store(counter, tree("itertools.count()")))
            self.labels.count(name, counter)


def _carried_numbers(loop: Repeat) -> list[RunningSize]:
    """The numbers that a loop carries and its body reads; no tensor has them as a size."""
    read = read_by(loop.body, lambda s: s.attrs if isinstance(s, Apply) else s.args)
    sizes = {name for name, _, _ in running(loop)}
    return [size for size in carried_numbers(loop, read) if size.name not in sizes]


def _counts(arm: Sequence[Line]) -> bool:
    """Whether an arm leaves out places of a counted list."""
    return any(isinstance(line, Do) for line in arm)


def one_or_list(given: list[Expr]) -> Expr:
    """What a model takes or gives: a tensor, or a list of several."""
    return given[0] if len(given) == 1 else ast.List(given, ast.Load())
