"""Sizes that are open while a model is put together, and those that run along loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...compiler.dim import Size, symbol, symbols
from ...compiler.expr import names
from ...compiler.program import Apply, Carried, Class, Repeat, Var, walk


def open_sizes(cls: Class) -> frozenset[str]:
    """The sizes of a class that no Keras tensor knows while the model is put together."""
    given = {n for n in cls.sizes if any(isinstance(s.values.get(n), Size) for s in cls.scopes)}
    found = given | {p.name for p in cls.params if isinstance(p.value, Size)}
    for statement in walk(cls.body):
        if isinstance(statement, Repeat):
            found |= {s.name for s in statement.sizes if names(s.start) & found}
    return frozenset(found)


def sizes_read(statements: Sequence[Apply], numbers: Mapping[Var, Apply]) -> set[str]:
    """The names that ops read, and with them the numbers that they take."""
    inside = [s for s in walk(statements) if isinstance(s, Apply)]
    given = (v for s in inside for v in s.inputs if v is not None)
    used = [*inside, *(numbers[v] for v in given if v in numbers)]
    found = {n for s in used for e in s.attrs.values() for n in names(e)}
    found |= {n for s in used for v in s.values.values() if isinstance(v, Size)
              for n in symbols(v)}  # fmt: skip
    stacked = [v for s in inside for region in s.regions for v in region.outputs]
    return found | {n for v in stacked for size in v.type.shape for n in symbols(size)}


def running(loop: Repeat) -> Iterator[tuple[str, Carried, int]]:
    """The sizes that run along, each with the carried tensor and the axis that has it."""
    for size in loop.sizes:
        for carried in loop.carried:
            for axis, found in enumerate(carried.current.type.shape):
                if found == symbol(size.name):
                    yield size.name, carried, axis


def having(loop: Repeat, inside: bool) -> dict[str, Var]:
    """A tensor that has each of the sizes that run along, inside of the loop or behind it."""
    return {name: c.current if inside else c.result for name, c, _ in running(loop)}
