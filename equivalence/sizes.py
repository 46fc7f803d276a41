"""Chooses numbers for the symbolic sizes of a graph, so that its facts hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ..compiler import dim
from ..compiler.diagnose import MlcError
from ..compiler.dim import Dim, Size
from ..compiler.graph import Fact, Graph
from ..compiler.run import holds

Sizes: TypeAlias = dict[str, int]

ODD = (5, 7, 11, 13, 17, 19, 23, 9, 15, 3)
EVEN = (4, 8, 10, 6, 14, 12, 16, 22, 26, 2)
"""What is tried first: odd and mostly prime, then even; 1 hides a broadcast, so it comes last."""

MULTIPLES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024)
MANY = 12
"""How many elements a batch norm should have in each channel."""

STEPS = 100_000
"""How many assignments are looked at before the search gives up."""


def complete(graph: Graph, given: Mapping[str, int]) -> Sizes:
    """`given` sizes, and for the other symbols ones that fit; MlcError "sizes" where none do, or
    for a name that is no symbol of the graph."""
    for name in given:
        if name not in graph.symbols:
            known = ", ".join(graph.symbols) or "none"
            raise MlcError("sizes", f"{graph.name} has no size {name}; it has {known}")
    conditions = _Conditions(graph)
    missing = [name for name in graph.symbols if name not in given]
    steps = iter(range(STEPS))
    order = tuple(dict.fromkeys((*EVEN, *ODD, *range(2, 64), *MULTIPLES, 1)))
    for found in _assign(missing, order, conditions, dict(given), False, steps):
        if all(_true(fact, found) for fact, _ in conditions.known):
            return {name: found[name] for name in graph.symbols}
    facts = ", ".join(map(str, graph.facts)) or "sizes of at least 1"
    where = f" where {describe(given)}" if given else ""
    raise MlcError("sizes", f"found no sizes of {graph.name}{where} with {facts}")


def choose(graph: Graph, count: int = 2) -> list[Sizes]:
    """Up to `count` assignments of the graph's symbols, pairwise different and of either parity.

    The sizes of one assignment differ from each other where the facts allow it. A graph without
    symbols has one, the empty one. MlcError "sizes" where no assignment is found.
    """
    if not graph.symbols:
        return [{}]
    for more in (_several(graph), []):
        found = _choose(graph, count, ODD, EVEN, more)
        if not all(_ample(graph, sizes) for sizes in found):
            found = _choose(graph, count, (MANY + 1, *ODD), (MANY, *EVEN), more)
        if found:
            break
    if not found:
        facts = ", ".join(map(str, graph.facts))
        raise MlcError("sizes", f"found no sizes of {', '.join(graph.symbols)} with {facts}")
    return found


def _choose(
    graph: Graph, count: int, odd: Sequence[int], even: Sequence[int], more: Sequence[Fact]
) -> list[Sizes]:
    conditions = _Conditions(graph, more)
    found: list[Sizes] = []
    for i in range(count):
        preferred = (odd, even)[i % 2]
        order = (*preferred, *range(2, 64), *MULTIPLES, 1)
        taken = [dict(sizes) for sizes in found]
        used = {size for sizes in found for size in sizes.values()}
        fresh = sorted(dict.fromkeys(order), key=lambda size: size in used)
        sizes = _search(graph.symbols, tuple(fresh), conditions, taken)
        if sizes is not None:
            found.append(sizes)
    return found


def _several(graph: Graph) -> list[Fact]:
    """That each instance norm has more than one place: PyTorch refuses to normalise one."""
    norms = (node.inputs[0] for node in graph if node.op.name == "instance_norm")
    places = {math.prod(x.type.shape[2:], start=1) for x in norms if x is not None}
    return [Fact("<=", 2, size) for size in places if isinstance(size, Size)]


def _ample(graph: Graph, sizes: Sizes) -> bool:
    """Whether each batch norm has MANY elements a channel: statistics of few are all noise."""
    norms = (node.inputs[0] for node in graph if node.op.name == "batch_norm")
    shapes = {x.type.shape for x in norms if x is not None}
    return all(
        math.prod(dim.evaluate(size, sizes) for size in (shape[0], *shape[2:])) >= MANY
        for shape in shapes
    )


def describe(sizes: Mapping[str, int]) -> str:
    """The assignment as text: `B = 5, T = 7`."""
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


class _Conditions:
    """What must hold, each with the symbols that decide it."""

    def __init__(self, graph: Graph, more: Sequence[Fact] = ()) -> None:
        shapes = {
            size
            for value in _values(graph)
            for size in value
            if isinstance(size, Size) and not str(size).isidentifier()
        }
        facts = [*graph.facts, *more, *(Fact("<=", 1, size) for size in shapes)]
        self.known = [(fact, _symbols(fact)) for fact in facts]

    def hold(self, sizes: Mapping[str, int], fresh: str) -> bool:
        """Whether everything holds that `fresh`, the latest symbol, has decided."""
        return all(
            _true(fact, sizes)
            for fact, names in self.known
            if fresh in names and names <= sizes.keys()
        )


def _values(graph: Graph) -> Iterator[tuple[Dim, ...]]:
    for given in graph.inputs:
        yield given.type.shape
    for node in graph.nested():
        for output in node.outputs:
            yield output.type.shape


def _symbols(fact: Fact) -> frozenset[str]:
    return frozenset({*dim.symbols(fact.left), *dim.symbols(fact.right)})


def _true(fact: Fact, sizes: Mapping[str, int]) -> bool:
    try:
        return holds(fact, sizes)
    except ZeroDivisionError:
        return False


def _search(
    symbols: Sequence[str], order: Sequence[int], conditions: _Conditions, taken: list[Sizes]
) -> Sizes | None:
    """The first assignment in order, with different sizes if there is such a one."""
    for different in (True, False):
        steps = iter(range(STEPS))
        for sizes in _assign(symbols, order, conditions, {}, different, steps):
            if sizes not in taken:
                return sizes
    return None


def _assign(
    symbols: Sequence[str],
    order: Sequence[int],
    conditions: _Conditions,
    sizes: Sizes,
    different: bool,
    steps: Iterator[int],
) -> Iterator[Sizes]:
    if not symbols:
        yield dict(sizes)
        return
    name, *rest = symbols
    for size in order:
        if different and size in sizes.values():
            continue
        if next(steps, None) is None:
            return
        sizes[name] = size
        if conditions.hold(sizes, name):
            yield from _assign(rest, order, conditions, sizes, different, steps)
        del sizes[name]
