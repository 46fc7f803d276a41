"""Indices and slices of tensors: `position[:T]`, `x[:, 0]`, `x[..., -1]`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError
from ...compiler.dim import bounds
from ...compiler.expr import Expr
from . import syntax as s
from .context import Absent, Frame, Held, Tensor, holds_tensors
from .symbolic import plain

if TYPE_CHECKING:
    from .elaborate import Elaborator

ENDS = ("starts", "ends", "steps")


class Indexing:
    """Lowers the items of an index to one slice, and a squeeze or unsqueeze of axes."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    def take(self, frame: Frame, value: Tensor | Absent, node: s.Index) -> Any:
        """The part of a tensor that an index names."""
        tensor = self.e.construct.fill(frame, value) if isinstance(value, Absent) else value
        items = _spread(node, tensor.type.rank)
        cuts: list[tuple[int, s.Syntax]] = []
        axis = 0
        new: list[int] = []
        dropped: list[int] = []
        for item in items:
            if _is_none(item):
                new.append(axis - len(dropped) + len(new))
                continue
            if not isinstance(item, s.Slice):
                dropped.append(axis)
            if not (isinstance(item, s.Slice) and _is_whole(item)):
                cuts.append((axis, item))
            axis += 1
        result: Any = self._slice(frame, tensor, cuts, node) if cuts else tensor
        if dropped:
            result = self._apply(frame, "squeeze", {"axes": tuple(dropped)}, {}, result, node)
        if new:
            result = self._apply(frame, "unsqueeze", {"axes": tuple(new)}, {}, result, node)
        return result

    def _slice(
        self, frame: Frame, tensor: Tensor, cuts: list[tuple[int, s.Syntax]], node: s.Index
    ) -> Any:
        columns: dict[str, list[Any]] = {name: [] for name in ENDS}
        exprs: dict[str, list[Expr | None]] = {name: [] for name in ENDS}
        for _, item in cuts:
            for name, (value, expr) in zip(ENDS, self._range(frame, item), strict=True):
                columns[name].append(value)
                exprs[name].append(expr)
        attrs: dict[str, Any] = {name: tuple(values) for name, values in columns.items()}
        attrs["axes"] = tuple(axis for axis, _ in cuts)
        if set(columns["steps"]) == {1}:
            del attrs["steps"]
        trees = {name: _joined(parts) for name, parts in exprs.items()}
        kept = {k: tree for k, tree in trees.items() if tree is not None and not plain(tree)}
        return self._apply(frame, "slice", attrs, kept, tensor, node)

    def _range(self, frame: Frame, item: s.Syntax) -> list[tuple[Any, Expr | None]]:
        """Start, end and step of one item, each with its expression."""
        if isinstance(item, s.Slice):
            one = (1, ast.Constant(1))
            step = one if item.step is None else self._end(frame, item.step)
            start = None if bounds(step[0])[1] < 0 else 0
            return [
                *((default, ast.Constant(default)) if end is None else self._end(frame, end)
                  for end, default in ((item.lower, start), (item.upper, None))),
                step,
            ]  # fmt: skip
        start, expr = self._end(frame, item)
        one = (1, ast.Constant(1))
        if bounds(start)[1] < 0 and start == -1:
            return [(start, expr), (None, ast.Constant(None)), one]
        end: Expr | None = None
        if expr is not None:
            after = ast.BinOp(expr, ast.Add(), ast.Constant(1))
            end = ast.Constant(start + 1) if plain(expr) else after
        return [(start, expr), (start + 1, end), one]

    def _end(self, frame: Frame, node: s.Syntax) -> tuple[Any, Expr | None]:
        value = self.e.expressions.evaluate(frame, node)
        if holds_tensors(value):
            raise MlcError("value", "an index must be static", node.span,
                           help="gather(x, index, axis) takes elements by a tensor")  # fmt: skip
        size = self.e.attributes(frame).size("an index", value, node.span)
        return size, self.e.expressions.express(frame, node)

    def _apply(
        self,
        frame: Frame,
        op: str,
        attrs: dict[str, Any],
        exprs: dict[str, Expr],
        tensor: Tensor,
        node: s.Index,
    ) -> Any:
        held = Held(self.e.ops[op], attrs, exprs, None, node.span)
        return self.e.construct.apply(frame, held, [tensor], site=node.site, span=node.span)


def _joined(parts: list[Expr | None]) -> Expr | None:
    known = [part for part in parts if part is not None]
    return ast.Tuple(list(known), ast.Load()) if len(known) == len(parts) else None


def _is_none(item: s.Syntax) -> bool:
    return isinstance(item, s.Literal) and item.value is None


def _is_whole(item: s.Slice) -> bool:
    return item.lower is None and item.upper is None and item.step is None


def _spread(node: s.Index, rank: int) -> list[s.Syntax]:
    """The items, one an axis from the first on, `...` written out."""
    items = list(node.items)
    dots = [i for i, item in enumerate(items) if isinstance(item, s.Ellipsis_)]
    used = sum(not _is_none(item) for item in items) - len(dots)
    if used > rank or len(dots) > 1:
        message = f"{used} indices of a tensor with {rank} axes" if used > rank else "two `...`"
        raise MlcError("axis", message, node.span)
    whole: list[s.Syntax] = [s.Slice(None, None, None, span=node.span) for _ in range(rank - used)]
    if dots:
        items[dots[0] : dots[0] + 1] = whole
    return items
