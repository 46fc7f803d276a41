"""Types in the names of a class: computed by the ops themselves, and checked in every instance."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ... import expr
from ...dim import Dim, Size, substitute, symbol, symbols
from ...expr import Expr
from ...graph import Fact, Type
from ...op import Op, TypeMismatch, for_class
from .frame import Disagree, Frame, disagree

OPAQUE = "size_"
"""How the names of sizes begin that no expression of the class gives; they never reach a source."""


def quotient(size: Expr) -> Expr:
    """`D // 2` for a size that is declared as `D / 2`."""
    divided = isinstance(size, ast.BinOp) and isinstance(size.op, ast.Div)
    return expr.integral(size) if divided else size


@dataclass(eq=False, slots=True)
class Unknown:
    """The opaque names of a class: how many there are, and what those stand for that have an
    expression. `facts` are what the sizes of the model fulfil."""

    facts: Sequence[Fact] = ()
    count: int = 0
    chosen: dict[str, Expr] = field(default_factory=dict)

    def equal(self, a: Dim, b: Dim) -> bool:
        """Whether two sizes of the model are the same, as H and 2 * ((H + 1) // 2) are if 2 | H."""
        if a == b:
            return True
        read = {*symbols(a), *symbols(b)}
        whole = {
            str(fact.right): fact.left * symbol(str(fact.right))
            for fact in self.facts
            if fact.relation == "divides" and str(fact.right) in read
        }
        return bool(whole) and bool(substitute(a, whole) == substitute(b, whole))

    def name(self) -> str:
        """A new one."""
        self.count += 1
        return f"{OPAQUE}{self.count}"


class Sizes:
    """The class-level view of sizes for the frames of one body."""

    def __init__(self, frames: Sequence[Frame], unknown: Unknown, fixed: Mapping[str, Any]) -> None:
        self.frames = frames
        self.unknown = unknown
        self.fixed = fixed.keys()
        self.facts: list[Fact] = []
        self.symbolic: dict[str, Any] = dict(fixed)
        self.lists: set[str] = set()
        for name, value in frames[0].names.items():
            values = [frame.names.get(name) for frame in frames]
            if name in self.symbolic:
                continue
            if all(isinstance(v, (int, Size)) and not isinstance(v, bool) for v in values):
                self.symbolic[name] = symbol(name)
            elif all(repr(v) == repr(value) for v in values):
                self.symbolic[name] = value
                if isinstance(value, (list, tuple)):
                    self.lists.add(name)

    def attributes(self, attrs: Mapping[str, Expr], values: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes over the class's symbols; the literal where there is no expression."""
        result = {}
        for key, source in attrs.items():
            expression = self._undecided(source)
            try:
                value = expr.evaluate(expression, self.symbolic)
                if type(value) is int and self.lists & expr.names(expression):
                    named = self.named(expression)
                    value = value if named is None else named
                result[key] = tuple(value) if isinstance(value, list) else value
            except (KeyError, TypeError, ValueError, ArithmeticError, expr.Undecided):
                varies = len({repr(frame.evaluate(expression)) for frame in self.frames}) > 1
                known = self.named(expression) if varies else None
                result[key] = values.get(key) if known is None else known
        return {**values, **result}

    def _undecided(self, expression: Expr) -> Expr:
        """The expression with a name for each number that a hyper-parameter chooses: what is right
        in all instances of today may be another tomorrow."""
        if not any(isinstance(node, ast.IfExp) for node in ast.walk(expression)):
            return expression
        named: Expr = _Choices(self).visit(expr.copied(expression))
        return named

    def named(self, expression: Expr) -> Dim | None:
        """A symbol for a number that varies and that symbols cannot compute: `counts[i]`."""
        found = [frame.evaluate(expression) for frame in self.frames]
        if not all(type(each) is int for each in found):
            return None
        for name, known in self.unknown.chosen.items():
            if expr.same(known, expression) and self.holds(symbol(name), found):
                return symbol(name)
        name = self.unknown.name()
        self.unknown.chosen[name] = expression
        return self._name(name, found)

    def dim(self, candidate: Dim | None, sizes: Sequence[Dim], hint: str | None = None) -> Dim:
        """`candidate` if it is the size in every frame; else their constant; else a new symbol,
        named after `hint`, or opaque."""
        if candidate is not None and self.holds(candidate, sizes):
            return candidate
        if all(isinstance(s, int) and s == sizes[0] for s in sizes):
            return sizes[0]
        return self.fresh(hint, sizes) if hint else self._name(self.unknown.name(), sizes)

    def fresh(self, hint: str, sizes: Sequence[Dim]) -> Dim:
        """A new symbol for a size, named after `hint`."""
        while any(hint in frame.names for frame in self.frames):
            hint += "_"
        return self._name(hint, sizes)

    def _name(self, name: str, sizes: Sequence[Dim]) -> Dim:
        for frame, size in zip(self.frames, sizes, strict=True):
            frame.names[name] = size
        self.symbolic[name] = symbol(name)
        return symbol(name)

    def after(self, inside: Type, types: Sequence[Type], running: Mapping[int, str]) -> Type:
        """The type that a loop's tensor has behind the loop; `running` sizes keep their names."""
        kind = self.type(inside, types)
        shape = list(kind.shape)
        for axis, name in running.items():
            shape[axis] = self._name(name, [t.shape[axis] for t in types])
        return kind.with_(shape=tuple(shape))

    def holds(self, candidate: Dim, sizes: Sequence[Dim]) -> bool:
        """Whether the size is `candidate` in every frame."""
        for frame, size in zip(self.frames, sizes, strict=True):
            names = {n: frame.names.get(n) for n in symbols(candidate)}
            known = {n: v for n, v in names.items() if isinstance(v, (int, Size))}
            if len(known) < len(names) or not self.unknown.equal(
                substitute(candidate, known), size
            ):
                return False
        return True

    def type(self, candidate: Type | None, types: Sequence[Type], *others: Type) -> Type:
        """The class-level type of a value whose types in the frames are `types`: for each axis the
        first size of the candidates that holds in all of them."""
        first = types[0]
        if any(t.rank != first.rank or t.dtype != first.dtype for t in types):
            disagree(self.frames, [(t.rank, t.dtype) for t in types])
        usable = [c for c in (candidate, *others) if c is not None and c.rank == first.rank]
        shape = []
        for axis in range(first.rank):
            sizes = [t.shape[axis] for t in types]
            offered = [c.shape[axis] for c in usable if c.shape[axis] is not None]
            holding = (size for size in offered if self.holds(size, sizes))
            shape.append(self.dim(next(holding, None), sizes))
        return Type(first.dtype, tuple(shape), first.labels)

    def bound(self, names: Set[str]) -> set[str]:
        """Those of the names that the last op was typed for one value of: `heads == 4`."""
        found: set[str] = set()
        for fact in self.facts:
            read = [set(symbols(side)) for side in (fact.left, fact.right)]
            sides = [each & names for each in read]
            if fact.relation == "==" and any(sides) and not all(sides) and sides == read:
                values = {n: self.frames[0].names[n] for n in sides[0] | sides[1]}
                known = {n: v for n, v in values.items() if isinstance(v, int)}
                if substitute(fact.left - fact.right, known) == 0:
                    found |= set(known)
        return found

    def infer(
        self, op: Op, inputs: Sequence[Type | None], attrs: Mapping[str, Any]
    ) -> tuple[Type | None, ...]:
        """What the op infers over the class's symbols; empty where it cannot."""
        with for_class() as self.facts:
            try:
                result = op.infer(*inputs, **attrs)
            except (TypeMismatch, TypeError, ValueError, KeyError, ArithmeticError, AttributeError):
                return ()
        return result if isinstance(result, tuple) else (result,)

    def params(
        self, op: Op, inputs: Sequence[Type | None], attrs: Mapping[str, Any]
    ) -> dict[str, Type]:
        """The types of the weights that the op makes; empty where they cannot be told."""
        if op.params is None:
            return {}
        with for_class():
            try:
                made = op.params(*inputs, **attrs)
            except (TypeMismatch, TypeError, ValueError, KeyError, ArithmeticError, AttributeError):
                return {}
        return {name: param.type for name, param in made.items()}

    def expression(self, size: Dim) -> Expr:
        """The size as an expression over the class's names; Disagree if it is an opaque one."""
        for name in symbols(size):
            if name.startswith(OPAQUE) and name not in self.unknown.chosen:
                disagree(self.frames, [f.names.get(name) for f in self.frames])
        return expr.substitute(expr.literal(size), self.unknown.chosen)

    def choose(self, size: Dim, condition: Expr, then: Dim | None, orelse: Dim | None) -> None:
        """Notes that an opaque size is that of one arm of a static if, where both have a name."""
        opaque = isinstance(size, Size) and str(size).startswith(OPAQUE)
        choice = self._choice(condition, then, orelse) if opaque else None
        if choice is not None:
            self.unknown.chosen.setdefault(str(size), choice)

    def chosen(self, condition: Expr, then: Dim | None, orelse: Dim | None) -> Dim | None:
        """The opaque size that is known to be that of one arm of a static if."""
        choice = self._choice(condition, then, orelse)
        known = self.unknown.chosen.items() if choice is not None else ()
        return next((symbol(n) for n, c in known if choice and expr.same(c, choice)), None)

    def _choice(self, condition: Expr, then: Dim | None, orelse: Dim | None) -> Expr | None:
        if then is None or orelse is None:
            return None
        try:
            return ast.IfExp(condition, self.expression(then), self.expression(orelse))
        except Disagree:
            return None


class _Choices(ast.NodeTransformer):
    """Names conditional numbers, but those that frozen names decide."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        decided = expr.names(node.test) <= self.sizes.fixed
        found = None if decided else self.sizes.named(node)
        return node if found is None else expr.literal(found)
