"""Symbolic sizes: integer polynomials over symbols, in one normal form.

A size that is known is a plain `int`. One that is not is a `Size`: a sum of monomials with integer
coefficients, whose factors are symbols or the atoms `a // b`, `a % b`, `min(a, b)`, `max(a, b)`.
Every symbol stands for an integer >= 1. Two sizes that are equal by algebra compare equal:
`(H - 1) // 2 + 1 == (H + 1) // 2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Dim: TypeAlias = "int | Size"
Monomial: TypeAlias = "tuple[tuple[Atom, int], ...]"


@dataclass(frozen=True, slots=True)
class Atom:
    """A factor: a symbol (`kind == "symbol"`, args = its name) or an operation on two sizes."""

    kind: str
    args: tuple[str | Dim, ...]

    def __str__(self) -> str:
        if self.kind == "symbol":
            return str(self.args[0])
        a, b = (_operand(x) for x in self.args)
        return f"{a} {self.kind} {b}" if self.kind in ("//", "%") else _call(self)

    @property
    def key(self) -> tuple[int, str]:
        return (0 if self.kind == "symbol" else 1, str(self))


def _call(atom: Atom) -> str:
    return f"{atom.kind}({atom.args[0]}, {atom.args[1]})"


def _operand(x: str | Dim) -> str:
    text = str(x)
    return text if isinstance(x, int) or text.isidentifier() else f"({text})"


class Size:
    """A size that is not known yet. Immutable and hashable; made by `symbol` and arithmetic."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = sorted(terms.items(), key=lambda item: _order(item[0]))
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __add__(self, other: Dim) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _size(total)

    def __mul__(self, other: Dim) -> Dim:
        product: dict[Monomial, int] = {}
        for a, m in self.terms:
            for b, n in _terms(other):
                monomial = _multiply(a, b)
                product[monomial] = product.get(monomial, 0) + m * n
        return _size(product)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)

    def __rmod__(self, other: int) -> Dim:
        return mod(other, self)

    def __pow__(self, power: int) -> Dim:
        result: Dim = 1
        for _ in range(power):
            result = result * self
        return result

    def __str__(self) -> str:
        return "".join(_pieces(self)) or "0"

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise TypeError(f"whether the size {self} is zero is not known")


def _pieces(size: Size) -> Iterator[str]:
    """The terms as text, positive ones first so that no text starts with a minus in vain."""
    ordered = sorted(size.terms, key=lambda term: (term[1] < 0, term[0] == ()))
    for i, (monomial, coefficient) in enumerate(ordered):
        sign = "-" if coefficient < 0 else "+"
        yield f" {sign} " if i else ("-" if coefficient < 0 else "")
        yield _product(monomial, abs(coefficient))


def _product(monomial: Monomial, coefficient: int) -> str:
    factors = [] if coefficient == 1 and monomial else [str(coefficient)]
    for atom, power in monomial:
        text = str(atom)
        alone = len(monomial) == 1 and power == 1 and not factors
        if atom.kind in ("//", "%") and not alone:
            text = f"({text})"
        factors += [text] * power
    return " * ".join(factors)


def _order(monomial: Monomial) -> tuple[int, list[tuple[tuple[int, str], int]]]:
    return (-sum(p for _, p in monomial), [(a.key, p) for a, p in monomial])


def _terms(x: Dim) -> tuple[tuple[Monomial, int], ...]:
    return x.terms if isinstance(x, Size) else (((), x),) if x else ()


def _size(terms: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: c for monomial, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Size(kept)


def _multiply(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: item[0].key))


def _atom(kind: str, *args: str | Dim) -> Size:
    return Size({((Atom(kind, args), 1),): 1})


def symbol(name: str) -> Size:
    """The size called `name`: some integer >= 1."""
    return _atom("symbol", name)


def _divide_terms(a: Dim, b: Dim) -> tuple[Dim, Dim]:
    """(q, r) with a == q * b + r, q taking every term of `a` that `b` (one monomial) divides."""
    divisor = _terms(b)
    if len(divisor) != 1:
        return (1, 0) if a == b else (0, a)
    (monomial, n), powers = divisor[0], dict(divisor[0][0])
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for term, coefficient in _terms(a):
        left = dict(term)
        if all(left.get(atom, 0) >= p for atom, p in powers.items()):
            q, r = divmod(coefficient, n)
            reduced = {atom: p - powers.get(atom, 0) for atom, p in left.items()}
            key = tuple((atom, p) for atom, p in reduced.items() if p)
            quotient[key] = quotient.get(key, 0) + q
            rest[term] = r
        else:
            rest[term] = coefficient
    del monomial
    return _size(quotient), _size(rest)


