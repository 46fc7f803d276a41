"""A class of the program as a function on Keras tensors, or the model as a functional `keras.Model`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import Size, symbols
from ...compiler.expr import Expr, literal
from ...compiler.graph import Input
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Member,
    Phi,
    Repeat,
    Statement,
    Var,
    WeightVar,
    walk,
)  # fmt: skip
from ..source.compose import Assign, Composer, For, Line, Raise, Return, Store, When
from ..source.computation import number, numbers
from ..source.constructor import arguments, listed
from ..source.module import block, describe, docstring
from ..source.names import free, snake
from ..source.parts import spell
from ..source.scope import Scope, signature
from ..source.tree import shown, tree
from .clusters import Group, Grouping
from .custom import Custom
from .layers import LAYERS, POOLS, REVERSIBLE
from .members import Labels, held, reversible, stages
from .optional import Default, defaults
from .reserved import LOCALS
from .rules import RULES, Pieces, dtype, element, opened, picked

WIDTH = 60
"""Keras names its constructors in full: one layer a line reads best."""


class Function:
    """Prints one class; the model's function makes its inputs and returns the `keras.Model`.

    `functions` are the names of the classes' functions, `optional` the model's inputs that may be
    left out, `name_layer` gives a group of ops the name of its class, `shorten` may write the
    constructor of a layer more briefly, and `sizes` count how often each size is read: what is read
    more than once has a name.
    """

    def __init__(
        self,
        cls: Class,
        functions: Mapping[str, str],
        optional: Mapping[str, Input],
        name_layer: Callable[[str], str],
        shorten: Callable[[Expr], Expr],
        sizes: Counter[str],
    ) -> None:
        self.cls = cls
        self.model = cls.definition.kind == "model"
        self.optional = optional
        self.functions = functions
        self.shorten = shorten
        self.read = sizes
        self.bound = {n for n, times in sizes.items() if times > 1}
        self.taken = {*LOCALS, *functions.values()}
        self.scope = Scope(cls, frozenset(), self.taken)
        self.scope.kept = {}
        self.out = Composer(WIDTH)
        self.grouping = Grouping(cls)
        self.numbers = numbers(cls)
        self.running: dict[str, tuple[Var, int]] = {}
        self.labels = Labels(self.model)
        self.held = held(cls.body)
        self.reversible = reversible(cls.body)
        self.made: dict[str, Expr] = {}
        self.top = self.out.lines
        self.custom: dict[Statement | None, list[Custom]] = {}
        self.inside: set[Statement] = set()
        for before, group in self.grouping.result():
            made = Custom(cls, group, self.grouping.open, name_layer(_wish(group)))
            self.custom.setdefault(before, []).append(made)
            self.inside |= set(group.statements)

        self.defaults = [Default(cls, var, given, name_layer(f"{var.name}_default"))
                         for var, given in defaults(cls, optional).items()]  # fmt: skip
        self.given = {d.var: Var(f"given_{d.var.name}", d.var.type, d.var.order)
                      for d in self.defaults}  # fmt: skip
        self.picked = picked(cls.body, self.inside)

    @property
    def layers(self) -> list[Custom]:
        """The layers of its own that the class needs."""
        return [custom for each in self.custom.values() for custom in each]

    def place(self, expression: Expr) -> Expr:
        """An expression where the tensors are in sight: sizes are read from them."""

        def name(each: str) -> Expr:
            if each in self.running:
                var, axis = self.running[each]
                return tree("{x}.shape[{i}]", x=self.out.ref(var), i=literal(axis))
            if each in self.cls.sizes and self.cls.sizes[each][0] in self.cls.inputs:
                self.read[each] += 1
                if each not in self.bound:
                    return self._size(each)
            return expr.name(self.scope.locals.get(each, each))

        return expr.substitute(expression, {n: name(n) for n in expr.names(expression)})

    def _size(self, name: str) -> Expr:
        """`x.shape[-1]`."""
        source, axis = self.cls.sizes[name]
        var = self.cls.inputs[source]
        axis = var.order.index(axis) if var.order else axis
        end = axis == var.type.rank - 1
        return tree("{x}.shape[{i}]", x=self.out.ref(var), i=literal(-1 if end else axis))

    # ----------------------------------------------------------------------------- the text

    def source(self) -> str:
        """The function as text."""
        taken = {*self.taken, *self.scope.locals.values()}
        arguments_: dict[Var, str] = {}
        for n, v in self.cls.inputs.items():
            given = self.given.get(v, v)
            arguments_[given] = free(n if given is v else given.name, taken)
        for size in sorted(self.bound):
            self.out.lines.append(Store(expr.name(self.scope.locals[size]), self._size(size)))
        for default in self.defaults:
            given = [*default.sources, self.given[default.var]]
            made = tree(f"{default.name}()(*{{xs}})", xs=[self.out.ref(v) for v in given])
            self._define([default.var], made)
        self._checks()
        self._body(self.cls.body)
        results = [self._read(var) for var in self.cls.outputs.values()]
        for custom in self.custom.get(None, []):
            given = [results[0], *map(self._read, custom.inputs[1:])]
            results[0] = self._applied(custom, given)
        self.out.final = {self.out.leader(var) for var in self.cls.outputs.values()}
        result = results[0] if len(results) == 1 else ast.Tuple(results, ast.Load())
        self.out.lines.append(Return(self._whole(result) if self.model else result))
        before = [line for v, n in arguments_.items() for line in self._input(v, n)]
        own = {self.scope.locals[n] for n in (*self.bound, *(p.name for p in self.cls.params))}
        body = [*before, *self.out.finish(arguments_, self.taken | own)]
        tensors = [] if self.model else [f"{n}: keras.KerasTensor" for n in arguments_.values()]
        plain = signature(self.cls, self.scope)[len(self.cls.needs) :]
        last = [] if self.model else ["*", "name: str"]
        kind = "keras.Model" if self.model else _several("keras.KerasTensor", len(results))
        return (f"def {self.functions[self.cls.name]}({', '.join([*tensors, *plain, *last])}) -> {kind}:"
                f"\n    {docstring(describe(self.cls))}\n{block(body, 1)}\n")  # fmt: skip

    def _input(self, var: Var, name: str) -> Iterator[ast.stmt]:
        """`image = keras.Input((None, None, 3), name="image")`."""
        if not self.model:
            return
        order = var.order or range(var.type.rank)
        shape = [self._static(var.type.shape[axis]) for axis in order]
        kind = None if var.type.dtype == "f32" else dtype(var.type.dtype)
        source = next((v for v, given in self.given.items() if given is var), var)
        optional = literal(True) if source.name in self.optional else None
        fixed = not shape or not _is_none(shape[0])
        template = "batch_shape=(*{shape},)" if fixed else "(*{shape},)"
        call = tree(f"keras.Input({template}, dtype={{dtype}}, optional={{o}}, name={{name}})",
                    shape=shape if fixed else shape[1:], dtype=kind, o=optional,
                    name=literal(source.name))  # fmt: skip
        yield ast.Assign([expr.name(name)], call)

    def _static(self, size: int | Size) -> Expr:
        """A size of an input: None where it is open, an expression where hyper-parameters give it."""
        expression = literal(size)
        own = {p.name for p in self.cls.params}
        return self.scope.init(expression) if expr.names(expression) <= own else literal(None)

    def _whole(self, result: Expr) -> Expr:
        given = [self.out.ref(self.given.get(v, v)) for v in self.cls.inputs.values()]
        several = ast.List(result.elts, ast.Load()) if isinstance(result, ast.Tuple) else result
        return tree("keras.Model({i}, {o}, name={n})",
                    i=given[0] if len(given) == 1 else ast.List(given, ast.Load()),
                    o=several, n=literal(snake(self.cls.name)))  # fmt: skip

    def _checks(self) -> None:
        """`require` lines; one that an open size decides is not known before the model runs."""
        for check in self.cls.checks:
            if opened(self.grouping.open)(check.condition):
                continue
            names = {n: self.place(expr.name(n)) for n in self.scope.locals}
            error = tree("ValueError({m})", m=shown(check.message, names))
            self.out.lines.append(When(self.place(expr.negate(check.condition)), [Raise(error)]))

    # ------------------------------------------------------------------------- statements

    def _body(self, body: Sequence[Statement]) -> None:
        for statement in body:
            for custom in self.custom.get(statement, []):
                self._custom(custom)
            if statement in self.inside:
                continue
            match statement:
                case Apply():
                    self._apply(statement)
                case Call(outputs=outputs, inputs=inputs):
                    self._define(outputs, self._call(statement, inputs))
                case Chain(body=inner, member=member):
                    self._chain(member, inner)
                case If():
                    self._if(statement)
                case Repeat():
                    self._loop(statement)

    def _define(self, outputs: Sequence[Var], value: Expr) -> None:
        """`outputs = value`; a layer applied to a layer's result is a line of its own."""
        self.out.lines.append(Assign(list(outputs), self._apart(value)))

    def _apart(self, value: Expr) -> Expr:
        match value:
            case ast.Call(func=ast.Call() | ast.Name(), args=[ast.Call(func=ast.Call()) as inner]):
                middle = Var("", self.cls.inputs[next(iter(self.cls.inputs))].type)
                self._define([middle], inner)
                value.args = [self.out.ref(middle)]
        return value

    def _custom(self, custom: Custom) -> None:
        value = self._applied(custom, [self._read(v) for v in custom.inputs])
        self._define(custom.given, value)

    def _applied(self, custom: Custom, given: list[Expr]) -> Expr:
        label = self.labels.name(Member(custom.member)) if custom.member else None
        return custom.call(given, label, self.place)

    def _apply(self, statement: Apply) -> None:
        if statement.outputs[0] in self.numbers or statement in self.picked.values():
            return
        if statement in self.picked:
            cut = self._pieces(self.picked[statement], None)
            self._define(statement.outputs, element(cut, statement.values["axes"]))
            return
        member = statement.member
        if self._projects(statement):
            self._define(statement.outputs, self._reversed(statement))
        elif member is None or statement.op.name not in LAYERS:
            pieces = self._pieces(statement, None)
            self._define(statement.outputs, spell({**RULES, **POOLS}, pieces, "Keras"))
        else:
            tied = member.name in self.reversible
            rules = {**LAYERS, "embedding": REVERSIBLE} if tied else LAYERS
            value = spell(rules, self._pieces(statement, self.labels.name(member)), "Keras")
            kept = member.name in self.held
            made = self._hold(member, value) if kept else self.shorten(value)
            self._define(statement.outputs[:1], made)

    def _pieces(self, statement: Apply, name: Expr | None) -> Pieces:
        pieces = Pieces(statement, self._read, self.place, name, self.numbers)
        pieces.open = self.grouping.open
        pieces.eager = self.grouping.eager
        return pieces

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
            raise MlcError("unsupported", f"{weight.member.name} of {self.cls.name} is used before it is "
                           "applied", help="choose another target")  # fmt: skip
        return tree("{f}({x}, reverse=True)", f=self.made[weight.member.name], x=self._read(x))

    def _read(self, var: Var) -> Expr:
        if var in self.numbers:
            return number(self.numbers[var], self.place)
        if isinstance(var, WeightVar) and var.member is not None:
            raise MlcError(
                "unsupported",
                f"{var.member.name}.{var.part} is read outside its layer, which Keras cannot do here",
                help="use a param, or choose another target",
            )
        return self.out.ref(var)

    # --------------------------------------------------------------- members that are held

    def _hold(self, member: Member, applied: Expr) -> Expr:
        """A layer that is applied more than once is made once, under its own name."""
        if member.name not in self.made:
            name = expr.name(free(member.name, {*self.taken, *self.scope.locals.values()}))
            self.made[member.name] = name
            self.top.append(Store(name, _constructor(applied)))
        return _Replace(self.made[member.name]).visit(applied)

    def _call(self, statement: Call, inputs: Sequence[Var | None]) -> Expr:
        given = [self._read(v) for v in inputs if v is not None]
        if statement.member.name in self.held:
            model = self._submodel(statement, [v for v in inputs if v is not None])
            return tree("{f}({xs})", f=model, xs=_listed(given))
        return self._block(statement, given)

    def _block(self, statement: Call, given: list[Expr]) -> Expr:
        args = {name: self.place(value) for name, value in statement.given.items()}
        positional, keywords = arguments(statement.cls, args)
        label = ast.keyword("name", self.labels.name(statement.member))
        function = expr.name(self.functions[statement.cls.name])
        return ast.Call(function, [*given, *positional], [*keywords, label])

    def _submodel(self, statement: Call, inputs: Sequence[Var]) -> Expr:
        """A block that is applied more than once is a `keras.Model` of its own."""
        member = statement.member
        if member.name not in self.made:
            name = expr.name(free(member.name, {*self.taken, *self.scope.locals.values()}))
            self.made[member.name] = name
            fresh = [Var(n, v.type, v.order) for n, v in statement.cls.inputs.items()]
            for var, given in zip(fresh, inputs, strict=True):
                self.top.append(Assign([var], self._example(statement, given)))
            made = self._block(statement, [self.out.ref(v) for v in fresh])
            self.top.append(Store(name, tree("keras.Model({i}, {o}, name={n})", o=made,
                            i=_listed([self.out.ref(v) for v in fresh]),
                            n=self.labels.name(member))))  # fmt: skip
        return self.made[member.name]

    def _example(self, statement: Call, var: Var) -> Expr:
        """An input like this tensor; sizes are left open that differ from call to call."""
        calls = [s for s in walk(self.cls.body)
                 if isinstance(s, Call) and s.member == statement.member]  # fmt: skip
        slot = statement.inputs.index(var)
        others = [v for c in calls if (v := c.inputs[slot]) is not None]
        order = var.order or range(var.type.rank)
        shape = []
        for axis in order:
            sizes = {str(v.type.shape[axis]) for v in others}
            size = literal(var.type.shape[axis])
            known = len(sizes) == 1 and not self._opened(var.type.shape[axis])
            shape.append(self.place(size) if known else literal(None))
        kind = None if var.type.dtype == "f32" else dtype(var.type.dtype)
        return tree("keras.Input((*{shape},), dtype={kind})", shape=shape[1:], kind=kind)

    def _opened(self, size: int | Size) -> bool:
        return any(n in self.grouping.open or n.startswith("size_") for n in symbols(size))

    def _chain(self, member: Member, body: Sequence[Statement]) -> None:
        with self.labels.within(member, stages(body)):
            self._body(body)

    # ---------------------------------------------------------------------- choices, loops

    def _if(self, statement: If) -> None:
        """`skip = x` before, where one arm only passes a tensor on."""
        arms = [self._arm(statement.then, statement.phis, "then"),
                self._arm(statement.orelse, statement.phis, "orelse")]  # fmt: skip
        for phi in statement.phis:
            self.out.join(phi.result)
        condition = self.place(statement.condition)
        if bool(statement.then) == bool(statement.orelse):
            self.out.lines.append(When(condition, arms[0], arms[1]))
            return
        plain, other = (1, 0) if statement.then else (0, 1)
        self.out.lines += arms[plain]
        self.out.lines.append(When(expr.negate(condition) if other else condition, arms[other], []))

    def _arm(self, body: Sequence[Statement], phis: Sequence[Phi], which: str) -> list[Line]:
        outside, self.out.lines = self.out.lines, []
        self._body(body)
        for phi in phis:
            self._define([phi.result], self._read(getattr(phi, which)))
        inside, self.out.lines = self.out.lines, outside
        return inside

    def _loop(self, loop: Repeat) -> None:
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self._define([carried.current], self._read(carried.initial))
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)
        self._run_along(loop, "current")
        line = self._header(loop)
        outside, self.out.lines = self.out.lines, line.body
        self._body(loop.body)
        self.out.lines = outside
        self._run_along(loop, "result")
        self.out.lines.append(line)

    def _run_along(self, loop: Repeat, which: str) -> None:
        """Sizes that change from iteration to iteration are read from the tensor that has them."""
        for size in loop.sizes:
            for carried in loop.carried:
                var = getattr(carried, which)
                for axis, found in enumerate(carried.current.type.shape):
                    if str(found) == size.name:
                        place = var.order.index(axis) if var.order else axis
                        self.running[size.name] = (var, place)

    def _header(self, loop: Repeat) -> For:
        """`for i, (width, stride) in enumerate(table)`; members are numbered by `i`."""
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        target = names[0] if len(names) == 1 else ast.Tuple(names, ast.Store())
        table = self.place(loop.table)
        plain = table if names else tree("range({n})", n=table)
        fresh = [n for n in listed(loop) if not self.labels.numbered(n)]
        if not fresh:
            return For(target if names else expr.name("_"), plain)
        if any(isinstance(s, (Repeat, If)) and _fills(s) for s in loop.body):
            self._counted(fresh)
            return For(target if names else expr.name("_"), plain)
        index = expr.name(free("i", {*self.scope.locals.values(), *self.cls.inputs}))
        for name in fresh:
            self.labels.number(name, index, sum(m == name for m in _places(loop)))
        if not names:
            return For(index, plain)
        return For(ast.Tuple([index, target], ast.Store()), tree("enumerate({t})", t=table))

    def _counted(self, lists: Sequence[str]) -> None:
        """Nested loops that fill one list number its members by a counter."""
        for name in lists:
            wish = "index" if len(lists) == 1 else f"{name}_index"
            counter = expr.name(free(wish, {*self.scope.locals.values(), *self.cls.inputs}))
            self.out.lines.append(Store(counter, tree("count()")))
            self.labels.count(name, counter)


