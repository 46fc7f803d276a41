"""The names of one class in the emitted code, and its expressions in terms of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import symbol
from ...compiler.expr import Expr
from ...compiler.program import Apply, Call, Chain, Class, If, Member, Repeat, Statement, Var, walk
from .names import free, rename


def members(body: list[Statement]) -> Iterator[Member]:
    """The members that a body uses, chains not looked into."""
    for statement in body:
        match statement:
            case Apply(member=Member() as member) | Call(member=member) | Chain(member=member):
                yield member
            case Apply(regions=regions):
                for region in regions:
                    yield from members(region.body)
            case Repeat(body=inner):
                yield from members(inner)
            case If(then=then, orelse=orelse):
                yield from members(then)
                yield from members(orelse)


class Scope:
    """Names of a class: constructor arguments, attributes, and where sizes are read from.

    `attributes` are names that a member may not have; `arguments` those that a local may not have.
    """

    def __init__(self, cls: Class, attributes: Collection[str], arguments: Collection[str]) -> None:
        self.cls = cls
        self.attributes = attributes
        loops = [s for s in walk(cls.body) if isinstance(s, Repeat)]
        variables = [name for loop in loops for name in loop.variables]
        running = [size.name for loop in loops for size in loop.sizes]
        plain = [*cls.sizes, *cls.definition.params, *variables, *running]
        self.locals = rename(dict.fromkeys(plain), arguments)
        self.variables = {name: self.locals[name] for name in variables}
        held = {member.name for member in members(cls.body)} | {p.name for p in cls.parameters}
        self.written = self._written()
        own = {self.attribute(name) for name in held}
        if len(own) < len(held):
            self._refuse(sorted(held))
        self.kept = rename([p.name for p in cls.params], {*attributes, *own})

    def _written(self) -> dict[str, Expr]:
        """Sizes in normal form (`C * expand`) to the source's way of writing them."""
        names = {*self.cls.sizes, *(p.name for p in self.cls.params if type(p.value) is int)}
        symbols = {name: symbol(name) for name in names}
        found: dict[str, Expr] = {}
        for statement in walk(self.cls.body):
            if not isinstance(statement, Apply):
                continue
            for key, config in statement.op.config.items():
                written = statement.attrs.get(key)
                plain = isinstance(written, ast.BinOp) and expr.names(written) <= names
                if plain and written is not None and config.kind in ("int", "size"):
                    with suppress(ValueError, ArithmeticError, expr.Undecided):
                        size = expr.settle(expr.evaluate(written, symbols))
                        found.setdefault(str(size), written)
        return found

    def _refuse(self, held: list[str]) -> NoReturn:
        """Raises for two members that would be called alike."""
        seen: dict[str, str] = {}
        for name in held:
            safe = self.attribute(name)
            if safe in seen:
                what = f"{self.cls.name} holds {seen[safe]} and {name}, both {safe} in Python"
                raise MlcError("unsupported", what, help="give one of them another name")
            seen[safe] = name
        raise AssertionError(held)

    def attribute(self, name: str) -> str:
        """The attribute under which a member or parameter is held."""
        return free(name, self.attributes)

    def init(self, expression: Expr) -> Expr:
        """An expression where the constructor's arguments are in sight."""
        return self._put(expression, lambda name: ast.Name(self.locals.get(name, name), ast.Load()))

    def call(self, ref: Callable[[Var], Expr], own: str = "self.") -> Callable[[Expr], Expr]:
        """Expressions where tensors are in sight: sizes are read from them, the rest is kept."""

        def name(identifier: str) -> Expr:
            if identifier in self.cls.sizes and self.cls.sizes[identifier][0] in self.cls.inputs:
                return self.size(identifier, ref)
            if identifier in self.kept:
                return expr.parse(f"{own}{self.kept[identifier]}")
            return ast.Name(self.locals.get(identifier, identifier), ast.Load())

        return lambda expression: self._put(expression, name)

    def keep(self, computation: str) -> None:
        """Keeps as attributes only what the text of the computation reads."""
        read = set(re.findall(r"\bself\.(\w+)", computation))
        self.kept = {name: held for name, held in self.kept.items() if held in read}

    def size(self, name: str, ref: Callable[[Var], Expr]) -> Expr:
        """`x.shape[1]`."""
        source, axis = self.cls.sizes[name]
        return size_of(self.cls.inputs[source], axis, ref)

    def _put(self, expression: Expr, make: Callable[[str], Expr]) -> Expr:
        if self.cls.chosen and expr.names(expression) & set(self.cls.chosen):
            expression = expr.substitute(expression, self.cls.chosen)
        plain = expr.spoken(self.written.get(expr.show(expression), expression))
        return expr.substitute(plain, {name: make(name) for name in expr.names(plain)})


def hint(value: Any, fixed: bool = False) -> str:
    """The annotation of a hyper-parameter, by its value; of `fixed` length where it is a tuple. A
    tuple of several kinds is a row, each place of which has its own."""
    row = isinstance(value, tuple) and len(set(map(hint, value))) > 1
    if isinstance(value, (tuple, list)) and (fixed or row):
        return f"tuple[{', '.join(map(hint, value))}]"
    if isinstance(value, (tuple, list)):
        inner = sorted({hint(v) for v in value}) or ["int"]
        return f"tuple[{' | '.join(inner)}, ...]"
    known: Mapping[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
    return known.get(type(value), "int")


def _frozen(value: Any) -> Expr:
    """The literal of a default: lists as tuples, since a default is shared by all calls."""
    return expr.literal(_tuples(value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def hints(cls: Class) -> dict[str, str]:
    """The annotations of a class's hyper-parameters."""
    axes = _one_an_axis(cls)
    return {hyper.name: hint(hyper.value, hyper.name in axes) for hyper in cls.params}


def _one_an_axis(cls: Class) -> set[str]:
    """The hyper-parameters that have one entry for each axis, where they are tuples."""
    found = set()
    for statement in walk(cls.body):
        if isinstance(statement, Apply):
            kinds = {key: config.kind for key, config in statement.op.config.items()}
            given = [e for key, e in statement.attrs.items() if kinds[key] in ("ints", "pads")]
            found |= {e.id for e in given if isinstance(e, ast.Name)}
    return found


def signature(cls: Class, scope: Scope) -> list[str]:
    """The constructor's arguments as text: sizes that it cannot see, then hyper-parameters."""
    needs = [f"{scope.locals[name]}: int" for name in cls.needs]
    kinds = hints(cls)
    given, optional = [], []
    for hyper in cls.params:
        text = f"{scope.locals[hyper.name]}: {kinds[hyper.name]}"
        if hyper.default is None or expr.names(hyper.default):
            given.append(text)
        else:
            optional.append(f"{text} = {expr.show(_frozen(expr.evaluate(hyper.default, {})))}")
    return [*needs, *given, *optional]


def size_of(var: Var, axis: int, ref: Callable[[Var], Expr]) -> Expr:
    """`x.shape[1]`."""
    place = var.order.index(axis) if var.order else axis
    shape = ast.Attribute(ref(var), "shape", ast.Load())
    return ast.Subscript(shape, ast.Constant(place), ast.Load())
