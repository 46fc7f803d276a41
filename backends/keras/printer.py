"""A class of the program as a function on Keras tensors, or the model as a functional `keras.Model`."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Callable, Iterator

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.graph import Input
from ...compiler.program import (
    Apply, Call, Chain, Class, If, Member, Phi, Repeat, Statement, Var, WeightVar, walk,
)  # fmt: skip
from ..source.compose import Assign, Composer, For, Line, Raise, Return, Store, When
from ..source.module import block, describe, docstring
from ..source.names import free, snake
from ..source.parts import Parts, spell
from ..source.scope import Scope, members, signature
from ..source.tree import number, shown, text, tree
from .custom import Custom, clusters
from .layers import LAYERS, POOLS, REVERSIBLE
from .reserved import LOCALS
from .rules import RULES, dtype


WIDTH = 60
"""Keras names its constructors in full: one layer a line reads best."""


class Function:
    """Prints one class; the model's function makes its inputs and returns the `keras.Model`."""

    def __init__(self, cls: Class, functions: dict[str, str], inputs: dict[str, Input]) -> None:
        self.cls = cls
        self.model = cls.definition.kind == "model"
        self.inputs = inputs
        self.functions = functions
        self.scope = Scope(cls, frozenset(), {*LOCALS, *functions.values()})
        self.out = Composer(WIDTH)
        self.place = self.scope.call(self.out.ref, own="")
        self.scope.kept = {}
        self.held: set[str] = set()
        self.tied = {m.name for m in _tied(cls.body)}
        self.shared = {m.name for m in _shared(cls.body)} | self.tied
        self.index: dict[str, Callable[[], Expr]] = {}
        self.custom: dict[Var, Custom] = clusters(cls)

    def source(self) -> str:
        """The layers that the class needs of its own, and its function, as text."""
        return "\n\n\n".join([*(c.source() for c in self._layers()), self._function()])

    def _layers(self) -> list[Custom]:
        return list(dict.fromkeys(self.custom.values()))

    def _function(self) -> str:
        names = {var: free(n, self.scope.locals.values()) for n, var in self.cls.inputs.items()}
        self._checks()
        self._body(self.cls.body)
        results = [self._read(var) for var in self.cls.outputs.values()]
        self.out.final = {self.out.leader(var) for var in self.cls.outputs.values()}
        tensors = [f"{name}: keras.KerasTensor" for name in names.values()]
        result = results[0] if len(results) == 1 else ast.Tuple(results, ast.Load())
        if self.model:
            result = self._whole(list(names), result)
            tensors = []
        self.out.lines.append(Return(result))
        before = [line for var, name in names.items() for line in self._input(var, name)]
        body = [*before, *self.out.finish(names, {*LOCALS, *self.functions.values()})]
        plain = [a for a in signature(self.cls, self.scope)][len(self.cls.needs) :]
        last = [] if self.model else ["*", "name: str"]
        arguments = ", ".join([*tensors, *plain, *last])
        kind = "keras.Model" if self.model else self._result(len(results))
        title = docstring(describe(self.cls))
        own = self.functions[self.cls.name]
        return f"def {own}({arguments}) -> {kind}:\n    {title}\n{block(body, 1)}\n"

    def _result(self, count: int) -> str:
        one = "keras.KerasTensor"
        return one if count == 1 else f"tuple[{', '.join([one] * count)}]"

    def _input(self, var: Var, name: str) -> Iterator[ast.stmt]:
        """`image = keras.Input((None, None, 3), name="image")`."""
        if not self.model:
            return
        order = var.order or range(var.type.rank)
        sizes = [var.type.shape[axis] for axis in order][1:]
        shape = [literal(s) if isinstance(s, int) else self._static(s) for s in sizes]
        kind = None if var.type.dtype == "f32" else dtype(var.type.dtype)
        call = tree("keras.Input((*{shape},), dtype={dtype}, name={name})",
                    shape=shape, dtype=kind, name=literal(name))  # fmt: skip
        yield ast.Assign([expr.name(name)], call)

    def _static(self, size: object) -> Expr:
        """A size of an input: None where it is open, an expression where hyper-parameters give it."""
        expression = expr.literal(size)
        own = {p.name for p in self.cls.params}
        return self.scope.init(expression) if expr.names(expression) <= own else literal(None)

    def _whole(self, inputs: list[Var], result: Expr) -> Expr:
        given = [self.out.ref(var) for var in inputs]
        single = given[0] if len(given) == 1 else ast.List(given, ast.Load())
        several = ast.List(result.elts, ast.Load()) if isinstance(result, ast.Tuple) else result
        return tree("keras.Model({i}, {o}, name={n})",
                    i=single, o=several, n=literal(snake(self.cls.name)))  # fmt: skip

    def _checks(self) -> None:
        for check in self.cls.checks:
            names = {n: self.place(expr.name(n)) for n in self.scope.locals}
            error = tree("ValueError({m})", m=shown(check.message, names))
            self.out.lines.append(When(self.place(expr.negate(check.condition)), [Raise(error)]))

    # ------------------------------------------------------------------------- statements

    def _body(self, body: list[Statement]) -> None:
        for statement in body:
            match statement:
                case Apply():
                    self._apply(statement)
                case Call(outputs=outputs):
                    self.out.lines.append(Assign(list(outputs), self._call(statement)))
                case Chain(body=stages, member=member):
                    self._chain(member, stages)
                case If():
                    self._if(statement)
                case Repeat():
                    self._loop(statement)

    def _apply(self, statement: Apply) -> None:
        name = self._name(statement.member) if statement.member else None
        custom = self.custom.get(statement.outputs[0])
        if custom is not None:
            if statement.outputs[0] is custom.output:
                given = [self.out.ref(v) for v in custom.inputs]
                self.out.lines.append(
                    Assign([custom.output], custom.call(given, self._label, self.place))
                )
            return
        if _projection(statement) is not None:
            self._assign(statement, self._reversed(statement))
            return
        parts = Parts(statement, self._read, self.place, name)
        if statement.member is None or statement.op.name not in LAYERS:
            self._assign(statement, spell({**RULES, **POOLS}, parts, "keras"))
            return
        tied = statement.member.name in self.tied
        rules = {**LAYERS, "embedding": REVERSIBLE} if tied else LAYERS
        applied = spell(rules, parts, "keras")
        if statement.member.name in self.shared:
            applied = self._hold(statement.member, applied)
        self.out.lines.append(Assign(list(statement.outputs[:1]), applied))

    def _assign(self, statement: Apply, value: Expr) -> None:
        self.out.lines.append(Assign(list(statement.outputs), value))

    def _reversed(self, statement: Apply) -> Expr:
        """`token(h, reverse=True)`: logits from the weight of an embedding."""
        weight, x = _projection(statement), statement.inputs[0]
        assert weight is not None and weight.member is not None and x is not None
        name = free(weight.member.name, {*LOCALS, *self.scope.locals.values()})
        return tree("{f}({x}, reverse=True)", f=expr.name(name), x=self._read(x))

    def _hold(self, member: Member, applied: Expr) -> Expr:
        """A layer that is applied more than once is made once, under its own name."""
        assert isinstance(applied, ast.Call)
        name = free(member.name, {*LOCALS, *self.scope.locals.values()})
        if member.name not in self.held:
            self.held.add(member.name)
            self.out.lines.append(Store(expr.name(name), applied.func))
        return ast.Call(expr.name(name), applied.args, applied.keywords)

    def _label(self, name: str) -> Expr:
        return self._name(Member(name))

    def _name(self, member: Member) -> Expr:
        """What the layer is called: `f"{name}_conv1"`."""
        pieces: list[ast.expr] = []
        if not self.model:
            pieces = [ast.FormattedValue(expr.name("name"), -1), ast.Constant("_")]
        pieces.append(ast.Constant(member.name))
        if member.listed:
            index = self.index[member.name]()
            pieces += [ast.Constant("_"), ast.FormattedValue(index, -1)]
        if all(isinstance(p, ast.Constant) for p in pieces):
            return literal("".join(str(p.value) for p in pieces if isinstance(p, ast.Constant)))
        return ast.JoinedStr(pieces)

    def _call(self, statement: Call) -> Expr:
        if not statement.first or statement.member.name in self.shared:
            raise MlcError(
                "unsupported",
                f"{statement.cls.name} is called twice as {statement.member.name}: Keras source for "
                "a shared block is not there yet",
                help="share its layers instead, or choose another target",
            )
        given = [self._read(v) for v in statement.inputs if v is not None]
        call = tree(f"{self.functions[statement.cls.name]}(*{{xs}})", xs=given)
        assert isinstance(call, ast.Call)
        gap = False
        for hyper in statement.cls.params:
            if hyper.name not in statement.args:
                gap = True
                continue
            value = self.place(statement.args[hyper.name])
            if gap:
                call.keywords.append(ast.keyword(hyper.name, value))
            else:
                call.args.append(value)
        call.keywords.append(ast.keyword("name", self._name(statement.member)))
        return call

    def _chain(self, member: Member, stages: list[Statement]) -> None:
        for stage in stages:
            if isinstance(stage, (Apply, Call)) and stage.member is not None:
                named = Member(f"{member.name}_{stage.member.name}")
                stage = dataclasses.replace(stage, member=named)
            self._body([stage])

    def _if(self, statement: If) -> None:
        """`skip = x` before, where one arm only passes a tensor on."""
        arms = [self._arm(statement.then, statement.phis, "then"),
                self._arm(statement.orelse, statement.phis, "orelse")]  # fmt: skip
        for phi in statement.phis:
            self.out.join(phi.result)
        condition = self.place(statement.condition)
        if statement.then and statement.orelse:
            self.out.lines.append(When(condition, arms[0], arms[1]))
            return
        plain, other = (1, 0) if statement.then else (0, 1)
        self.out.lines += arms[plain]
        self.out.lines.append(When(expr.negate(condition) if other else condition, arms[other], []))

    def _arm(self, body: list[Statement], phis: list[Phi], which: str) -> list[Line]:
        outside, self.out.lines = self.out.lines, []
        self._body(body)
        for phi in phis:
            self.out.lines.append(Assign([phi.result], self._read(getattr(phi, which))))
        inside, self.out.lines = self.out.lines, outside
        return inside

    # ------------------------------------------------------------------------------ loops

    def _loop(self, loop: Repeat) -> None:
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self.out.lines.append(Assign([carried.current], self._read(carried.initial)))
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)
        line = self._header(loop)
        outside, self.out.lines = self.out.lines, line.body
        self._body(loop.body)
        self.out.lines = outside
        self.out.lines.append(line)

    def _header(self, loop: Repeat) -> For:
        """`for i, (width, stride) in enumerate(table)`; members are numbered by `i`."""
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        target = names[0] if len(names) == 1 else ast.Tuple(names, ast.Store())
        table = self.place(loop.table)
        listed = list(dict.fromkeys(m.name for m in members(loop.body)))
        counted = [n for n in listed if n not in self.index]
        if not counted:
            return For(target if names else expr.name("_"),
                       table if names else tree("range({n})", n=table))  # fmt: skip
        if any(isinstance(s, Repeat) and any(True for _ in members([s])) for s in loop.body):
            return self._counted(loop, counted, target if names else expr.name("_"), table)
        number_ = expr.name(free("i", self.scope.locals.values()))
        per = len(list(members(loop.body))) if loop.chain else 1
        for name in counted:
            self.index[name] = _places(number_, per)
        if not names:
            return For(number_, tree("range({n})", n=table))
        return For(ast.Tuple([number_, target], ast.Store()), tree("enumerate({t})", t=table))

    def _counted(self, loop: Repeat, lists: list[str], target: Expr, table: Expr) -> For:
        """Nested loops that fill one list number its members by a counter."""
        for name in lists:
            counter = expr.name(free("index" if len(lists) == 1 else f"{name}_index",
                                     self.scope.locals.values()))  # fmt: skip
            self.out.lines.append(Store(counter, tree("count()")))
            self.index[name] = lambda c=counter: tree("next({c})", c=c)  # type: ignore[misc]
        return For(target, table if loop.variables else tree("range({n})", n=table))

    def _read(self, var: Var) -> Expr:
        if isinstance(var, WeightVar):
            raise MlcError("unsupported", f"Keras cannot read {var.part} outside a layer here")
        return self.out.ref(var)


