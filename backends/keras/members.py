"""What layers are called, and which of them are held: made once and applied more often."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Member,
    Repeat,
    Statement,
    WeightVar,
    walk,
)  # fmt: skip
from ..source.tree import tree
from .layers import LAYERS


@dataclass(frozen=True)
class Names:
    """What the file's functions are called, and what else its names depend on.

    `functions` are by class; `taken` no variable may be called; `nameless` classes take no name;
    `model` is the model's; `members` and `inputs` say how names of the model's members and inputs
    are spelled that Keras gives to operations, too.
    """

    functions: Mapping[str, str]
    taken: frozenset[str]
    nameless: frozenset[Class]
    model: str
    members: Mapping[str, str]
    inputs: Mapping[str, str]


class Labels:
    """The names of one function's layers: `conv1`, `f"{name}_conv1"`, `f"{name}_steps_{2 * i}"`."""

    def __init__(self, respelled: Mapping[str, str] | None) -> None:
        """`respelled` for the model, which gives no names to its own, but may spell them anew."""
        self.prefix: list[Expr] = []
        self.respelled = respelled or {}
        if respelled is None:
            self.prefix = [ast.FormattedValue(expr.name("name"), -1), ast.Constant("_")]
        self.stages: Mapping[str, str] = {}
        self.numbers: dict[str, tuple[Expr, int]] = {}
        self.counters: dict[str, Expr] = {}
        self.used: Counter[str] = Counter()

    def numbered(self, name: str) -> bool:
        """Whether the members of that list have numbers already."""
        return name in self.numbers or name in self.counters

    def number(self, name: str, index: Expr, per: int) -> None:
        """The members of a list are numbered by `index`, `per` of them an iteration."""
        self.numbers[name] = index, per

    def count(self, name: str, counter: Expr) -> None:
        """The members of a list are numbered by a counter."""
        self.counters[name] = counter

    def _place(self, name: str) -> Expr:
        """`2 * i`, then `2 * i + 1`: the place of the next member of that list."""
        self.used[name] += 1
        if name in self.counters:
            return tree("next({c})", c=self.counters[name])
        index, per = self.numbers[name]
        offset = (self.used[name] - 1) % per
        if per == 1:
            return index
        base = tree("{per} * {i}", per=literal(per), i=index)
        return tree("{base} + {j}", base=base, j=literal(offset)) if offset else base

    def level(self, arms: Sequence[Counter[str]]) -> list[list[Expr]]:
        """Leaves the places that either arm of a choice uses to both: what counts them, an arm."""
        most = arms[0] | arms[1]
        self.used = most
        return [
            [tree("next({c})", c=self.counters[name])
             for name in self.counters for _ in range(most[name] - used[name])]
            for used in arms
        ]  # fmt: skip

    @contextmanager
    def within(self, member: Member, stages: Mapping[str, str]) -> Iterator[None]:
        """Within it, layers are stages of a chain."""
        before = self.prefix, self.stages
        self.prefix, self.stages = [*self.prefix, *self._pieces(member), ast.Constant("_")], stages
        try:
            yield
        finally:
            self.prefix, self.stages = before

    def name(self, member: Member) -> Expr:
        """The name of a member as an expression."""
        pieces = [*self.prefix, *self._pieces(member)]
        if all(isinstance(piece, ast.Constant) for piece in pieces):
            return literal("".join(str(p.value) for p in pieces if isinstance(p, ast.Constant)))
        return ast.JoinedStr(pieces)

    def _pieces(self, member: Member) -> list[Expr]:
        name = self.stages.get(member.name, member.name)
        plain: Expr = ast.Constant(name if self.prefix else self.respelled.get(name, name))
        if not member.listed:
            return [plain]
        index = self._place(member.name)
        if isinstance(index, ast.Constant):
            return [plain, ast.Constant("_"), ast.Constant(str(index.value))]
        return [plain, ast.Constant("_"), ast.FormattedValue(index, -1)]


