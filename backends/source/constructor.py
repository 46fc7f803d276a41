"""The statements that make a class's members, for targets whose classes hold their layers."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from ...compiler import expr
from ...compiler.expr import Expr, literal
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
    RunningSize,
    Statement,
    shared,
    walk,
)  # fmt: skip
from .scope import Scope, members
from .tree import shown, tree


class Constructor(ABC):
    """The body of one class's constructor; what differs between targets is in the hooks below."""

    def __init__(self, cls: Class, scope: Scope) -> None:
        self.cls = cls
        self.scope = scope

    # -------------------------------------------------------------------------------- hooks

    absent: ClassVar[Expr] = literal(None)
    """What stands in the place of a member that is passed by."""

    lists: ClassVar[str] = "list"
    """What holds the members of a loop."""

    @abstractmethod
    def layer(self, apply: Apply) -> Expr:
        """The expression that constructs a layer."""

    def block(self, call: ast.Call) -> Expr:
        """The construction of another class, with what all of them take."""
        return call

    @abstractmethod
    def sequence(self, stages: Sequence[Expr]) -> Expr:
        """Stages that are applied one after the other."""

    def gap(self, attribute: str) -> Expr:
        """What stands in a list of members in the place of one that is not there."""
        del attribute
        return self.absent

    def container(self, loop: Repeat) -> str:
        """What holds the members of this loop."""
        return self.lists

    def repeated(self, made: Expr, loop: Repeat) -> Expr:
        """All members of a loop in one expression."""
        return tree(f"{self.container(loop)}({{xs}})", xs=self.comprehension(made, loop))

    @abstractmethod
    def parameter(self, parameter: Parameter, shape: list[Expr]) -> ast.stmt:
        """The statement that makes a tensor of the class's own."""

    def optional(self, condition: Expr, name: str, made: list[ast.stmt]) -> Iterator[ast.stmt]:
        """The statements that make a member which is passed by unless `condition` holds."""
        yield self.set(name, self.absent)
        yield ast.If(condition, made, [])

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        """The member that an If passes by, if that is all it does."""
        return statement.optional

    # --------------------------------------------------------------------------- statements

    def statements(self) -> Iterator[ast.stmt]:
        """Checks, the hyper-parameters that the computation needs, then the members in order."""
        for check in self.cls.checks:
            yield self._check(check)
        for name, attribute in self.scope.kept.items():
            yield self.set(attribute, self.scope.init(expr.name(name)))
        held = [(p.site, self._parameter(p)) for p in self.cls.parameters]
        made = [(s.site, s) for s in self.cls.body if any(True for _ in members([s]))]
        for _, item in sorted([*held, *made], key=lambda pair: pair[0]):
            if isinstance(item, ast.stmt):
                yield item
            else:
                yield from self._construct(item)

    def set(self, attribute: str, value: Expr) -> ast.stmt:
        """`self.attribute = value`."""
        return ast.Assign([expr.parse(f"self.{attribute}")], value)

    def _check(self, check: Check) -> ast.stmt:
        names = {n: self.scope.init(expr.name(n)) for n in self.scope.locals}
        problem = self.scope.init(expr.negate(check.condition))
        error = tree("ValueError({message})", message=shown(check.message, names))
        return ast.If(problem, [ast.Raise(error)], [])

    def _parameter(self, parameter: Parameter) -> ast.stmt:
        return self.parameter(parameter, [self.scope.init(size) for size in parameter.shape])

    def _construct(self, statement: Statement) -> Iterator[ast.stmt]:
        """The statements that make the members of `statement`."""
        match statement:
            case (
                Apply(member=Member() as member, first=True)
                | Call(member=member, first=True)
                | Chain(member=member)
            ):
                yield self.set(self.scope.attribute(member.name), self.made(statement))
            case Apply(regions=regions):
                for region in regions:
                    for inner in region.body:
                        yield from self._construct(inner)
            case If():
                yield from self._if(statement)
            case Repeat():
                yield from self._loop(statement)

    def made(self, statement: Statement) -> Expr:
        """The expression that constructs a member."""
        match statement:
            case Apply():
                return self.layer(statement)
            case Call():
                return self._call(statement)
            case Chain(body=body):
                return self.sequence([self.made(stage) for stage in body])
        raise AssertionError(statement)

    def _call(self, statement: Call) -> Expr:
        cls = statement.cls
        sizes = [self.scope.init(statement.sizes[name]) for name in cls.needs]
        given = {name: self.scope.init(value) for name, value in statement.given.items()}
        positional, keywords = arguments(cls, given)
        return self.block(ast.Call(expr.name(cls.name), [*sizes, *positional], keywords))

    def _if(self, statement: If) -> Iterator[ast.stmt]:
        arms = [statement.then, statement.orelse]
        if statement.shares:
            common = shared(self.cls.body)
            for each in (s for arm in arms for s in arm if _named(s) in common):
                yield from self._construct(each)
            arms = [[s for s in arm if _named(s) not in common] for arm in arms]
        then, orelse = ([s for each in arm for s in self._construct(each)] for arm in arms)
        condition = self.scope.init(statement.condition)
        if not then:
            condition, then, orelse = expr.negate(condition), orelse, then
        optional = self.optional_member(statement)
        if optional is not None:
            assert optional.member is not None
            yield from self.optional(condition, self.scope.attribute(optional.member.name), then)
        elif then:
            yield ast.If(condition, then, orelse)

    # -------------------------------------------------------------------------------- loops

    def _loop(self, loop: Repeat) -> Iterator[ast.stmt]:
        for each in walk(loop.body):
            if isinstance(each, (Apply, Call)) and each.member and not each.member.listed:
                yield from self._construct(each)
        lists = [self.scope.attribute(name) for name in listed(loop)]
        if not lists:
            return
        sizes = self._sizes(loop)
        made = [each for each in loop.body if any(True for _ in members([each]))]
        only = made[0] if len(made) == 1 else None
        if not sizes and isinstance(only, (Apply, Call)):
            yield self.set(lists[0], self.repeated(self.made(only), loop))
            return
        for name in lists:
            yield self.set(name, tree(f"{self.container(loop)}()"))
        yield from self._loop_body(loop, sizes)

    def _sizes(self, loop: Repeat) -> list[RunningSize]:
        return [size for size in loop.sizes if size.name in self.cls.init_names]

    def _loop_body(self, loop: Repeat, sizes: list[RunningSize]) -> Iterator[ast.stmt]:
        for size in sizes:
            yield ast.Assign([expr.name(self.scope.locals[size.name])], self.scope.init(size.start))
        body = [*self._elements(loop.body)]
        for size in sizes:
            update = self.scope.init(size.update or size.start)
            name = self.scope.locals[size.name]
            if not (isinstance(update, ast.Name) and update.id == name):
                body.append(ast.Assign([expr.name(name)], update))
        yield ast.For(self.target(loop, body), self.iterable(loop), body, [])

    def _elements(self, body: list[Statement]) -> Iterator[ast.stmt]:
        """What one iteration adds to its lists."""
        waiting: list[tuple[str, Expr]] = []
        for statement in body:
            match statement:
                case (
                    Apply(member=Member() as member, first=True)
                    | Call(member=member, first=True)
                    | Chain(member=member)
                ) if member.listed:
                    waiting.append((self.scope.attribute(member.name), self.made(statement)))
                    continue
                case Apply(regions=[]) | Call():
                    continue
            yield from appended(waiting)
            waiting = []
            match statement:
                case Apply(regions=regions):
                    for region in regions:
                        yield from self._elements(region.body)
                case Repeat():
                    yield from self._loop_body(statement, self._sizes(statement))
                case If():
                    yield from self._chosen(statement)
                case _:
                    yield from self._construct(statement)
        yield from appended(waiting)

    def _chosen(self, statement: If) -> Iterator[ast.stmt]:
        """A choice within a loop: both arms add to all lists, so that members keep their places."""
        lists = list(dict.fromkeys(m.name for m in members([statement]) if m.listed))
        arms = []
        for body in (statement.then, statement.orelse):
            filled = {m.name for m in members(body)}
            lacking = [self.scope.attribute(n) for n in lists if n not in filled]
            gaps = [(attribute, self.gap(attribute)) for attribute in lacking]
            arms.append([*self._elements(body), *appended(gaps)])
        condition = self.scope.init(statement.condition)
        if arms[0]:
            yield ast.If(condition, arms[0], arms[1])
        elif arms[1]:
            yield ast.If(expr.negate(condition), arms[1], [])

    def comprehension(self, made: Expr, loop: Repeat) -> ast.GeneratorExp:
        """`made for width in table`, as a generator."""
        each = ast.comprehension(self.target(loop, [made]), self.iterable(loop), [], 0)
        return ast.GeneratorExp(made, [each])

    def iterable(self, loop: Repeat) -> Expr:
        """What the loop runs over."""
        table = self.scope.init(loop.table)
        return table if loop.variables else tree("range({n})", n=table)

    def target(self, loop: Repeat, body: Sequence[ast.AST]) -> Expr:
        """Its variables, as far as `body` reads them."""
        return variables([self.scope.locals[v] for v in loop.variables], body)


