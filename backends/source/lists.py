"""Lists that a loop fills with tensors, and later loops and lines take them from."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.program import Element, Repeat, Var, Whole
from .compose import Do, For, Line, Store
from .names import free
from .tree import tree


class Lists:
    """The lists of one function; `taken` are names that they may not have, which with their own
    names and those of their elements are `reserved`."""

    def __init__(self, taken: Set[str]) -> None:
        self.names: dict[Var, Expr] = {}
        self.reserved = set(taken)
        self._filled: dict[Var, Var] = {}
        self._elements: dict[Element, Expr] = {}

    def started(self, loop: Repeat) -> Iterator[Line]:
        """`skips = []`, before the loop that fills it."""
        self._filled |= loop.collects
        for found in loop.collects.values():
            self.names[found] = self._name(found.name)
            yield Store(self.names[found], ast.List([], ast.Load()))

    def appended(self, made: Iterable[Var], read: Callable[[Var], Expr]) -> Iterator[Line]:
        """`skips.append(h)`, behind the statement that makes h."""
        for var in made:
            if var in self._filled:
                yield Do(tree("{xs}.append({x})", xs=self.names[self._filled[var]], x=read(var)))

    def taken(self, loop: Repeat) -> Iterator[tuple[Expr, Expr]]:
        """What a loop takes along from earlier ones: `skip` from `reversed(skips)`."""
        for element, backwards in loop.elements.items():
            assert element.of is not None
            self._elements[element] = self._name(_element(element.of.name))
            source = self.names[element.of]
            turned = tree("reversed({xs})", xs=source) if backwards else source
            yield self._elements[element], turned

    def turns(self, loop: Repeat, variables: Sequence[Expr], table: Expr) -> For:
        """`for width, skip in zip(widths, skips)`; with neither, `for _ in range(count)`."""
        taken = [*self.taken(loop)]
        table = strict(table)
        if not variables:
            return zipped(taken) if taken else For(expr.name("_"), tree("range({n})", n=table))
        target = variables[0] if len(variables) == 1 else ast.Tuple([*variables], ast.Store())
        if taken and counts(loop):
            along = zipped(taken)
            both = ast.Tuple([target, along.target], ast.Store())
            return For(both, tree("enumerate({xs})", xs=along.iterable))
        return zipped([(target, table), *taken])

    def element(self, var: Element | Whole) -> Expr:
        """`skip`, or `skips[-1]`, or `*skips`."""
        if isinstance(var, Whole):
            return ast.Starred(self.names[var.of], ast.Load())
        if var.index is None:
            return self._elements[var]
        assert var.of is not None
        return ast.Subscript(self.names[var.of], literal(var.index), ast.Load())

    def _name(self, wish: str) -> Expr:
        name = free(wish, self.reserved)
        self.reserved.add(name)
        return expr.name(name)


def zipped(pairs: Sequence[tuple[Expr, Expr]]) -> For:
    """`for width, skip in zip(widths, skips)`, of targets with what they come from."""
    if len(pairs) == 1:
        return For(*pairs[0])
    targets: list[Expr] = [target for target, _ in pairs]
    sources = [source for _, source in pairs]
    return For(ast.Tuple(targets, ast.Store()), tree("zip(*{xs}, strict=True)", xs=sources))


def counts(loop: Repeat) -> bool:
    """Whether its one variable is the number of the iteration."""
    match loop.table:
        case ast.Call(func=ast.Name(id="range"), args=[_]):
            return len(loop.variables) == 1
    return False


def indexed(turns: For, taken: Collection[str]) -> tuple[Expr, For]:
    """The variable that numbers the turns, with the loop that has it: its own, or a fresh `i`."""
    index = expr.name(free("i", taken))
    match turns.target, turns.iterable:
        case ast.Name(id=own), ast.Call(func=ast.Name(id="range"), args=[_]) if own != "_":
            return turns.target, turns
        case ast.Tuple(elts=[ast.Name(id=own), each]), ast.Call(
            func=ast.Name(id="enumerate"), args=[xs], keywords=[]
        ):
            return (
                (index, numbered(index, For(each, xs))) if own == "_" else (expr.name(own), turns)
            )
    return index, numbered(index, turns)


def numbered(index: Expr, turns: For) -> For:
    """`for i, width in enumerate(widths)`, or `for i in range(count)`."""
    if isinstance(turns.target, ast.Name) and turns.target.id == "_":
        return For(index, turns.iterable)
    target = ast.Tuple([index, turns.target], ast.Store())
    return For(target, tree("enumerate({xs})", xs=turns.iterable))


def places(index: Expr, per: int) -> Callable[[], Expr]:
    """`2 * i`, then `2 * i + 1`: the places of one iteration's members, each asked for once."""
    numbers = itertools.count()

    def place() -> Expr:
        if per == 1:
            return index
        offset = next(numbers) % per
        base = tree("{per} * {i}", per=literal(per), i=index)
        return tree("{base} + {j}", base=base, j=literal(offset)) if offset else base

    return place


def uncounted(turns: For) -> None:
    """Takes out counting that nobody reads: `for _, width in enumerate(widths)`."""
    match turns.target, turns.iterable:
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=sources):
            if len(targets) == len(sources):
                pairs = [_uncounted(t, s) for t, s in zip(targets, sources, strict=True)]
                targets[:], sources[:] = [t for t, _ in pairs], [s for _, s in pairs]
        case _:
            turns.target, turns.iterable = _uncounted(turns.target, turns.iterable)


def _uncounted(target: Expr, source: Expr) -> tuple[Expr, Expr]:
    match target, source:
        case ast.Tuple(elts=[ast.Name(id="_"), each]), ast.Call(func=ast.Name(id="enumerate")):
            return each, source.args[0]
    return target, source


def strict(table: Expr) -> Expr:
    """A zip that raises where its parts differ in length, as the language does."""
    match table:
        case ast.Call(func=ast.Name(id="zip"), keywords=[]):
            return tree("zip(*{xs}, strict=True)", xs=table.args)
    return table


def quiet(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with `_` for each variable of a loop that its body does not read."""
    for loop in (n for s in statements for n in ast.walk(s) if isinstance(n, ast.For)):
        read = {n.id for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        for name in (n for n in ast.walk(loop.target) if isinstance(n, ast.Name)):
            name.id = name.id if name.id in read else "_"
    return statements


def singular(name: str) -> str:
    """What one element of a list is called."""
    return name[:-1] if name.endswith("s") and len(name) > 1 else name


def _element(name: str) -> str:
    """The same for a list of tensors, beside which the list's own name is taken."""
    one = singular(name)
    return one if one != name else f"{name}_element"


__all__ = ["Lists", "counts", "numbered", "places", "quiet", "singular", "strict", "zipped"]
