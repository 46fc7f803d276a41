"""Names of the emitted file for what its layers have in common: `conv = partial(nnx.Conv, …)`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator

from ...compiler import expr
from ...compiler.expr import Expr
from ...compiler.program import Apply
from .names import free
from .tree import text, tree

START = "fan_uniform"
"""The file's name for PyTorch's way to start kernels."""


class Partials:
    """Shortens constructors: what `count` has seen more than once gets a name.

    `conventions` are arguments that are the same for all layers of a kind; they may name START and
    the modules `libraries`.
    """

    def __init__(self, conventions: Collection[str], *libraries: str) -> None:
        self.conventions = conventions
        self.known = {START, *libraries}
        self.counts: Counter[str] = Counter()
        self.wishes: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def count(self, apply: Apply, made: Expr) -> Expr:
        """The constructor's call as it is; remembers what could be said once for several."""
        common = self._common(made)
        if common is not None:
            self.counts[common] += 1
            self.wishes[common] = apply.op.name
        return made

    def settle(self, taken: Collection[str]) -> frozenset[str]:
        """Names what was counted more than once, by none that is taken; returns the names."""
        for common, wish in self.wishes.items():
            if self.counts[common] > 1:
                self.names[common] = self._free(wish, taken)
        return frozenset(self.names.values())

    def made(self, apply: Apply, made: Expr) -> Expr:
        """The constructor's call, through a name where it has one."""
        del apply
        name = self.names.get(self._common(made) or "")
        if name is None or not isinstance(made, ast.Call):
            return made
        own = [k for k in made.keywords if not self._fixed(k)]
        return ast.Call(expr.name(name), made.args, own)

    def _free(self, wish: str, taken: Collection[str]) -> str:
        used = {*taken, *self.names.values()}
        name, number = free(wish, taken), 2
        while name in used:
            name, number = f"{wish}{number}", number + 1
        return name

    def source(self) -> Iterator[str]:
        """The definitions, a line each."""
        for common, name in self.names.items():
            yield f"{name} = {common}"

    def _common(self, made: Expr) -> str | None:
        """What a constructor's call says whatever the sizes: `partial(nnx.Conv, use_bias=False)`.

        None where it says nothing of the kind, or is no layer of the library.
        """
        if not isinstance(made, ast.Call) or not isinstance(made.func, ast.Attribute):
            return None
        fixed = [k for k in made.keywords if self._fixed(k)]
        call = tree("partial({f})", f=made.func)
        assert isinstance(call, ast.Call)
        call.keywords = fixed
        return text(call) if fixed else None

    def _fixed(self, keyword: ast.keyword) -> bool:
        """Whether an argument says nothing about this one layer: a convention, not a size."""
        return keyword.arg in self.conventions and not expr.names(keyword.value) - self.known


__all__ = ["START", "Partials"]
