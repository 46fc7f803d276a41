"""What is known of sizes: decisions that earlier facts allow, and facts that say nothing new."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import Atom, Dim, Size, bounds, mod, substitute, symbol, symbols
from ...compiler.graph import Fact
from .limits import FACTS


class Known:
    """Facts as substitutions: `4 | H` lets H be 4 * t, `T == S` lets T be S; and upper limits.

    `7 | H // 4` lets the quotient, which is no symbol, be 7 * (H // 28).
    """

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self.values: dict[str, Dim] = {}
        self.atoms: dict[Atom, Dim] = {}
        self.limits: dict[str, tuple[float, float]] = {}
        for fact in facts:
            self.learn(fact)

    def reduce(self, size: Dim) -> Dim:
        """The size in terms of the symbols that the facts leave free."""
        return _rewritten(substitute(size, self.values), self.atoms)

    def learn(self, fact: Fact) -> None:
        """Takes in one fact, as far as it can be used."""
        left, right = self.reduce(fact.left), self.reduce(fact.right)
        if fact.relation == "divides":
            name = _symbol(right)
            if name and isinstance(left, int) and left > 0:
                self._set(name, left * symbol(f"{name}/{left}"))
            atom = None if name else _atom(right)
            if atom is not None and mod(right, left) != 0:
                self.atoms[atom] = left * (right // left)
        elif fact.relation == "==":
            name, value = _symbol(left), right
            if name is None or name in symbols(right):
                name, value = _symbol(right), left
            if name is not None and name not in symbols(value):
                self._set(name, value)
        else:
            name = _symbol(left)
            if name and isinstance(right, int):
                high = right - (fact.relation == "<")
                old = self.limits.get(name, (1.0, math.inf))[1]
                self.limits[name] = (1.0, min(old, high))

    def _set(self, name: str, value: Dim) -> None:
        self.values = {key: substitute(old, {name: value}) for key, old in self.values.items()}
        self.values[name] = value
        self.limits.pop(name, None)

    def holds(self, fact: Fact) -> bool:
        """Whether a fact follows from those that are known."""
        left, right = self.reduce(fact.left), self.reduce(fact.right)
        if fact.relation == "divides":
            return mod(right, left) == 0
        if fact.relation == "==":
            return left == right
        high = bounds(left - right, self.limits)[1]
        return high <= 0 if fact.relation == "<=" else high < 0


def _symbol(size: Dim) -> str | None:
    """The name of a size that is one symbol and nothing else."""
    names = symbols(size)
    return names[0] if names[:1] and size == symbol(names[0]) else None


def _atom(size: Dim) -> Atom | None:
    """The quotient, minimum or the like that a size is, and nothing else."""
    if not isinstance(size, Size) or len(size.terms) != 1:
        return None
    ((monomial, coefficient),) = size.terms
    alone = coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1
    return monomial[0][0] if alone and monomial[0][0].kind != "%" else None


def _rewritten(size: Dim, atoms: Mapping[Atom, Dim]) -> Dim:
    """The size with these factors of its terms replaced."""
    if isinstance(size, int) or not atoms:
        return size
    total: Dim = 0
    for monomial, coefficient in size.terms:
        product: Dim = coefficient
        for atom, power in monomial:
            factor = atoms.get(atom, Size({((atom, 1),): 1}))
            for _ in range(power):
                product = product * factor
        total = total + product
    return total


def check_count(facts: Sequence[Fact], span: Span) -> None:
    """MlcError where a model has more facts than can be weighed against one another."""
    if len(facts) > FACTS:
        raise MlcError("limit", f"the model has more than {FACTS} facts", span)


def prune(facts: Iterable[Fact]) -> list[Fact]:
    """The facts that do not follow from those before them, in order."""
    known, kept = Known(), []
    for fact in facts:
        if not known.holds(fact):
            kept.append(fact)
            known.learn(fact)
    return kept
