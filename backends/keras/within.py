"""The lines of a small layer's `call`: ops, and the functions that scans and choices run."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Statement, Var
from ..source.compose import Assign, Composer
from ..source.control import Functions
from ..source.parts import spell
from ..source.tree import tree
from .layers import WITHIN
from .rules import dtype
from .shapes import Pieces


class Within:
    """Adds lines to `out`; `numbers` are the constants that stay Python numbers."""

    def __init__(
        self,
        out: Composer,
        read: Callable[[Var], Expr],
        place: Callable[[Expr], Expr],
        numbers: Container[Var],
        reserved: set[str],
    ) -> None:
        self.out = out
        self._read = read
        self.place = place
        self.numbers = numbers
        self.around: set[str] = set()
        self._reserved = reserved

    def reserved(self) -> set[str]:
        """Names that nothing of the function may have."""
        return self._reserved

    def read(self, var: Var) -> Expr:
        """A tensor where it is read."""
        return self._read(var)

    def body(self, statements: Sequence[Statement]) -> None:
        """Adds the lines of these ops."""
        for statement in statements:
            assert isinstance(statement, Apply)
            if statement.outputs[0] in self.numbers:
                continue
            if statement.regions:
                Functions("keras.ops", _moved, self._zeros).write(self, statement)
                continue
            pieces = Pieces(statement, self.read, self.place, None, self.numbers)
            pieces.inside = True
            if statement.op.name not in WITHIN:
                text = f"{statement.op.name} within a scan"
                raise MlcError("unsupported", f"Keras source that has {text}")
            value = spell(WITHIN, pieces, "Keras")
            self.out.lines.append(Assign(list(statement.outputs), value))

    def _zeros(self, var: Var) -> Expr:
        """What a scan carries before there is anything."""
        kind = None if var.type.dtype == "f32" else dtype(var.type.dtype)
        shape = [self.place(literal(var.type.shape[axis])) for axis in stored(var)]
        return tree("keras.ops.zeros((*{shape},), dtype={kind})", shape=shape, kind=kind)


def stored(var: Var) -> Sequence[int]:
    """The axes of a tensor as they are stored."""
    return var.order or range(var.type.rank)


def _moved(x: Expr, source: int, target: int) -> Expr:
    if source == target:
        return x
    if {source, target} == {0, 1}:
        return tree("keras.ops.swapaxes({x}, 0, 1)", x=x)
    return tree("keras.ops.moveaxis({x}, {a}, {b})", x=x, a=literal(source), b=literal(target))


__all__ = ["Within"]
