"""What elaboration works with: kinds of values, variables, the frame of a call, budgets."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import Dim
from ...compiler.expr import Expr, unknown
from ...compiler.expr import names as names_of
from ...compiler.graph import Definition, Layer, Scope, Type, Value, Weight
from ...compiler.op import Marker, Op
from .limits import PARTS, SHOWN
from .plan import Plan
from .syntax import DefinitionSyntax, In, Out

REARRANGE = Marker("rearrange")
"""What is called like an op, and is a form of the language."""


class Poisoned(Exception):
    """What is read was not made because of an error that is reported already."""


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A value of the graph under the labels that its axes have in the present block."""

    value: Value
    labels: tuple[str | None, ...]

    @property
    def type(self) -> Type:
        """Its type with these labels."""
        return self.value.type.with_(labels=self.labels)


@dataclass(frozen=True, eq=False, slots=True)
class Absent:
    """An `in?` that the caller left out; `default` fills `type` where a tensor is needed."""

    name: str
    type: Type
    default: Any
    site: int
    span: Span


@dataclass(frozen=True, slots=True)
class AxisName:
    """An axis as the source names it, to be looked up in the tensor that it is an axis of."""

    axis: str | int
    span: Span


@dataclass(eq=False, slots=True)
class Held:
    """An op with its config, not applied yet; `layer` where it has weights or is a module."""

    op: Op
    attrs: dict[str, Any]
    exprs: dict[str, Expr]
    layer: Layer | None
    span: Span


@dataclass(eq=False, slots=True)
class Block:
    """A definition, ready to be called; `home` are the blocks that its file knows, by name."""

    syntax: DefinitionSyntax
    definition: Definition
    plan: Plan
    inputs: tuple[In, ...]
    outputs: tuple[Out, ...]
    home: Mapping[str, Block]

    def __str__(self) -> str:
        return self.definition.name


@dataclass(eq=False, slots=True)
class Instance:
    """A constructed block: what it holds, by path below it; filled by its first call."""

    path: str
    parts: dict[str, Layer | Weight | Instance] = field(default_factory=dict)
    calls: int = 0

    def key(self, path: str) -> str:
        """A full path relative to this instance."""
        return path.removeprefix(f"{self.path}.") if self.path else path


