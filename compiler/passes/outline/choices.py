"""What a name stands for behind a static if: one tensor in some instances, another in the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ...graph import Value
from ...program import If, Phi, Statement, Var, outputs
from .frame import Frame, disagree
from .sizes import Sizes

if TYPE_CHECKING:
    from .body import Body

Arms: TypeAlias = "tuple[tuple[int, int], ...]"


@dataclass(eq=False, slots=True)
class Placed:
    """A statement, and the static ifs around it."""

    arms: Arms
    statement: Statement


@dataclass(frozen=True, slots=True)
class Row:
    """What a name is in one frame."""

    frame: Frame
    var: Var
    value: Value


@dataclass(frozen=True, slots=True)
class Choice:
    """`then if the condition of site else orelse`, each a Var or a choice again."""

    site: int
    then: Choice | Var
    orelse: Choice | Var
    rows: tuple[Row, ...]


class Choices:
    """The phis of a body. One belongs to the If of its site where that holds statements and both
    of its tensors are there by then; otherwise it gets an If of its own, before what needs it."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.phis: dict[int, list[Phi]] = {}
        self.known: dict[tuple[int, Var, Var], tuple[Phi, Placed | None]] = {}
        self.where: dict[Var, tuple[int, Arms]] = {}

    def phi(
        self, frames: Sequence[Frame], variables: Sequence[Var], values: Sequence[Value]
    ) -> Var:
        """The Var that is `variables[i]` in `frames[i]`; Disagree where no static if tells it."""
        rows = tuple(Row(*row) for row in zip(frames, variables, values, strict=True))
        found = self._decide(rows)
        if found is None:
            disagree(frames, [id(var) for var in variables])
        return self._build(found)

    def settled(self, var: Var) -> Var:
        """What a name stands for here, where all instances that come by have it from one arm.

        Behind the `if` it is what the `if` chose. Where nobody has told what that is in the other
        arm, the instances of the two arms must become two classes.
        """
        body = self.body
        for site, arm in self.where.get(var, (-1, ()))[1]:
            if (site, arm) in body.arms:
                continue
            for (at, *arms), (phi, _) in self.known.items():
                if at == site and arms[arm] is var:
                    return self.settled(phi.result)
            disagree(body.frames, [f.scope.ifs[site][1] if site in f.scope.ifs else -1
                                   for f in body.frames])  # fmt: skip
        return var

    def note(self, placed: Placed) -> None:
        """Remembers where the outputs of a statement are made."""
        place = len(self.body.placed) - 1
        self.where.update(dict.fromkeys(outputs(placed.statement), (place, placed.arms)))

    # ---------------------------------------------------------------------------- deciding

    def _decide(self, rows: tuple[Row, ...]) -> Choice | Var | None:
        if _alike(rows):
            return rows[0].var
        sites = self._sites(rows)
        parted = [(site, *_parted(rows, site)) for site in sites]
        simple = [part for part in parted if all(_alike(rows) for rows in part[1:])]
        for site, first, second in (*simple, *parted):
            then, orelse = self._decide(first), self._decide(second)
            if then is not None and orelse is not None:
                return Choice(site, then, orelse, rows)
        return None

    def _sites(self, rows: Sequence[Row]) -> list[int]:
        """The ifs that tell rows apart: first those in which a row's tensor is made, and of these
        the last one in the source, since what it gives may be chosen by those before."""
        made = {site for row in rows for site, _ in _arms(row)}
        taken = [row.frame.scope.ifs for row in rows]
        both = [
            site
            for site in dict.fromkeys(site for ifs in taken for site in ifs)
            if {ifs[site][1] if site in ifs else -1 for ifs in taken} == {0, 1}
        ]
        return sorted(both, key=lambda site: (site in made, site), reverse=True)

    # ---------------------------------------------------------------------------- building

    def _build(self, found: Choice | Var) -> Var:
        if isinstance(found, Var):
            return found
        then, orelse = self._build(found.then), self._build(found.orelse)
        key = (found.site, then, orelse)
        if key not in self.known:
            phi = Phi(self._result(found, then, orelse), then, orelse)
            self.known[key] = phi, self._place(found.site, phi)
        phi, own = self.known[key]
        if own is not None:
            own.arms = _shared(own.arms, self.body.arms)
        return phi.result

    def _result(self, found: Choice, then: Var, orelse: Var) -> Var:
        body, rows = self.body, found.rows
        named = [var.name for var in (then, orelse) if var not in body.builder.given]
        sizes = Sizes([row.frame for row in rows], body.builder.unknown, body.builder.frozen)
        condition = body.condition(found.site)
        arms = list(zip(then.type.shape, orelse.type.shape, strict=False))
        known = then.type.with_(shape=tuple(body.sizes.chosen(condition, *pair) for pair in arms))
        kind = sizes.type(then.type, [row.value.type for row in rows], orelse.type, known)
        body.sizes.symbolic.update(sizes.symbolic)
        for size, pair in zip(kind.shape, arms, strict=True):
            body.sizes.choose(size, condition, *pair)
        return Var(named[0] if named else then.name, kind, rows[0].value.order)

    def _place(self, site: int, phi: Phi) -> Placed | None:
        """Gives the phi to the If of its site; or to one of its own, which is returned."""
        inside = [i for i, p in enumerate(self.body.placed) if site in dict(p.arms)]
        if inside and self._ready(site, phi, inside[0]):
            self.phis.setdefault(site, []).append(phi)
            arms = self.body.placed[inside[0]].arms
            around = arms[: [s for s, _ in arms].index(site)]
            self.where[phi.result] = (inside[-1], around)
            return None
        phi.result.name = ""  # a choice within an expression, which the source does not name
        own = If(self.body.condition(site), [], [], [phi], site)
        placed = Placed(self.body.arms, own)
        self.body.add(placed)
        self.where[phi.result] = (len(self.body.placed) - 1, placed.arms)
        return placed

    def _ready(self, site: int, phi: Phi, first: int) -> bool:
        """Whether both tensors are made before the If of the site, or in it."""
        for var in (phi.then, phi.orelse):
            place, arms = self.where.get(var, (-1, ()))
            if place >= first and site not in dict(arms):
                return False
        return True


def _alike(rows: Sequence[Row]) -> bool:
    return all(row.var is rows[0].var for row in rows)


def _parted(rows: Sequence[Row], site: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows by the arm that their frames take."""
    taken = [(row, row.frame.scope.ifs[site][1]) for row in rows]
    return tuple(r for r, arm in taken if arm == 0), tuple(r for r, arm in taken if arm == 1)


def _arms(row: Row) -> Iterator[tuple[int, int]]:
    """The static ifs of the frame's scope in which the row's tensor is made."""
    node = row.value.node
    if node is None:
        return
    arms, home = node.arms, node.scope
    while home is not row.frame.scope and home.parent is not None:
        arms, home = home.arms, home.parent
    yield from arms


def _shared(a: Arms, b: Arms) -> Arms:
    """What two places have around both of them."""
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return a[:count]