def stages(body: Sequence[Statement]) -> dict[str, str]:
    """The stages of a chain, which are numbers, by their ops: `conv`, or `conv1` of several."""
    found = [(s.member.name, s.op.name) for s in body if isinstance(s, Apply) and s.member
             and s.member.name.isdigit() and s.op.name in LAYERS]  # fmt: skip
    times = Counter(op for _, op in found)
    seen: Counter[str] = Counter()
    names = {}
    for number, op in found:
        seen[op] += 1
        names[number] = f"{op}{seen[op]}" if times[op] > 1 else op
    return names


class _Rename(ast.NodeTransformer):
    def __init__(self, name: Expr) -> None:
        self.name = name

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if any(keyword.arg == "name" for keyword in node.keywords):
            return self.name
        return self.generic_visit(node)


def renamed(applied: Expr, name: Expr) -> Expr:
    """An applied layer with a name, or a shorter call, in the place of its constructor."""
    result = _Rename(name).visit(applied)
    assert isinstance(result, ast.expr)
    return result


def constructor(applied: Expr) -> Expr:
    """The call that makes a layer, out of the expression that applies it."""
    return next(
        node
        for node in ast.walk(applied)
        if isinstance(node, ast.Call) and any(keyword.arg == "name" for keyword in node.keywords)
    )


def fills(loop: Statement, unnamed: Container[str]) -> bool:
    """Whether a loop adds to lists, or one in it does, but for lists of what has no name."""
    return any(
        isinstance(s, (Apply, Call, Chain)) and s.member is not None and s.member.listed
        and s.member.name not in unnamed
        for s in walk([loop])
    )  # fmt: skip


def nameless(classes: Iterable[Class]) -> frozenset[Class]:
    """Those, in which callees come first, that hold nothing that Keras wants a name for."""
    found: set[Class] = set()
    for cls in classes:
        named = any(
            s.cls not in found if isinstance(s, Call)
            else isinstance(s, Apply) and s.member is not None and s.op.name in LAYERS
            for s in walk(cls.body)
        )  # fmt: skip
        if not named and not cls.parameters:
            found.add(cls)
    return frozenset(found)


def places(body: Sequence[Statement]) -> Counter[str]:
    """How many members of each list the statements make; of a choice, the arm that makes more."""
    found: Counter[str] = Counter()
    for statement in body:
        match statement:
            case (
                Apply(member=Member(listed=True) as member)
                | Call(member=Member(listed=True) as member)
                | Chain(member=Member(listed=True) as member)
            ):
                found[member.name] += 1
            case If(then=then, orelse=orelse):
                found += places(then) | places(orelse)
    return found


def held(body: Sequence[Statement]) -> set[str]:
    """The members that are applied more than once, or in a loop that they are not a list of."""
    return {m.name for m in _again(body, looped=False)} | reversible(body)


def _again(body: Sequence[Statement], *, looped: bool) -> Iterator[Member]:
    for statement in body:
        match statement:
            case Apply(op=op, member=Member() as member, first=first) if op.name in LAYERS:
                if not member.listed and (looped or not first):
                    yield member
            case Call(member=member, first=first):
                if not member.listed and (looped or not first):
                    yield member
            case Repeat(body=inner):
                yield from _again(inner, looped=True)
            case Chain(body=inner, member=member):
                yield from _again(inner, looped=False)
            case If(then=then, orelse=orelse):
                yield from _again([*then, *orelse], looped=looped)


def reversible(body: Sequence[Statement]) -> set[str]:
    """The embeddings whose weight is used once more, for logits."""
    embeddings = {s.member.name for s in walk(list(body))
                  if isinstance(s, Apply) and s.op.name == "embedding" and s.member}  # fmt: skip
    found = set()
    for statement in walk(list(body)):
        if isinstance(statement, Apply) and statement.op.name == "linear" and not statement.member:
            weight = statement.inputs[1]
            if isinstance(weight, WeightVar) and weight.member is not None:
                found.add(weight.member.name)
    return found & embeddings