class _Replace(ast.NodeTransformer):
    """Puts a name in the place of the constructor of a layer."""

    def __init__(self, name: Expr) -> None:
        self.name = name

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if any(keyword.arg == "name" for keyword in node.keywords):
            return self.name
        return self.generic_visit(node)


def _constructor(applied: Expr) -> Expr:
    """The call that makes a layer, out of the expression that applies it."""
    return next(node for node in ast.walk(applied) if isinstance(node, ast.Call)
                and any(keyword.arg == "name" for keyword in node.keywords))  # fmt: skip


def _fills(statement: Statement) -> bool:
    """Whether a loop or a choice adds to lists."""
    return any(
        isinstance(s, (Apply, Call, Chain)) and s.member is not None and s.member.listed
        for s in walk([statement])
    )


def _places(loop: Repeat) -> Iterator[str]:
    """The lists that one iteration adds to, once for each member."""
    for statement in loop.body:
        if isinstance(statement, (Apply, Call, Chain)) and statement.member is not None:
            if statement.member.listed:
                yield statement.member.name


def _wish(group: Group) -> str:
    """What a group of ops is called: as a weight that it holds, as its result, or by its last op."""
    if group.parameters:
        return group.parameters[0].name
    named = next((v.name for v in group.outputs if v.name), None)
    return f"{named or group.statements[-1].op.name}_layer"


def _is_none(node: Expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _listed(given: list[Expr]) -> Expr:
    return given[0] if len(given) == 1 else ast.List(given, ast.Load())


def _several(one: str, count: int) -> str:
    return one if count == 1 else f"tuple[{', '.join([one] * count)}]"


__all__ = ["Function"]
