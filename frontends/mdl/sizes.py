"""The sizes of tensors in the names of the block that is elaborated: `4 * D`, not 3072.

What an op infers from sizes that are symbols says how a size came about; a result is given only
where it is the size that the tensor really has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...compiler import expr as expressions
from ...compiler.dim import Dim, Size, substitute, symbol, symbols
from ...compiler.expr import Expr, Undecided
from ...compiler.expr import name as reference
from ...compiler.graph import Node, Scope, Type, Value, Weight
from ...compiler.op import TypeMismatch, for_class
from . import syntax as s
from .context import Frame, Tensor
from .declare import extent
from .static import FAILURES
from .symbolic import express

if TYPE_CHECKING:
    from .elaborate import Elaborator

Named = tuple["Dim | None", ...]
"""The sizes of a tensor in names; None where there is no name."""

HIDDEN = "?"
"""How the symbols begin that stand for sizes without a name, while an op infers."""


class Sizes:
    """Follows sizes through the nodes of a block, back to its inputs."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    def of(self, frame: Frame, tensor: Tensor) -> tuple[Expr | None, ...]:
        """An expression for each size of a tensor, over the names that are visible here."""
        # Names of a loop may have changed since the sizes were found.
        sizes = self._checked(frame, tensor.value, self._find(frame, tensor.value))
        return tuple(None if size is None else expressions.literal(size) for size in sizes)

    def _find(self, frame: Frame, value: Value) -> Named:
        """Depth first, without recursion: pipes may be long."""
        waiting = [value]
        while waiting:
            now = waiting[-1]
            if now in frame.named:
                waiting.pop()
                continue
            needed = [v for v in self._needed(frame, now) if v not in frame.named]
            if needed:
                waiting += needed
                continue
            with for_class():
                frame.named[now] = self._checked(frame, now, self._sizes(frame, now))
            waiting.pop()
        return frame.named[value]

    def _needed(self, frame: Frame, value: Value) -> tuple[Value, ...]:
        """The values of this block from which the sizes of `value` follow."""
        block, node = frame.scope.block, value.node
        if node is None or value in block.inputs.values():
            return ()
        if node.scope.block is block:
            return node.values
        callee = _callee(node.scope, block)
        return () if callee is None else tuple(callee.inputs.values())

    def _sizes(self, frame: Frame, value: Value) -> Named:
        block, node = frame.scope.block, value.node
        unknown: Named = (None,) * value.type.rank
        try:
            for line in frame.block.inputs:
                if block.inputs.get(line.name) is value:
                    return self._declared(line.type, self._symbols(block)) or unknown
            if isinstance(value, Weight):
                return self._weight(frame, value)
            if node is not None and node.scope.block is block:
                return self._inferred(frame, node)[value.index].shape
            callee = None if node is None else _callee(node.scope, block)
            return unknown if callee is None else self._returned(frame, callee, value) or unknown
        except (TypeMismatch, Undecided, *FAILURES):
            return unknown

    def _visible(self, scope: Scope) -> dict[str, Any]:
        """The names that are visible in a scope of this block, with their values."""
        names: dict[str, Any] = {}
        for each in scope.ancestors():
            names = {**each.values, **names}
            if each is scope.block:
                break
        return names

    def _symbols(self, scope: Scope) -> dict[str, Any]:
        """The same, with a symbol for each number or size."""
        return {
            name: symbol(name) if _is_size(value) else value
            for name, value in self._visible(scope).items()
        }

    def _declared(self, declared: s.TypeSyntax, names: Mapping[str, Any]) -> Named | None:
        """The sizes that an `in` or `out` line states, in these names."""
        if declared.like is not None:
            return None
        made: list[Dim | None] = []
        for axis in declared.axes:
            expr = express(extent(axis), reference)
            size = None if expr is None else _evaluated(expr, names)
            made.append(None if size is None else expressions.settle(size))
        return tuple(made)

    def _weight(self, frame: Frame, value: Weight) -> Named:
        own = value.scope.block is frame.scope.block and len(value.exprs) == value.type.rank
        if not own:
            return (None,) * value.type.rank
        names = self._symbols(value.scope)
        return tuple(_evaluated(expr, names) for expr in value.exprs)

    def _inferred(self, frame: Frame, node: Node) -> tuple[Type, ...]:
        names = self._symbols(node.scope)
        attrs = {
            key: expressions.evaluate(node.exprs[key], names) if key in node.exprs else value
            for key, value in node.attrs.items()
        }
        attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
        types = [None if v is None else self._type(frame, v) for v in node.inputs]
        result = node.op.infer(*types, **attrs)
        return result if isinstance(result, tuple) else (result,)

    def _type(self, frame: Frame, value: Value) -> Type:
        """The type of a value in names, with symbols of their own for sizes that have none."""
        sizes = frame.named[value]
        hidden = (symbol(f"{HIDDEN}{id(value)}.{i}") for i in range(len(sizes)))
        shape = (h if size is None else size for size, h in zip(sizes, hidden, strict=True))
        return value.type.with_(shape=tuple(shape))

    def _returned(self, frame: Frame, callee: Scope, value: Value) -> Named | None:
        """What the call of a block returns: what its `out` line states, in the caller's names."""
        block = self.e.calls.entered[callee]
        outside = self._symbols(callee.parent or callee)
        inside: dict[str, Any] = {}
        for name, expr in callee.exprs.items():
            inside[name] = expressions.evaluate(expr, outside)
        for name in callee.definition.params if callee.definition else ():
            inside.setdefault(name, callee.values.get(name))
        types = {name: self._type(frame, given) for name, given in callee.inputs.items()}
        for name, (line, axis) in block.definition.sizes.items():
            if line in types:
                inside[name] = types[line].shape[axis]
        for out in block.outputs:
            if callee.outputs.get(out.name) is value:
                like = types.get(out.type.like or "")
                return self._declared(out.type, inside) if like is None else like.shape
        return None

    def _checked(self, frame: Frame, value: Value, sizes: Named) -> Named:
        """The sizes that are those of the value, with the names as they are here."""
        known = self._visible(frame.scope)
        return tuple(
            size if size is not None and _holds(size, known, real) else None
            for size, real in zip(sizes, value.type.shape, strict=True)
        )


def _callee(scope: Scope, block: Scope) -> Scope | None:
    """The call in `block` in which `scope` lies."""
    for each in scope.ancestors():
        if each.kind == "block" and each.parent is not None and each.parent.block is block:
            return each
    return None


def _evaluated(expr: Expr, names: Mapping[str, Any]) -> Dim | None:
    """A size in names; None where it has none."""
    try:
        size = expressions.evaluate(expr, names)
    except (Undecided, *FAILURES):
        return None
    return size if isinstance(size, (int, Size, expressions.Ratio)) else None  # type: ignore[return-value]


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, Size)) and not isinstance(value, bool)


def _holds(size: Dim, known: Mapping[str, Dim], real: Dim) -> bool:
    return all(_is_size(known.get(name)) for name in symbols(size)) and (
        substitute(size, known) == real
    )
