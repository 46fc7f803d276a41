"""A class of the program as an `nn.Module`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.graph import Init, Input
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Check,
    Class,
    If,
    Member,
    Parameter,
    Repeat,
    Statement,
    Var,
    WeightVar,
)  # fmt: skip
from ..source.compose import Assign, Composer, For, Return, Store, When
from ..source.module import block, describe, docstring
from ..source.names import free
from ..source.parts import Parts, spell
from ..source.scope import Scope, members, signature
from ..source.tree import shown, text, tree
from .layers import FUNCTIONS, LAYERS
from .reserved import ATTRIBUTES, LOCALS
from .rules import DTYPES, RULES


class Module:
    """Prints one class: its constructor and its `forward`."""

    def __init__(self, cls: Class, others: frozenset[str], optional: dict[str, Input]) -> None:
        self.cls = cls
        self.optional = optional
        self.scope = Scope(cls, ATTRIBUTES, {*LOCALS, *others})
        self.out = Composer()
        self.place = self.scope.call(self.out.ref)
        self.elements: dict[str, Expr] = {}

    def source(self) -> str:
        """The class as text."""
        arguments = ", ".join(["self", *signature(self.cls, self.scope)])
        return (
            f"class {self.cls.name}(nn.Module):\n    {docstring(describe(self.cls))}\n\n"
            f"    def __init__({arguments}) -> None:\n{block(self._constructor(), 2)}\n\n"
            f"{self._forward()}"
        )

    # ------------------------------------------------------------------------ constructor

    def _constructor(self) -> Iterator[ast.stmt]:
        yield from ast.parse("super().__init__()").body
        for check in self.cls.checks:
            yield self._check(check)
        for name, attribute in self.scope.kept.items():
            yield self._set(attribute, self.scope.init(expr.name(name)))
        held = [(p.site, self._parameter(p)) for p in self.cls.parameters]
        statements = [s for s in self.cls.body if any(True for _ in members([s]))]
        before = statements[0].site if statements else 0
        yield from (stmt for site, stmt in held if site < before)
        for i, statement in enumerate(statements):
            yield from self._construct(statement)
            now = statement.site
            later = statements[i + 1].site if i + 1 < len(statements) else None
            yield from (s for site, s in held if site >= now and (later is None or site < later))
        if not statements:
            yield from (stmt for _, stmt in held)

    def _check(self, check: Check) -> ast.stmt:
        names = {n: self.scope.init(expr.name(n)) for n in self.scope.locals}
        problem = self.scope.init(expr.negate(check.condition))
        error = tree("ValueError({message})", message=shown(check.message, names))
        return ast.If(problem, [ast.Raise(error)], [])

    def _set(self, attribute: str, value: Expr) -> ast.stmt:
        return ast.Assign([expr.parse(f"self.{attribute}")], value)

    def _parameter(self, parameter: Parameter) -> ast.stmt:
        shape = [self.scope.init(size) for size in parameter.shape]
        start = _initial(parameter.init, shape)
        name = self.scope.attribute(parameter.name)
        if parameter.trainable:
            return self._set(name, tree("nn.Parameter({start})", start=start))
        call = tree("self.register_buffer({name}, {start})", name=literal(name), start=start)
        return ast.Expr(call)

    def _construct(self, statement: Statement) -> Iterator[ast.stmt]:
        """The statements that make the members of `statement`."""
        match statement:
            case Apply(member=Member() as member, first=True):
                yield self._set(self.scope.attribute(member.name), self._made(statement))
            case Call(member=member, first=True) | Chain(member=member):
                yield self._set(self.scope.attribute(member.name), self._made(statement))
            case If():
                yield from self._construct_if(statement)
            case Repeat():
                yield from self._construct_loop(statement)

    def _made(self, statement: Statement) -> Expr:
        """The expression that constructs a member."""
        match statement:
            case Apply(op=op):
                parts = Parts(statement, self.out.ref, self.scope.init)
                return spell(FUNCTIONS if op.name not in LAYERS else LAYERS, parts, "pytorch")
            case Call(cls=cls, sizes=sizes, args=args):
                given = [self.scope.init(sizes[name]) for name in cls.needs]
                call = tree(f"{cls.name}(*{{sizes}})", sizes=given)
                assert isinstance(call, ast.Call)
                call.args, call.keywords = _arguments(cls, call.args, {
                    name: self.scope.init(value) for name, value in args.items()
                })  # fmt: skip
                return call
            case Chain(body=body):
                return tree("nn.Sequential(*{stages})", stages=[self._made(s) for s in body])
        raise AssertionError(statement)

    def _construct_if(self, statement: If) -> Iterator[ast.stmt]:
        optional = statement.optional
        if optional is not None:
            name = self.scope.attribute(optional.member.name)  # type: ignore[union-attr]
            yield self._set(name, tree("nn.Identity()"))
        arms = [[s for each in arm for s in self._construct(each)]
                for arm in (statement.then, statement.orelse)]  # fmt: skip
        condition = self.scope.init(statement.condition)
        if arms[0]:
            yield ast.If(condition, arms[0], arms[1])
        elif arms[1]:
            yield ast.If(expr.negate(condition), arms[1], [])

    def _construct_loop(self, loop: Repeat) -> Iterator[ast.stmt]:
        lists = list(dict.fromkeys(m.name for m in members(loop.body)))
        sizes = [s for s in loop.sizes if s.name in self.cls.init_names]
        container = "nn.Sequential" if loop.chain else "nn.ModuleList"
        if len(loop.body) == 1 and not sizes and isinstance(loop.body[0], (Apply, Call)):
            made = self._made(loop.body[0])
            star = "*" if loop.chain else ""
            made = tree(f"{container}({star}({{made}} for _ in {{table}}))" , made=made,
                        table=self._iterable(loop))  # fmt: skip
            _set_target(made, self._target(loop))
            yield self._set(self.scope.attribute(lists[0]), made)
            return
        for name in lists:
            yield self._set(self.scope.attribute(name), tree(f"{container}()"))
        yield from self._loop_body(loop, sizes)

    def _loop_body(self, loop: Repeat, sizes: list) -> Iterator[ast.stmt]:  # type: ignore[type-arg]
        for size in sizes:
            yield ast.Assign([expr.name(self.scope.locals[size.name])], self.scope.init(size.start))
        body: list[ast.stmt] = []
        waiting: list[tuple[str, Expr]] = []
        for statement in loop.body:
            match statement:
                case Apply(member=Member() as member) | Call(member=member):
                    waiting.append((self.scope.attribute(member.name), self._made(statement)))
                case Repeat():
                    body += [*_appended(waiting), *self._nested(statement)]
                    waiting = []
                case If() | Chain():
                    body += [*_appended(waiting), *self._construct(statement)]
                    waiting = []
        body += _appended(waiting)
        for size in sizes:
            update = self.scope.init(size.update or size.start)
            name = self.scope.locals[size.name]
            if not (isinstance(update, ast.Name) and update.id == name):
                body.append(ast.Assign([expr.name(name)], update))
        yield ast.For(self._target(loop), self._iterable(loop), body, [])

    def _nested(self, loop: Repeat) -> Iterator[ast.stmt]:
        sizes = [s for s in loop.sizes if s.name in self.cls.init_names]
        yield from self._loop_body(loop, sizes)

    def _iterable(self, loop: Repeat) -> Expr:
        table = self.scope.init(loop.table)
        return table if loop.variables else tree("range({n})", n=table)

    def _target(self, loop: Repeat) -> Expr:
        names: list[Expr] = [expr.name(self.scope.locals[v]) for v in loop.variables]
        if not names:
            return expr.name("_")
        return names[0] if len(names) == 1 else ast.Tuple(names, ast.Store())

    # ---------------------------------------------------------------------------- forward

    def _forward(self) -> str:
        names = {var: self.scope.locals.get(n) or free(n, LOCALS)
                 for n, var in self.cls.inputs.items()}  # fmt: skip
        for name, default in self.optional.items():
            self._default(self.cls.inputs[name], default)
        for parameter in self.cls.parameters:
            names[parameter.var] = ""
        self._statements(self.cls.body)
        results = [self._read(var) for var in self.cls.outputs.values()]
        self.out.final = {self.out.leader(var) for var in self.cls.outputs.values()}
        for parameter, var in self.cls.updates:
            target = expr.parse(f"self.{self.scope.attribute(parameter.name)}")
            self.out.lines.append(Store(target, tree("{x}.detach()", x=self._read(var))))
        single = len(results) == 1
        self.out.lines.append(Return(results[0] if single else ast.Tuple(results, ast.Load())))
        fixed = {var: name for var, name in names.items() if name}
        body = self.out.finish(fixed, LOCALS)
        arguments = [f"{name}: Tensor" + (" | None = None" if var.name in self.optional else "")
                     for var, name in fixed.items()]  # fmt: skip
        result = "Tensor" if single else f"tuple[{', '.join(['Tensor'] * len(results))}]"
        return f"    def forward({', '.join(['self', *arguments])}) -> {result}:\n{block(body, 2)}"

    def _default(self, var: Var, given: Input) -> None:
        """`if keep is None: keep = torch.full(…)`."""
        shape = [self.place(literal(size)) for size in var.type.shape]
        device = next(v for v in self.cls.inputs.values() if v is not var)
        made = tree(
            f"torch.full((*{{shape}},), {{value}}, dtype={DTYPES[var.type.dtype]}, device={{x}}.device)",
            shape=shape, value=literal(given.default), x=self.out.ref(device),
        )  # fmt: skip
        missing = tree("{x} is None", x=self.out.ref(var))
        self.out.join(var)
        self.out.lines.append(When(missing, [Assign([var], made)], []))

    def _read(self, var: Var) -> Expr:
        if isinstance(var, WeightVar):
            own = self.scope.attribute(var.member.name if var.member else var.part)
            return expr.parse(f"self.{own}.{var.part}" if var.member else f"self.{own}")
        return self.out.ref(var)

    def _statements(self, body: list[Statement]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Apply(member=Member(), outputs=outputs):
                self._define(outputs[:1], self._applied(statement))
            case Apply(outputs=outputs) | Call(outputs=outputs):
                self._define(outputs, self._applied(statement))
            case Chain(member=member, input=given, output=output):
                self._define((output,), self._called(member, given))
            case If():
                self._if(statement)
            case Repeat():
                self._loop(statement)

    def _define(self, outputs: tuple[Var, ...], value: Expr) -> None:
        self.out.lines.append(Assign(list(outputs), value))

    def _called(self, member: Member, *inputs: Var) -> Expr:
        holder = self.elements.get(member.name) or expr.parse(
            f"self.{self.scope.attribute(member.name)}"
        )
        return tree("{f}(*{xs})", f=holder, xs=[self._read(v) for v in inputs])

    def _applied(self, statement: Apply | Call) -> Expr:
        given = [v for v in statement.inputs if v is not None]
        if isinstance(statement, Call):
            return self._called(statement.member, *given)
        if statement.member is not None and statement.op.name in LAYERS:
            return self._called(statement.member, *given)
        return spell(RULES, Parts(statement, self._read, self.place), "pytorch")

    def _if(self, statement: If) -> None:
        optional = statement.optional
        if optional is not None:
            (phi,) = statement.phis
            data = optional.input if isinstance(optional, Chain) else optional.inputs[0]
            assert data is not None and optional.member is not None
            self._define((phi.result,), self._called(optional.member, data))
            return
        arms: list[list] = []  # type: ignore[type-arg]
        for which in ("then", "orelse"):
            outside, self.out.lines = self.out.lines, []
            self._statements(getattr(statement, which))
            for phi in statement.phis:
                self.out.lines.append(Assign([phi.result], self._read(getattr(phi, which))))
            arms.append(self.out.lines)
            self.out.lines = outside
        for phi in statement.phis:
            self.out.join(phi.result)
        self.out.lines.append(When(self.place(statement.condition), arms[0], arms[1]))

    def _loop(self, loop: Repeat) -> None:
        if loop.chain:
            (carried,) = loop.carried
            self._define((carried.result,), self._called(Member(loop.chain), carried.initial))
            return
        for carried in loop.carried:
            self.out.join(carried.current, carried.next, carried.result)
            self.out.lines.append(Assign([carried.current], self._read(carried.initial)))
        line = self._header(loop)
        outside, self.out.lines = self.out.lines, line.body
        self._statements(loop.body)
        self.out.lines = outside
        self.out.lines.append(line)
        for inside, result in loop.results.items():
            if all(result is not c.result for c in loop.carried):
                self.out.join(inside, result)

    def _header(self, loop: Repeat) -> For:
        """`for width, conv in zip(table, self.conv)`: what the body reads, and no more."""
        lists = list(dict.fromkeys(m.name for m in members(loop.body)))
        targets: list[Expr] = []
        sources: list[Expr] = []
        if set(loop.variables) & self.cls.call_names or not lists:
            targets.append(self._target(loop))
            table = self.place(loop.table)
            sources.append(table if loop.variables else tree("range({n})", n=table))
        for name in lists:
            element = free(name[:-1] if name.endswith("s") else name, {*LOCALS, *self.scope.locals})
            self.elements[name] = expr.name(element)
            targets.append(expr.name(element))
            sources.append(expr.parse(f"self.{self.scope.attribute(name)}"))
        if len(sources) == 1:
            return For(targets[0], sources[0])
        return For(ast.Tuple(targets, ast.Store()), tree("zip(*{xs}, strict=True)", xs=sources))


def _arguments(
    cls: Class, sizes: list[Expr], args: dict[str, Expr]
) -> tuple[list[Expr], list[ast.keyword]]:
    """Positional as long as none is left out, then by keyword."""
    positional, keywords = list(sizes), []
    gap = False
    for hyper in cls.params:
        if hyper.name not in args:
            gap = True
        elif gap:
            keywords.append(ast.keyword(hyper.name, args[hyper.name]))
        else:
            positional.append(args[hyper.name])
    return positional, keywords


def _initial(init: Init, shape: list[Expr]) -> Expr:
    """The tensor that a weight starts as."""
    kinds = {
        "zeros": "torch.zeros(*{shape})",
        "ones": "torch.ones(*{shape})",
        "constant": "torch.full((*{shape},), {a})",
        "normal": "torch.empty(*{shape}).normal_(std={a})",
        "uniform": "torch.empty(*{shape}).uniform_({a}, {b})",
        "xavier_uniform": "nn.init.xavier_uniform_(torch.empty(*{shape}))",
        "kaiming_uniform": "nn.init.kaiming_uniform_(torch.empty(*{shape}), a=5**0.5)",
        "fan_uniform": "torch.empty(*{shape}).uniform_(-({a}**-0.5), {a}**-0.5)",
    }
    a, b = (*map(literal, init.args), None, None)[:2]
    return tree(kinds[init.kind], shape=shape, a=a, b=b)


def _set_target(made: Expr, target: Expr) -> None:
    """Gives the comprehension in `made` its loop variables."""
    for node in ast.walk(made):
        if isinstance(node, ast.comprehension):
            node.target = target


def _appended(waiting: list[tuple[str, Expr]]) -> list[ast.stmt]:
    """`self.blocks.append(…)`, or `.extend([…])` where several go to one list."""
    lists: dict[str, list[Expr]] = {}
    for name, made in waiting:
        lists.setdefault(name, []).append(made)
    result: list[ast.stmt] = []
    for name, items in lists.items():
        call = "append({x})" if len(items) == 1 else "extend([*{xs}])"
        result.append(ast.Expr(tree(f"self.{name}.{call}", x=items[0], xs=items)))
    return result


__all__ = ["Module", "text"]