def floordiv(a: Dim, b: Dim) -> Dim:
    """`a // b`, rounded towards minus infinity, in normal form."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b == 1:
        return a
    quotient, rest = _divide_terms(a, b)
    if isinstance(rest, int) and rest == 0:
        return quotient
    if isinstance(b, int):
        nested = _nested(rest, b)
        if nested is not None:
            return quotient + nested
    if isinstance(rest, int) and _within(rest, b):
        return quotient
    return quotient + _atom("//", rest, b)


def _within(rest: int, b: Dim) -> bool:
    """Whether 0 <= rest < b for every value of the symbols in `b`."""
    return 0 <= rest < bounds(b)[0]


def _nested(rest: Dim, b: int) -> Dim | None:
    """`(p // k + r) // b` is `(p + k * r) // (k * b)`."""
    floors = [(m, c) for m, c in _terms(rest) if m]
    if len(floors) != 1 or floors[0][1] != 1 or len(floors[0][0]) != 1:
        return None
    atom, power = floors[0][0][0]
    if power != 1 or atom.kind != "//" or not isinstance(atom.args[1], int):
        return None
    inner, k = atom.args
    assert not isinstance(inner, str) and isinstance(k, int)
    return floordiv(inner + k * dict(_terms(rest)).get((), 0), k * b)


def mod(a: Dim, b: Dim) -> Dim:
    """`a % b`, with the sign of `b`."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    _, rest = _divide_terms(a, b)
    if isinstance(rest, int) and (rest == 0 or _within(rest, b)):
        return rest
    return _atom("%", rest, b)


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two sizes; decided where their bounds decide it."""
    return _extreme("min", a, b, lambda low: low <= 0)


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two sizes; decided where their bounds decide it."""
    return _extreme("max", a, b, lambda low: low >= 0)


def _extreme(kind: str, a: Dim, b: Dim, takes: Callable[[float], bool]) -> Dim:
    low, high = bounds(a - b)
    if takes(low) and takes(high):
        return a
    if takes(-low) and takes(-high):
        return b
    first, second = sorted((a, b), key=str)
    return _atom(kind, first, second)


def bounds(x: Dim, limits: Mapping[str, tuple[float, float]] | None = None) -> tuple[float, float]:
    """An interval that holds every value of `x`; `limits` narrows symbols from [1, inf)."""
    low = high = 0.0
    for monomial, coefficient in _terms(x):
        interval = (1.0, 1.0)
        for atom, power in monomial:
            for _ in range(power):
                interval = _times(interval, _atom_bounds(atom, limits or {}))
        a, b = _times(interval, (coefficient, coefficient))
        low, high = low + a, high + b
    return low, high


def _times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    products = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(products), max(products)


def _atom_bounds(atom: Atom, limits: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    if atom.kind == "symbol":
        return limits.get(str(atom.args[0]), (1.0, math.inf))
    (a_low, a_high), (b_low, b_high) = (
        bounds(x, limits) for x in atom.args if not isinstance(x, str)
    )
    if atom.kind == "min":
        return min(a_low, b_low), min(a_high, b_high)
    if atom.kind == "max":
        return max(a_low, b_low), max(a_high, b_high)
    if b_low < 1:
        return -math.inf, math.inf
    if atom.kind == "%":
        return 0.0, min(b_high - 1, a_high if a_low >= 0 else math.inf)
    low = _floor(a_low, b_high if a_low >= 0 else b_low)
    high = _floor(a_high, b_low if a_high >= 0 else b_high)
    return low, high


def _floor(a: float, b: float) -> float:
    if math.isinf(a):
        return a
    return (0.0 if a >= 0 else -1.0) if math.isinf(b) else float(a // b)


def symbols(x: Dim) -> tuple[str, ...]:
    """The names of the symbols in `x`, sorted."""
    found: set[str] = set()
    for monomial, _ in _terms(x):
        for atom, _ in monomial:
            for arg in atom.args:
                found |= {arg} if isinstance(arg, str) else set(symbols(arg))
    return tuple(sorted(found))


_OPERATIONS: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "//": floordiv,
    "%": mod,
    "min": minimum,
    "max": maximum,
}


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
    a, b = (substitute(x, values) for x in atom.args if not isinstance(x, str))
    return _OPERATIONS[atom.kind](a, b)


def evaluate(x: Dim, values: Mapping[str, int]) -> int:
    """The number that `x` is for these values of its symbols; KeyError names a missing one."""
    missing = [name for name in symbols(x) if name not in values]
    if missing:
        raise KeyError(missing[0])
    result = substitute(x, values)
    assert isinstance(result, int)
    return result