def _named(statement: Statement) -> str | None:
    """What the member is called that a statement applies, if that is all it does."""
    match statement:
        case Apply(member=Member(name=name)) | Call(member=Member(name=name)):
            return name
        case Chain(member=member):
            return member.name
    return None


def variables(names: Sequence[str], body: Iterable[ast.AST]) -> Expr:
    """The target of a loop: its variables, `_` for one that the body does not read."""
    read = {n.id for each in body for n in ast.walk(each) if isinstance(n, ast.Name)}
    found: list[Expr] = [expr.name(name if name in read else "_") for name in names]
    if not found:
        return expr.name("_")
    return found[0] if len(found) == 1 else ast.Tuple(found, ast.Store())


def listed(loop: Repeat) -> list[str]:
    """The names of the lists that a loop fills, in order."""
    return list(dict.fromkeys(m.name for m in members(loop.body) if m.listed))


def arguments(cls: Class, given: dict[str, Expr]) -> tuple[list[Expr], list[ast.keyword]]:
    """Positional as long as none is left out, then by keyword."""
    positional: list[Expr] = []
    keywords: list[ast.keyword] = []
    gap = False
    for hyper in cls.params:
        if hyper.name not in given:
            gap = True
        elif gap:
            keywords.append(ast.keyword(hyper.name, given[hyper.name]))
        else:
            positional.append(given[hyper.name])
    return positional, keywords


def appended(waiting: Iterable[tuple[str, Expr]]) -> list[ast.stmt]:
    """`self.blocks.append(…)`, or `.extend([…])` where several go to one list."""
    lists: dict[str, list[Expr]] = {}
    for name, made in waiting:
        lists.setdefault(name, []).append(made)
    result: list[ast.stmt] = []
    for name, items in lists.items():
        call = "append({x})" if len(items) == 1 else "extend([*{xs}])"
        result.append(ast.Expr(tree(f"self.{name}.{call}", x=items[0], xs=items)))
    return result
