"""Names of the emitted file for what its layers have in common: `conv = partial(nnx.Conv, …)`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from ...compiler import expr
from ...compiler.expr import Expr
from ...compiler.program import Apply
from ..source.names import free
from ..source.tree import text, tree


class Helpers:
    """Shortens constructors: what `count` has seen more than once gets a name."""

    def __init__(self, taken: frozenset[str]) -> None:
        self.taken = taken
        self.counts: Counter[str] = Counter()
        self.wishes: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def count(self, apply: Apply, made: Expr) -> Expr:
        """The constructor's call as it is; remembers what could be said once for several."""
        common = _common(made)
        if common is not None:
            self.counts[text(common)] += 1
            self.wishes[text(common)] = apply.op.name
        return made

    def settle(self) -> frozenset[str]:
        """Names what was counted more than once; returns the names."""
        for common, wish in self.wishes.items():
            if self.counts[common] > 1:
                self.names[common] = self._free(wish)
        return frozenset(self.names.values())

    def made(self, apply: Apply, made: Expr) -> Expr:
        """The constructor's call, through a name where it has one."""
        del apply
        common = _common(made)
        name = self.names.get(text(common)) if common is not None else None
        if name is None or not isinstance(made, ast.Call):
            return made
        own = [k for k in made.keywords if not _fixed(k)]
        return ast.Call(expr.name(name), made.args, own)

    def _free(self, wish: str) -> str:
        used = {*self.taken, *self.names.values()}
        name, number = free(wish, self.taken), 2
        while name in used:
            name, number = f"{wish}{number}", number + 1
        return name

    def source(self) -> Iterator[str]:
        """The definitions, a line each."""
        for common, name in self.names.items():
            yield f"{name} = {common}"


def _common(made: Expr) -> Expr | None:
    """What a constructor's call says whatever the sizes: `partial(nnx.Conv, use_bias=False)`."""
    if not isinstance(made, ast.Call):
        return None
    fixed = [k for k in made.keywords if _fixed(k)]
    call = tree("partial({f})", f=made.func)
    assert isinstance(call, ast.Call)
    call.keywords = fixed
    return call if fixed else None


def _fixed(keyword: ast.keyword) -> bool:
    """Whether an argument says nothing about this one layer: a convention, not a size."""
    return keyword.arg in CONVENTIONS and not (expr.names(keyword.value) - {START, "nnx"})


START = "fan_uniform"
"""The file's name for PyTorch's way to start kernels."""

CONVENTIONS = frozenset(
    {"use_bias", "use_scale", "kernel_init", "embedding_init", "epsilon", "momentum", "decode"}
    | {"use_fast_variance", "transpose_kernel"}
)
"""Arguments that are the same for all layers of a kind."""
