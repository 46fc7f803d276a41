"""Symbolic sizes: integer polynomials over symbols, in one normal form.

A size that is known is a plain `int`. One that is not is a `Size`: a sum of monomials with integer
coefficients, whose factors are symbols or the atoms `a // b`, `a % b`, `min(a, b)`, `max(a, b)`.
Every symbol stands for an integer >= 1. Two sizes that are equal by algebra compare equal:
`(H - 1) // 2 + 1 == (H + 1) // 2`, `H // 2 // 2 == H // 4`, `(2 * H + 1) // 4 == H // 2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, reduce
from operator import attrgetter
from typing import TypeAlias

from . import interval
from .interval import Interval
from .monomial import Atom as Atom
from .monomial import Monomial, distribute, multiply, order, over, show

Dim: TypeAlias = "int | Size"
Limits: TypeAlias = "Mapping[str, tuple[float, float]]"


class Size:
    """A size that is not known yet. Immutable and hashable; made by `symbol` and arithmetic."""

    __slots__ = ("_hash", "_text", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = sorted(terms.items(), key=lambda item: order(item[0]))
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self.terms)
        self._text = ""

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, Size)):
            return NotImplemented
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _size(total)

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, (int, Size)):
            return NotImplemented
        product: dict[Monomial, int] = {}
        for a, m in self.terms:
            for b, n in _terms(other):
                monomial = multiply(a, b)
                product[monomial] = product.get(monomial, 0) + m * n
        return _size(product)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + -other if isinstance(other, (int, Size)) else NotImplemented

    def __rsub__(self, other: int) -> Dim:
        return -self + other if isinstance(other, int) else NotImplemented

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other) if isinstance(other, (int, Size)) else NotImplemented

    def __rfloordiv__(self, other: int) -> Dim:
        return floordiv(other, self) if isinstance(other, int) else NotImplemented

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other) if isinstance(other, (int, Size)) else NotImplemented

    def __rmod__(self, other: int) -> Dim:
        return mod(other, self) if isinstance(other, int) else NotImplemented

    def __pow__(self, power: int) -> Dim:
        if not isinstance(power, int) or not 0 <= power <= 16:
            raise TypeError(f"a size cannot be raised to the power {power}")
        result: Dim = 1
        for _ in range(power):
            result = result * self
        return result

    def __str__(self) -> str:
        self._text = self._text or show(self.terms)
        return self._text

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise TypeError(f"whether the size {self} is zero is not known")

    def __lt__(self, other: Dim) -> bool:
        return self._below(other, 0)

    def __le__(self, other: Dim) -> bool:
        return self._below(other, 1)

    def __gt__(self, other: Dim) -> bool:
        return not self._below(other, 1)

    def __ge__(self, other: Dim) -> bool:
        return not self._below(other, 0)

    def _below(self, other: Dim, bound: int) -> bool:
        """Whether self - other < bound, where the bounds of sizes decide it; else TypeError."""
        if not isinstance(other, (int, Size)):
            return NotImplemented
        low, high = bounds(self - other)
        if low < bound <= high:
            raise TypeError(f"whether {self} is less than {other} is not known")
        return high < bound


def _terms(x: Dim) -> tuple[tuple[Monomial, int], ...]:
    return x.terms if isinstance(x, Size) else (((), x),) if x else ()


def _size(terms: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: c for monomial, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Size(kept)


def _atom(kind: str, *args: str | Dim) -> Size:
    return Size({((Atom(kind, args), 1),): 1})


def symbol(name: str) -> Size:
    """The size called `name`: some integer >= 1."""
    return _atom("symbol", name)


def _divide(a: Dim, b: Dim) -> tuple[Dim, Dim]:
    """(q, r) with a == q * b + r: long division by the leading term of `b`."""
    atoms = sorted(
        {atom for x in (a, b) for m, _ in _terms(x) for atom, _ in m}, key=attrgetter("key")
    )

    def rank(monomial: Monomial) -> tuple[int, list[int]]:
        powers = dict(monomial)
        return sum(powers.values()), [powers.get(atom, 0) for atom in atoms]

    lead, n = max(_terms(b), key=lambda term: rank(term[0]))
    quotient: Dim = 0
    rest: Dim = 0
    while terms := _terms(a):
        monomial, c = max(terms, key=lambda term: rank(term[0]))
        reduced = over(monomial, lead)
        q, r = (0, c) if reduced is None else divmod(c, n)
        if reduced is not None and q:
            share = _size({reduced: q})
            quotient, a = quotient + share, a - share * b
        done = _size({monomial: r})
        rest, a = rest + done, a - done
    return quotient, rest


def floordiv(a: Dim, b: Dim) -> Dim:
    """`a // b`, rounded towards minus infinity, in normal form."""
    if isinstance(b, int) and (isinstance(a, int) or b == 0):
        return (a if isinstance(a, int) else 1) // b
    if isinstance(b, int) and b < 0:
        return floordiv(-a, -b)
    quotient, rest = _divide(a, b)
    cell = 0 if rest == 0 else _cell(rest, b)
    if cell is not None:
        return quotient + cell
    factor, left, _, divisor = _reduced(rest, b)
    if factor != 1:
        return quotient + floordiv(left, divisor)
    nested = _nested(rest, b)
    return quotient + (_atom("//", rest, b) if nested is None else nested)


def mod(a: Dim, b: Dim) -> Dim:
    """`a % b`, with the sign of `b`."""
    if isinstance(b, int) and (isinstance(a, int) or b == 0):
        return (a if isinstance(a, int) else 1) % b
    if isinstance(b, int) and b < 0:
        return -mod(-a, -b)
    _, rest = _divide(a, b)
    cell = 0 if rest == 0 else _cell(rest, b)
    if cell is not None:
        return rest - cell * b
    factor, left, less, divisor = _reduced(rest, b)
    if factor != 1:
        return factor * mod(left, divisor) + less
    return _atom("%", rest, b)


def _cell(rest: Dim, b: Dim) -> int | None:
    """`rest // b`, where bounds alone decide it."""
    low, high = bounds(rest)
    least, most = bounds(b)
    if least < 1 or interval.infinite(low) or interval.infinite(high):
        return None
    if least == most and low // least == high // least:
        return int(low) // int(least)
    return 0 if low >= 0 and high < least else None


def _reduced(rest: Dim, b: Dim) -> tuple[Dim, Dim, int, Dim]:
    """(f, p, c, m) with b == f * m, rest == f * p + c and 0 <= c < f; f is 1 if `b` may be < 1."""
    if bounds(b)[0] < 1:
        return 1, rest, 0, b
    constant = dict(_terms(rest)).get((), 0)
    moving = [term for term in _terms(rest) if term[0]]
    number = math.gcd(*(c for _, c in moving), *(c for _, c in _terms(b)))
    common = _common([m for m, _ in (*moving, *_terms(b))]) if not constant else ()
    factor = _size({common: number})
    less = constant % number
    return factor, _divide(rest - less, factor)[0], less, _divide(b, factor)[0]


def _common(monomials: list[Monomial]) -> Monomial:
    """What divides all of them, of the factors that are at least 1."""
    shared = dict(monomials[0])
    for monomial in monomials[1:]:
        powers = dict(monomial)
        shared = {atom: min(p, powers.get(atom, 0)) for atom, p in shared.items()}
    return tuple((a, p) for a, p in shared.items() if p and _atom_bounds(a, {})[0] >= 1)


def _nested(rest: Dim, b: Dim) -> Dim | None:
    """`(p // k + r) // b` as `(p + k * r) // (k * b)`, where one floor stands alone in a sum."""
    floors = [m[0][0] for m, c in _terms(rest) if len(m) == 1 and m[0][0].kind == "//"]
    if len(floors) != 1 or dict(_terms(rest)).get(((floors[0], 1),)) != 1 or bounds(b)[0] < 1:
        return None
    p, k = floors[0].sizes
    return floordiv(p + k * (rest - _size({((floors[0], 1),): 1})), k * b)


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two sizes; decided where their bounds decide it."""
    return _extreme("min", (a, b))


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two sizes; decided where their bounds decide it."""
    return _extreme("max", (a, b))


def _extreme(kind: str, sizes: Iterable[Dim]) -> Dim:
    kept: list[Dim] = []
    for x in (x for size in sizes for x in _spread(kind, size)):
        if not any(_beats(kind, y, x) for y in kept):
            kept = [y for y in kept if not _beats(kind, x, y)] + [x]
    if len(kept) == 1:
        return kept[0]
    tables = [dict(_terms(x)) for x in kept]
    monomials = {m for table in tables for m in table}
    common = _size({m: min(table.get(m, 0) for table in tables) for m in monomials})
    rest = [x - common for x in kept]
    number = math.gcd(*(c for x in rest for _, c in _terms(x)))
    rest = [_size({m: c // number for m, c in _terms(x)}) for x in rest]
    if number == 1 and isinstance(common, int) and common == 0:
        return _atom(kind, *sorted(rest, key=str))
    return common + number * _extreme(kind, rest)


def _spread(kind: str, size: Dim) -> tuple[Dim, ...]:
    """The sizes that `size` is the extreme of: `r + min(a, b)` is that of `r + a` and `r + b`."""
    found = [(m, c) for m, c in _terms(size) if any(a.kind in ("min", "max") for a, _ in m)]
    if len(found) != 1 or len(found[0][0]) != 1:
        return (size,)
    monomial, c = found[0]
    ((atom, power),) = monomial
    if power != 1 or (atom.kind == kind) != (c > 0):
        return (size,)
    return tuple(size - _size({monomial: c}) + c * x for x in atom.sizes)


def _beats(kind: str, x: Dim, y: Dim) -> bool:
    """Whether `x` is always at least as extreme as `y`."""
    low, high = bounds(x - y)
    return high <= 0 if kind == "min" else low >= 0


# ---------------------------------------------------------------------------------------- bounds


def bounds(x: Dim, limits: Limits | None = None) -> Interval:
    """An interval that holds every value of `x`; `limits` narrows symbols from [1, inf)."""
    if isinstance(x, int):
        return x, x
    return _bounds(x, limits) if limits else _known_bounds(x)


@lru_cache(maxsize=4096)
def _known_bounds(x: Size) -> Interval:
    return _bounds(x, {})


def _bounds(x: Size, limits: Limits) -> Interval:
    """The narrower of two: term by term, and as a polynomial of symbols counted from their low."""
    for kind, pick in (("min", min), ("max", max)):
        either = _spread(kind, x)
        if len(either) > 1:
            ends = [bounds(y, limits) for y in either]
            return pick(low for low, _ in ends), pick(high for _, high in ends)
    low, high = interval.total(interval.scale(_monomial_bounds(m, limits), c) for m, c in x.terms)
    if max(sum(p for _, p in m) for m, _ in x.terms) <= 4:
        relaxed_low, relaxed_high = _shifted_bounds(x, limits)
        low, high = max(low, relaxed_low), min(high, relaxed_high)
    return low, high


def _monomial_bounds(monomial: Monomial, limits: Limits, above: bool = False) -> Interval:
    """Bounds of a product; `above`: of its factors less their lower bounds."""
    result: Interval = (1, 1)
    for atom, power in monomial:
        factor = _atom_bounds(atom, limits)
        if above:
            least = _least(factor)
            factor = interval.total([factor, (-least, -least)])
        for _ in range(power):
            result = interval.times(result, factor)
    return result


def _atom_bounds(atom: Atom, limits: Limits) -> Interval:
    if atom.kind == "symbol":
        return limits.get(str(atom.args[0]), (1, math.inf))
    intervals = [bounds(x, limits) for x in atom.sizes]
    if atom.kind in ("min", "max"):
        pick = min if atom.kind == "min" else max
        return pick(low for low, _ in intervals), pick(high for _, high in intervals)
    (a_low, a_high), (b_low, b_high) = intervals
    if b_low < 1:
        return -math.inf, math.inf
    if atom.kind == "%":
        return 0, min(b_high - 1, a_high if a_low >= 0 else math.inf)
    low = interval.floor(a_low, b_high if a_low >= 0 else b_low)
    return low, interval.floor(a_high, b_low if a_high >= 0 else b_high)


def _shifted_bounds(x: Size, limits: Limits) -> Interval:
    """Bounds by polynomials in `symbol - low`, so that `H * W >= H` and `H // 2 <= H` are seen."""
    factor, terms, slack = _relaxed(x)
    moved: dict[Monomial, int] = {}
    for monomial, c in terms.items():
        product: dict[Monomial, int] = {(): c}
        for atom, power in monomial:
            for _ in range(power):
                product = distribute(
                    product, {((atom, 1),): 1, (): _least(_atom_bounds(atom, limits))}
                )
        for m, n in product.items():
            moved[m] = moved.get(m, 0) + n
    low, high = interval.total(
        [
            slack,
            *(interval.scale(_monomial_bounds(m, limits, above=True), c) for m, c in moved.items()),
        ]
    )
    low = low if interval.infinite(low) else -(-low // factor)
    return low, high if interval.infinite(high) else high // factor


def _relaxed(x: Dim) -> tuple[int, dict[Monomial, int], Interval]:
    """(s, p, i): s * x is p plus something in i; in p no floor by a number stands alone."""
    parts: list[tuple[int, dict[Monomial, int], Interval]] = []
    for monomial, c in _terms(x):
        atom = monomial[0][0] if len(monomial) == 1 and monomial[0][1] == 1 else None
        if atom is not None and atom.kind == "//" and isinstance(atom.sizes[1], int):
            k = atom.sizes[1]
            factor, inner, (low, high) = _relaxed(atom.sizes[0])
            slack = interval.scale((low - factor * (k - 1), high), c)
            parts.append((k * factor, {m: n * c for m, n in inner.items()}, slack))
        else:
            parts.append((1, {monomial: c}, (0, 0)))
    common = math.lcm(*(factor for factor, _, _ in parts))
    terms: dict[Monomial, int] = {}
    for factor, inner, _ in parts:
        for m, n in inner.items():
            terms[m] = terms.get(m, 0) + n * (common // factor)
    slacks = (interval.scale(slack, common // factor) for factor, _, slack in parts)
    return common, terms, interval.total(slacks)


def _least(factor: Interval) -> int:
    return 0 if interval.infinite(factor[0]) else math.ceil(factor[0])


def symbols(x: Dim) -> tuple[str, ...]:
    """The names of the symbols in `x`, sorted."""
    found: set[str] = set()
    for monomial, _ in _terms(x):
        for atom, _ in monomial:
            for arg in atom.args:
                found |= {arg} if isinstance(arg, str) else set(symbols(arg))
    return tuple(sorted(found))


_OPERATIONS: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "//": floordiv, "%": mod, "min": minimum, "max": maximum,
}  # fmt: skip


def substitute(x: Dim, values: Mapping[str, Dim]) -> Dim:
    """`x` with symbols replaced by sizes; an int where all of them are ints."""
    total: Dim = 0
    for monomial, coefficient in _terms(x):
        product: Dim = coefficient
        for atom, power in monomial:
            factor = _substitute_atom(atom, values)
            for _ in range(power):
                product = product * factor
        total = total + product
    return total


def _substitute_atom(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    if atom.kind == "symbol":
        name = str(atom.args[0])
        return values.get(name, symbol(name))
    return reduce(_OPERATIONS[atom.kind], (substitute(x, values) for x in atom.sizes))


def evaluate(x: Dim, values: Mapping[str, int]) -> int:
    """The number that `x` is for these values of its symbols; KeyError names a missing one."""
    missing = [name for name in symbols(x) if name not in values]
    if missing:
        raise KeyError(missing[0])
    result = substitute(x, values)
    assert isinstance(result, int)
    return result
