"""Attributes that are tuples by name: `kernel`, where the layer needs `kernel[0]` and `kernel[1]`.

Whether a name stands for a number or for one number an axis is seen by the values that the model
was loaded with; a class that is called with both is two classes already.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr
from ...compiler.program import Apply, Class, Repeat, walk

KINDS = frozenset({"ints", "pads", "shape"})
"""The kinds of attribute that have one entry for each axis."""


class Tuples:
    """Writes out the tuples of one class, and joins again what is written out in full."""

    def __init__(self, cls: Class) -> None:
        self.values: dict[str, Any] = {hyper.name: hyper.value for hyper in cls.params}
        self.mixed: set[str] = set()
        self._lengths: list[tuple[Expr, int]] = []
        for statement in walk(cls.body):
            if isinstance(statement, Repeat):
                self._loop(statement)

    def _loop(self, loop: Repeat) -> None:
        """What the variables are in the first iteration, and which are not alike in all."""
        with suppress(KeyError, TypeError, ValueError, IndexError, expr.Undecided):
            rows = expr.evaluate(loop.table, self.values) if loop.variables else []
            several = len(loop.variables) > 1
            for i, name in enumerate(loop.variables):
                column = [row[i] if several else row for row in rows]
                self.values.update({name: column[0]} if column else {})
                self.mixed |= {name} if len({_shape(item) for item in column}) > 1 else set()

    def spread(self, apply: Apply) -> Apply:
        """The op, with the elements of each tuple that is given by name."""
        kinds = {key: config.kind for key, config in apply.op.config.items()}
        changed = {
            key: self._elements(given, value)
            for key, given in apply.attrs.items()
            if kinds[key] in KINDS and expr.names(given) and not _written(given)
            if isinstance(value := self._value(given, apply, key), tuple)
        }
        return replace(apply, attrs={**apply.attrs, **changed}) if changed else apply

    def _value(self, given: Expr, apply: Apply, key: str) -> Any:
        """The tuple, by the sample values of its names; None where it is a number."""
        if isinstance(given, ast.IfExp):
            arms = [self._value(arm, apply, key) for arm in (given.body, given.orelse)]
            if _shape(arms[0]) != _shape(arms[1]):
                raise _refused(apply, key)
            return arms[0]
        if expr.names(given) & self.mixed:
            raise _refused(apply, key)
        with suppress(KeyError, TypeError, ValueError, IndexError, expr.Undecided):
            found = expr.evaluate(given, self.values)
            return tuple(found) if isinstance(found, (tuple, list)) else None
        return None

    def _elements(self, given: Expr, value: Any) -> Expr:
        if not isinstance(value, (tuple, list)):
            return given
        self._lengths.append((given, len(value)))
        items = [self._elements(expr.element(given, i), item) for i, item in enumerate(value)]
        return ast.Tuple(items, ast.Load())

    def join(self, made: Expr, place: Callable[[Expr], Expr]) -> Expr:
        """The expression, with `(kernel[0], kernel[1])` as `kernel` where that is all of it."""
        lengths = {ast.dump(place(given)): count for given, count in self._lengths}
        result = _Join(lengths).visit(made) if lengths else made
        assert isinstance(result, ast.expr)
        return result


class _Join(ast.NodeTransformer):
    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.lengths = lengths

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        node.elts = [self.visit(item) for item in node.elts]
        first = node.elts[0] if node.elts else None
        if not isinstance(first, ast.Subscript):
            return node
        whole = ast.dump(first.value)
        all_of_it = [ast.dump(expr.element(first.value, i)) for i in range(len(node.elts))]
        same = all_of_it == [ast.dump(item) for item in node.elts]
        return first.value if same and self.lengths.get(whole) == len(node.elts) else node


def _written(given: Expr) -> bool:
    return isinstance(given, (ast.Tuple, ast.List))


def _shape(value: Any) -> Any:
    """How deep and how long tuples are: None for a number."""
    return tuple(map(_shape, value)) if isinstance(value, (tuple, list)) else None


def _refused(apply: Apply, key: str) -> MlcError:
    what = f"JAX source for {apply.op.name} whose {key} is a number here and a tuple there"
    return MlcError("unsupported", what, help=f"write each {key} as a tuple")


__all__ = ["Tuples"]
