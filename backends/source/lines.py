"""What the body of a function is made of before it is text: assignments, loops, choices."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ...compiler.program import Var


@dataclass(eq=False, slots=True)
class Assign:
    """`targets = value`; `hint` names targets that the source does not. `groups` are how many of
    them stand together: `(h, c), ys = value` has (2, 1), and `_, ys = value` (0, 1)."""

    targets: list[Var]
    value: ast.expr
    hint: str = ""
    groups: tuple[int, ...] = ()


@dataclass(eq=False, slots=True)
class Return:
    """`return value`."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Do:
    """An expression for its effect."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Raise:
    """`raise value`."""

    value: ast.expr


@dataclass(eq=False, slots=True)
class Store:
    """`target = value`, where the target is an attribute."""

    target: ast.expr
    value: ast.expr


@dataclass(eq=False, slots=True)
class For:
    """`for target in iterable:`; the names in `target` are fixed. `while True:` where `iterable` is
    True."""

    target: ast.expr
    iterable: ast.expr
    body: list[Line] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class When:
    """`if condition: then else: orelse`."""

    condition: ast.expr
    then: list[Line] = field(default_factory=list)
    orelse: list[Line] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Break:
    """`break`."""


@dataclass(eq=False, slots=True)
class Def:
    """`def name(params): body`, called by the line behind it; None is an argument to pass by."""

    name: str
    params: list[Var | None]
    body: list[Line] = field(default_factory=list)


Line: TypeAlias = "Assign | Return | Do | Raise | Store | For | When | Break | Def"


def expressions(lines: Iterable[Line]) -> Iterator[ast.expr]:
    """Everything that lines read, those within them too."""
    for line in walk(lines):
        found = place(line)
        if found is not None:
            yield found


def walk(lines: Iterable[Line]) -> Iterator[Line]:
    """All lines, each before those within it."""
    for line in lines:
        yield line
        for body in bodies(line):
            yield from walk(body)


def bodies(line: Line) -> tuple[list[Line], ...]:
    """The lines within a line: none, the body of a loop, or two arms."""
    match line:
        case For(body=body) | Def(body=body):
            return (body,)
        case When(then=then, orelse=orelse):
            return (then, orelse)
    return ()


def length(lines: Iterable[Line]) -> int:
    """How many steps of the clock lines take; arms of one choice take them together."""
    steps = 0
    for line in lines:
        steps += 1 + max(map(length, bodies(line)), default=0) + isinstance(line, (For, Def))
    return steps


def place(line: Line) -> ast.expr | None:
    """The expression of a line into which the line before it may be nested."""
    match line:
        case Assign(value=value) | Return(value=value) | Do(value=value) | Store(value=value):
            return value
        case Raise(value=value):
            return value
        case For(iterable=iterable):
            return iterable
        case When(condition=condition):
            return condition
    return None


def replace(line: Line, value: ast.expr) -> None:
    """Puts another expression where `place` finds one."""
    match line:
        case Assign() | Return() | Do() | Raise() | Store():
            line.value = value
        case For():
            line.iterable = value
        case When():
            line.condition = value


def head(line: Line) -> str:
    """What stands before the expression, by the likely names."""
    match line:
        case Assign(targets=targets):
            return ", ".join(t.name or "x" for t in targets) + " = "
        case Return():
            return "return "
    return ""
