"""Functions of the emitted file for what its layers have in common: `batch_norm(x, name=...)`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator

from ...compiler import expr
from ...compiler.expr import Expr
from ..source.names import free, snake
from ..source.tree import text


class Shortener:
    """Writes the layers that `count` has seen more than once through a function."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.names: dict[str, str] = {}

    def count(self, applied: Expr) -> Expr:
        """The expression as it is; remembers what could be said once for several."""
        common = _common(applied)
        if common is not None:
            self.counts[common] += 1
        return applied

    def settle(self, taken: Collection[str]) -> None:
        """Names what was counted more than once, by none of the names that are taken."""
        for common, times in self.counts.items():
            if times > 1:
                kind = common.removeprefix("keras.layers.").partition("(")[0]
                used = {*taken, *self.names.values()}
                self.names[common] = free(_NAMES.get(kind, snake(kind)), used)

    def made(self, applied: Expr) -> Expr:
        """The expression, through a function where it has one."""
        name = self.names.get(_common(applied) or "")
        if name is None or not isinstance(applied, ast.Call):
            return applied
        assert isinstance(applied.func, ast.Call)
        label = [k for k in applied.func.keywords if k.arg == "name"]
        return ast.Call(expr.name(name), applied.args, label)

    def source(self) -> Iterator[str]:
        """The functions."""
        for common, name in self.names.items():
            made = f"{common[:-1]}, name=name)"
            yield (f"def {name}(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:\n"
                   f"    return {made}(x)\n")  # fmt: skip


_NAMES = {
    "BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm",
    "GroupNormalization": "group_norm", "RMSNormalization": "rms_norm",
}  # fmt: skip


def _common(applied: Expr) -> str | None:
    """What a layer says besides its name, where that is long, and the same for any size."""
    match applied:
        case ast.Call(func=ast.Call(func=made, args=[], keywords=keywords), args=[_]):
            fixed = [k for k in keywords if k.arg != "name"]
            if len(fixed) < 2 or len(fixed) == len(keywords):
                return None
            if any(expr.names(k.value) for k in fixed):
                return None
            return text(ast.Call(made, [], fixed))
    return None