def _places(index: Expr, per: int) -> Callable[[], Expr]:
    """`2 * i`, then `2 * i + 1`: the places of one iteration's members, each asked for once."""
    numbers = itertools.count()

    def place() -> Expr:
        if per == 1:
            return index
        offset = next(numbers) % per
        base = tree("{per} * {i}", per=literal(per), i=index)
        return tree("{base} + {j}", base=base, j=literal(offset)) if offset else base

    return place


def _projection(statement: Apply) -> WeightVar | None:
    """The embedding's weight that a linear layer without weights of its own takes."""
    if statement.op.name != "linear" or statement.member is not None:
        return None
    weight, bias = statement.inputs[1:3]
    tied = isinstance(weight, WeightVar) and weight.member is not None and bias is None
    return weight if tied and isinstance(weight, WeightVar) else None


def _tied(body: list[Statement]) -> Iterator[Member]:
    """The embeddings whose weight is used once more, for logits."""
    for statement in walk(body):
        weight = _projection(statement) if isinstance(statement, Apply) else None
        if weight is not None and weight.member is not None:
            yield weight.member


def _shared(body: list[Statement]) -> Iterator[Member]:
    """The members that are applied more than once."""
    for statement in body:
        match statement:
            case Apply(member=Member() as member, first=False) | Call(member=member, first=False):
                yield member
            case Repeat(body=inner) | Chain(body=inner):
                yield from _shared(inner)
            case If(then=then, orelse=orelse):
                yield from _shared([*then, *orelse])


__all__ = ["Function", "number", "text"]
