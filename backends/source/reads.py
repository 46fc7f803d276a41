"""Sizes of inputs: read where they are needed, or once at the start where that is often."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ...compiler import expr
from ...compiler.expr import Expr
from ...compiler.graph import Type
from ...compiler.program import Class, Var
from .compose import Assign, Composer, Line
from .names import identifier
from .scope import Scope

OFTEN = 3
"""How often the sizes of an input are read before they get names of their own."""


class Reads:
    """Places expressions where tensors are in sight; call `settle` when all lines are there.

    `own` is what stands before the hyper-parameters that a class keeps.
    """

    def __init__(self, cls: Class, scope: Scope, out: Composer, own: str = "self.") -> None:
        self.cls = cls
        self.scope = scope
        self.out = out
        self.sizes: dict[str, Var] = {}
        self._plain = scope.call(out.ref, own)

    def place(self, expression: Expr) -> Expr:
        """The expression; sizes are placeholders until `settle`."""
        own = {n for n in expr.names(expression) if self._is_size(n)}
        return self._plain(expression) if not own else self._put(expression, own)

    def _is_size(self, name: str) -> bool:
        return name in self.cls.sizes and self.cls.sizes[name][0] in self.cls.inputs

    def _alike(self, name: str) -> str:
        """The first of the sizes that are read from the same place."""
        return next(n for n, place in self.cls.sizes.items() if place == self.cls.sizes[name])

    def _put(self, expression: Expr, own: set[str]) -> Expr:
        values = {}
        for name in expr.names(expression):
            if name in own:
                alike = self._alike(name)
                var = self.sizes.setdefault(alike, Var(identifier(alike), Type("i32", ())))
                values[name] = self.out.ref(var)
            else:
                values[name] = self._plain(expr.name(name))
        return expr.substitute(expr.spoken(expression), values)

    def settle(self) -> None:
        """Gives sizes that are read often a line of their own, and writes out the others."""
        count = self.out.uses(self.out.lines)
        lines: list[Line] = []
        written_out: dict[Var, Expr] = {}
        for source, var in self.cls.inputs.items():
            read = {n: v for n, v in self.sizes.items() if self.cls.sizes[n][0] == source}
            if sum(count.get(v, 0) for v in read.values()) < OFTEN:
                written_out |= {v: self.scope.size(n, self.out.ref) for n, v in read.items()}
                continue
            lines += self._named(var, read)
        self.out.inline(written_out)
        self.out.lines[:0] = lines

    def _named(self, var: Var, read: dict[str, Var]) -> Iterator[Line]:
        """`B, T, D = x.shape`, or a line for each size where most are not needed."""
        order = var.order or range(var.type.rank)
        places = {self.cls.sizes[name][1]: size for name, size in read.items()}
        if len(read) > 1 and len(read) >= var.type.rank - 1:
            targets = [places.get(axis) or Var("_", Type("i32", ())) for axis in order]
            yield Assign(targets, ast.Attribute(self.out.ref(var), "shape", ast.Load()))
            return
        for name, size in sorted(read.items(), key=lambda item: self.cls.sizes[item[0]][1]):
            yield Assign([size], self.scope.size(name, self.out.ref))
