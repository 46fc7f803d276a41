"""What a model for TPUs is held to besides its numbers: that it multiplies in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .case import Case
from .compare import Row
from .engines.protocol import Products

NARROW = ("bf16", "bf16")


def rows(target: str, case: Case, programs: Mapping[str, Products]) -> Iterator[Row]:
    """A row for each lowered program and kind of product: equal if all take bfloat16."""
    for program, products in programs.items():
        for op in sorted({op for op, *_ in products}):
            own = {tuple(types): n for (kind, *types), n in products.items() if kind == op}
            wrong = {types: n for types, n in own.items() if types != NARROW}
            name = f"{sum(own.values())} {op} of the {program}"
            note = ", ".join(f"{n} of {' by '.join(types)}" for types, n in wrong.items())
            verdict = "different" if wrong else "equal"
            yield Row(target, case.mode, case.title, "product", name, verdict, note=note)
