"""The syntax tree: what the parser makes of a text, each part with its span.

`site` numbers the places of a definition where something happens (an application, a call, a loop,
an `if`, a `param`, a `require`), in the order in which they happen; `sites.py` sets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from ...compiler.diagnose import Span


@dataclass(eq=False, slots=True, kw_only=True)
class Syntax:
    """Any part of the tree; `depth` is how many levels lie below it, `parts` how many they are."""

    span: Span
    site: int = 0
    depth: int = 1
    parts: int = 1

    def children(self) -> Iterator[Syntax]:
        """The parts directly below, in source order."""
        for name in _names(type(self)):
            value = getattr(self, name)
            if isinstance(value, Syntax):
                yield value
            elif isinstance(value, tuple):
                yield from (part for part in value if isinstance(part, Syntax))

    def walk(self) -> Iterator[Syntax]:
        """Itself and everything below, in source order."""
        yield self
        for child in self.children():
            yield from child.walk()


_NAMES: dict[type[Syntax], tuple[str, ...]] = {}


def _names(kind: type[Syntax]) -> tuple[str, ...]:
    """The names of the fields, looked up once: `fields` is slow, and trees are walked often."""
    if kind not in _NAMES:
        _NAMES[kind] = tuple(item.name for item in fields(kind))
    return _NAMES[kind]


# ------------------------------------------------------------------------------- expressions


@dataclass(eq=False, slots=True)
class Literal(Syntax):
    """A number, string, bool or none."""

    value: Any


@dataclass(eq=False, slots=True)
class Name(Syntax):
    """A name that is read."""

    id: str


@dataclass(eq=False, slots=True)
class Items(Syntax):
    """`[a, b]` or, with `fixed`, the tuple `(a, b)`."""

    items: tuple[Syntax, ...]
    fixed: bool = False


@dataclass(eq=False, slots=True)
class Unary(Syntax):
    """`-a` or `not a`."""

    operator: str
    operand: Syntax


@dataclass(eq=False, slots=True)
class Binary(Syntax):
    """`a + b`, also comparisons and `in`, `not in`."""

    left: Syntax
    operator: str
    right: Syntax


@dataclass(eq=False, slots=True)
class Boolean(Syntax):
    """`a and b and c`, or the same with `or`."""

    operator: str
    terms: tuple[Syntax, ...]


@dataclass(eq=False, slots=True)
class Conditional(Syntax):
    """`body if test else other`."""

    body: Syntax
    test: Syntax
    other: Syntax


@dataclass(eq=False, slots=True)
class Argument(Syntax):
    """One argument of a call; `name` is None where it is given by position."""

    name: str | None
    value: Syntax


@dataclass(eq=False, slots=True)
class Call(Syntax):
    """`callee(arguments)`."""

    callee: Syntax
    arguments: tuple[Argument, ...]


@dataclass(eq=False, slots=True)
class Attribute(Syntax):
    """`token.weight`."""

    value: Syntax
    name: str


@dataclass(eq=False, slots=True)
class Slice(Syntax):
    """`lower:upper:step` within an index."""

    lower: Syntax | None
    upper: Syntax | None
    step: Syntax | None


@dataclass(eq=False, slots=True)
class Ellipsis_(Syntax):
    """`...` within an index."""


@dataclass(eq=False, slots=True)
class Index(Syntax):
    """`value[items]`."""

    value: Syntax
    items: tuple[Syntax, ...]


@dataclass(eq=False, slots=True)
class Stage(Syntax):
    """What stands after an `->`: a callee, its arguments, and the name after `as`."""

    callee: Syntax
    arguments: tuple[Argument, ...]
    label: str | None = None


@dataclass(eq=False, slots=True)
class Pipe(Syntax):
    """`source -> stage -> stage`."""

    source: Syntax
    stages: tuple[Stage, ...]


# -------------------------------------------------------------------------------- statements


@dataclass(eq=False, slots=True)
class Axis(Syntax):
    """One axis of a declared type: `3`, `H`, `T <= 1024`, or with a label `rows = H / 2`."""

    label: str | None
    size: Syntax


@dataclass(eq=False, slots=True)
class TypeSyntax(Syntax):
    """`f32[B, C]`, or with `like` the type of another tensor."""

    dtype: str
    axes: tuple[Axis, ...] = ()
    like: str | None = None


@dataclass(eq=False, slots=True)
class In(Syntax):
    """`in x: type`, or `in? x: type = default`."""

    name: str
    type: TypeSyntax
    default: Syntax | None = None
    optional: bool = False


@dataclass(eq=False, slots=True)
class Out(Syntax):
    """`out y: type`."""

    name: str
    type: TypeSyntax


@dataclass(eq=False, slots=True)
class Param(Syntax):
    """`param w: type = init as "path"`, or `state` where `state` is set."""

    name: str
    type: TypeSyntax
    init: Syntax | None = None
    state: bool = False
    path: str | None = None


@dataclass(eq=False, slots=True)
class Noise(Syntax):
    """`noise e: type = distribution as "key"`."""

    name: str
    type: TypeSyntax
    distribution: Syntax | None = None
    path: str | None = None


@dataclass(eq=False, slots=True)
class Require(Syntax):
    """`require condition, "message"`."""

    condition: Syntax
    message: str = ""


@dataclass(eq=False, slots=True)
class Assign(Syntax):
    """`a, b = value`."""

    targets: tuple[str, ...]
    value: Syntax


@dataclass(eq=False, slots=True)
class Grow(Syntax):
    """`name += value`."""

    name: str
    value: Syntax


@dataclass(eq=False, slots=True)
class Update(Syntax):
    """`name := value`, the next value of a state; with `if training` behind it, of training."""

    name: str
    value: Syntax
    training: bool = False


@dataclass(eq=False, slots=True)
class Bare(Syntax):
    """An expression as a statement, which is an error."""

    value: Syntax


@dataclass(eq=False, slots=True)
class If(Syntax):
    """`if test:` body, with the other arm (empty, or an `if` alone for `elif`)."""

    test: Syntax
    body: tuple[Syntax, ...]
    other: tuple[Syntax, ...] = ()


@dataclass(eq=False, slots=True)
class Loop(Syntax):
    """`for targets in table:`, or `repeat table:` where `targets` is empty."""

    targets: tuple[str, ...]
    table: Syntax
    body: tuple[Syntax, ...]
    label: str | None = None


@dataclass(eq=False, slots=True)
class Scan(Syntax):
    """`scan targets in tables along axis:`, or `... along axis backwards:`."""

    targets: tuple[str, ...]
    tables: tuple[Syntax, ...]
    axis: Syntax
    body: tuple[Syntax, ...]
    reverse: bool = False


@dataclass(eq=False, slots=True)
class While(Syntax):
    """`while condition, at most bound:`, or without a bound."""

    condition: Syntax
    bound: Syntax | None
    body: tuple[Syntax, ...]


@dataclass(eq=False, slots=True)
class Region(Syntax):
    """`block:` and its body, below a statement that runs it."""

    body: tuple[Syntax, ...]


@dataclass(eq=False, slots=True)
class Blocks(Syntax):
    """`a, b = call:` with the blocks that the op runs."""

    targets: tuple[str, ...]
    call: Syntax
    regions: tuple[Region, ...]


@dataclass(eq=False, slots=True)
class Refused(Syntax):
    """A part of the language that this version does not have: `train`."""

    keyword: str
    assigned: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------- files


@dataclass(eq=False, slots=True)
class Parameter(Syntax):
    """A hyper-parameter of a header, with its default."""

    name: str
    default: Syntax | None = None


@dataclass(eq=False, slots=True)
class DefinitionSyntax(Syntax):
    """`block Name(parameters):` or `model Name(parameters):`; `head` spans its first line."""

    kind: str
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Syntax, ...]
    head: Span
    doc: str = ""


@dataclass(eq=False, slots=True)
class Used(Syntax):
    """A block that another file defines, and what it is called in this one."""

    name: str
    alias: str


@dataclass(eq=False, slots=True)
class Use(Syntax):
    """`use place (names)`; the place is a path, or the name of a library."""

    place: Literal
    names: tuple[Used, ...]


@dataclass(eq=False, slots=True)
class File:
    """All definitions of a text, what it uses, and the sections that are refused by name."""

    definitions: list[DefinitionSyntax] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
