"""Products of symbols and of operations on sizes: what a size is a sum of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .dim import Dim

Monomial: TypeAlias = "tuple[tuple[Atom, int], ...]"
"""Factors and their powers, in order; () is 1."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A factor: a symbol (`kind == "symbol"`, args = its name) or an operation on sizes."""

    kind: str
    args: tuple[str | Dim, ...]

    def __str__(self) -> str:
        if self.kind == "symbol":
            return str(self.args[0])
        if self.kind in ("//", "%"):
            a, b = (_operand(x) for x in self.args)
            return f"{a} {self.kind} {b}"
        return f"{self.kind}({', '.join(map(str, self.args))})"

    @property
    def key(self) -> tuple[int, str]:
        return (0 if self.kind == "symbol" else 1, str(self))

    @property
    def sizes(self) -> tuple[Dim, ...]:
        """The operands; none for a symbol."""
        return tuple(x for x in self.args if not isinstance(x, str))


def _operand(x: str | Dim) -> str:
    text = str(x)
    return text if isinstance(x, int) or text.isidentifier() else f"({text})"


def order(monomial: Monomial) -> tuple[int, list[tuple[tuple[int, str], int]]]:
    """The key by which terms are sorted: higher degrees first."""
    return (-sum(p for _, p in monomial), [(a.key, p) for a, p in monomial])


def multiply(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials."""
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: item[0].key))


def over(a: Monomial, b: Monomial) -> Monomial | None:
    """The monomial `a / b`, where it is one."""
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) - power
    if any(power < 0 for power in powers.values()):
        return None
    return tuple((atom, power) for atom, power in powers.items() if power)


def distribute(a: Mapping[Monomial, int], b: Mapping[Monomial, int]) -> dict[Monomial, int]:
    """The product of two sums of monomials."""
    product: dict[Monomial, int] = {}
    for m, c in a.items():
        for n, d in b.items():
            key = multiply(m, n)
            product[key] = product.get(key, 0) + c * d
    return product


def show(terms: Sequence[tuple[Monomial, int]]) -> str:
    """A sum of monomials as text."""
    return "".join(_pieces(terms))


def _pieces(terms: Sequence[tuple[Monomial, int]]) -> Iterator[str]:
    """The terms as text, positive ones first so that no text starts with a minus in vain."""
    ordered = sorted(terms, key=lambda term: (term[1] < 0, term[0] == ()))
    for i, (monomial, coefficient) in enumerate(ordered):
        sign = "-" if coefficient < 0 else "+"
        yield f" {sign} " if i else ("-" if coefficient < 0 else "")
        yield _product(monomial, abs(coefficient), bare=i > 0 or coefficient > 0)


def _product(monomial: Monomial, coefficient: int, bare: bool) -> str:
    """A term; `bare` where no minus stands directly before it, which would bind more tightly."""
    factors = [] if coefficient == 1 and monomial else [str(coefficient)]
    for atom, power in monomial:
        text = str(atom)
        alone = len(monomial) == 1 and power == 1 and not factors
        if atom.kind in ("//", "%") and not (alone and bare):
            text = f"({text})"
        factors += [text] * power
    return " * ".join(factors)