@dataclass(eq=False, slots=True)
class HeldBlock:
    """A block with its hyper-parameters, not called yet; `home` is the scope that holds it."""

    block: Block
    values: dict[str, Any]
    exprs: dict[str, Expr]
    place: Place
    instance: Instance
    home: Scope


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member lives: its name and index in its scope, and its path from the root."""

    member: str
    index: int | None
    path: str


@dataclass(eq=False, slots=True)
class Variable:
    """What a name stands for, and the expression over the names of `scope` that made it.

    Of a block that a static `if` has chosen, the expression is what decided, and `arm` the arm.
    """

    value: Any
    expr: Expr | None
    scope: Scope
    arm: int | None = None
    reads: frozenset[str] | None = None
    """The names in the expression, once they are asked for."""


POISON = Variable(Poisoned, None, Scope("model"))
"""A name whose value could not be made."""


@dataclass(eq=False, slots=True)
class Frame:
    """One call of a block while its body is elaborated; `depth` is how many bodies of scans, loops
    and choices the call stands in."""

    block: Block
    scope: Scope
    instance: Instance
    variables: dict[str, Variable] = field(default_factory=dict)
    arms: tuple[tuple[int, int], ...] = ()
    stage: int | None = None
    iterations: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    ranks: Counter[tuple[Scope, int]] = field(default_factory=Counter)
    filled: dict[str, Tensor] = field(default_factory=dict)
    updated: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    """The names that loops and ifs have read so far: what says how long a list of tensors is."""
    named: dict[Value, tuple[Dim | None, ...]] = field(default_factory=dict)
    depth: int = 0

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Elaborates in a scope below the present one (an iteration, a chain)."""
        before = self.scope, self.arms
        self.scope, self.arms = scope, ()
        try:
            yield
        finally:
            self.scope, self.arms = before

    @contextmanager
    def arm(self, site: int, arm: int) -> Iterator[None]:
        """Elaborates in one arm of a static `if`."""
        before = self.arms
        self.arms = (*before, (site, arm))
        try:
            yield
        finally:
            self.arms = before

    def assign(self, name: str, value: Any, expr: Expr | None = None) -> None:
        """Gives a name its value; a tensor that has no name yet is called so in the graph."""
        self.variables[name] = Variable(value, expr, self.scope)
        if not isinstance(value, Tensor):
            return
        self.scope.block.names.setdefault(value.value, name)
        value.value.name = value.value.name or name

    def expr(self, name: str) -> Expr | None:
        """The expression of a variable, if it holds over the names that are visible here."""
        variable = self.variables.get(name)
        return None if variable is None or variable.arm is not None else self.source(variable)

    def source(self, variable: Variable) -> Expr | None:
        """What made a variable, if it holds over the names that are visible here."""
        if variable.expr is None:
            return None
        if variable.reads is None:
            variable.reads = frozenset(names_of(variable.expr))
        read = variable.reads
        for scope in self.scope.ancestors():
            if scope is variable.scope:
                return variable.expr
            if scope.kind in ("block", "model"):
                return None
            if read & scope.values.keys():
                return unknown(read)
        return None

    def place(self, site: int, span: Span) -> Place:
        """Where the member that `site` constructs lives; counts the elements of lists."""
        if self.stage is not None:
            return Place(str(self.stage), None, join(self.scope.path, str(self.stage)))
        member = self.block.plan.members.get(site)
        if member is None:
            raise MlcError("name", "what is constructed here has no name", span,
                           help="name it: `... as stem`")  # fmt: skip
        index = None
        if member.running:
            index = self.counts[member.name]
            self.counts[member.name] += 1
        elif member.loop is not None:
            index = self.iterations[member.loop] - 1
        parts = (member.name,) if index is None else (member.name, str(index))
        return Place(member.name, index, join(self.scope.path, *parts))

    def rank(self, site: int) -> int:
        """The next rank among the nodes of a site."""
        key = (self.scope, site)
        self.ranks[key] += 1
        return self.ranks[key] - 1


def length(expr: Expr) -> int:
    """How many parts an expression has, those that it has twice twice; counting ends at a bound."""
    count = 0
    waiting: list[ast.AST] = [expr]
    while waiting and count <= PARTS:
        count += 1
        waiting += ast.iter_child_nodes(waiting.pop())
    return count


def short(expr: Expr | None) -> Expr | None:
    """The expression, if it is not too long to go on with."""
    return None if expr is None or length(expr) > PARTS else expr


def join(*parts: str) -> str:
    """A dotted path of the parts that are not empty."""
    return ".".join(part for part in parts if part)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, perhaps an absent one."""
    return isinstance(value, (Tensor, Absent))


def holds_tensors(value: Any) -> bool:
    """Whether a value is a tensor or a list with one in it."""
    if isinstance(value, (list, tuple)):
        return any(map(holds_tensors, value))
    return is_tensor(value)


def is_static(value: Any) -> bool:
    """Whether a value belongs to the static language: numbers, strings, sizes, lists of such."""
    if isinstance(value, (list, tuple)):
        return all(map(is_static, value))
    return not isinstance(value, (Tensor, Absent, Held, HeldBlock))


def is_callable(value: Any) -> bool:
    """Whether a value can stand after `->`."""
    return isinstance(value, (Held, HeldBlock, Op, Block))


def kind_of(value: Any) -> str:
    """What messages call a value, in a few words."""
    text = _kind(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _kind(value: Any) -> str:
    match value:
        case Tensor() | Absent():
            return f"a tensor {value.type}"
        case Op():
            return f"the op {value.name}"
        case Held():
            return f"a held {value.op.name}"
        case Block():
            return f"the block {value.definition.name}"
        case HeldBlock():
            return f"a held {value.block.definition.name}"
        case str():
            return f'"{value[:SHOWN]}"'
        case bool() | None:
            return str(value).lower()
        case list() | tuple():
            return f"a list of {len(value)}" if len(value) > 6 else _shown(value)
    return str(value)


def _shown(value: list[Any] | tuple[Any, ...]) -> str:
    inner = ", ".join(kind_of(item) for item in value)
    return f"[{inner}]" if isinstance(value, list) else f"({inner})"
