"""One instance of a body: its names with their values, and which Var each of its values is."""

from __future__ import annotations

import operator
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ... import expr
from ...dim import Size
from ...expr import Expr
from ...graph import Scope, Value
from ...program import Var


class Frame:
    """A block instance, an iteration or a chain, as the template's statements run through it."""

    def __init__(self, scope: Scope, outer: Frame | None, number: int = 0) -> None:
        self.scope = scope
        self.outer = outer
        self.number = number
        around = outer.names.maps if outer else []
        self.names: ChainMap[str, Any] = ChainMap(dict(scope.values), *around)
        self.vars: dict[Value, Var] = {}
        self.passed: dict[Var, Var] = {}
        """What a loop that runs no time here gives elsewhere, and what it is given."""

    def find(self, value: Value) -> Var | None:
        """The Var that `value` is here, or outside."""
        if value in self.vars:
            return self.vars[value]
        return self.outer.find(value) if self.outer else None

    def also(self, var: Var) -> set[Var]:
        """What the tensor is called behind loops that run no time here."""
        around = self.outer.also(var) if self.outer else set()
        later = {result for result, given in self.passed.items() if given is var}
        return around.union(later, *(self.also(result) for result in later))

    def value(self, var: Var) -> Value | None:
        """The tensor that `var` is here."""
        found = (v for v, own in self.vars.items() if own is var or var in self.also(own))
        value = next(found, None)
        return self.outer.value(var) if value is None and self.outer else value

    @property
    def block(self) -> Frame:
        """The frame of the block instance that this belongs to."""
        return self.outer.block if self.outer else self

    @property
    def iteration(self) -> Frame | None:
        """The innermost iteration that this belongs to, if any."""
        if self.scope.kind == "iteration":
            return self
        return self.outer.iteration if self.outer else None

    def evaluate(self, expression: Expr) -> Any:
        """The value of an expression here; None where it cannot be computed."""
        try:
            return plain(expr.evaluate(expression, self.names))
        except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, expr.Undecided):
            return None


def plain(value: Any) -> Any:
    """Lists as tuples, whole fractions as ints: attributes are compared in this form."""
    return tuple(plain(v) for v in value) if isinstance(value, (list, tuple)) else value


class Disagree(Exception):
    """The frames of a body differ in something that no expression explains."""

    def __init__(self, frames: Sequence[Frame], values: Sequence[Any]) -> None:
        super().__init__(f"{[repr(v) for v in values]}")
        self.frames = list(frames)
        self.values = [repr(v) for v in values]

    def groups(self) -> list[list[Scope]]:
        """The block instances, parted by what they hold; one group if only iterations differ."""
        held: dict[Scope, list[str]] = {}
        for frame, value in zip(self.frames, self.values, strict=True):
            held.setdefault(frame.block.scope, []).append(value)
        parted: dict[tuple[str, ...], list[Scope]] = {}
        for scope, values in held.items():
            parted.setdefault(tuple(values), []).append(scope)
        return list(parted.values())


class Freeze(Exception):
    """Something depends on these names of a definition by no expression that holds."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


class Runs(Exception):
    """A size of a tensor that a loop carries changes from turn to turn, though not in any of the
    instances: `place` is the loop's site, the tensor's name and the axis."""

    def __init__(self, place: tuple[int, str, int]) -> None:
        super().__init__(str(place))
        self.place = place


class Unroll(Exception):
    """A loop whose iterations must be told apart: `scope` is one of them."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope.path)
        definition = scope.block.definition
        assert definition is not None
        assert scope.loop is not None
        self.place = (definition, scope.loop.site)


def agree(frames: Sequence[Frame], values: Sequence[Any]) -> Any:
    """The common value of all frames; Disagree if there is none."""
    first = values[0]
    if all(same(v, first) for v in values[1:]):
        return first
    disagree(frames, values)


def same(a: Any, b: Any, equal: Callable[[Any, Any], bool] = operator.eq) -> bool:
    """Whether two static values are equal, 1 and True told apart; `equal` compares sizes."""
    if type(a) is not type(b) and not (isinstance(a, Size) or isinstance(b, Size)):
        return False
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y, equal) for x, y in zip(a, b, strict=True))
    if hasattr(a, "tobytes"):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return bool(equal(a, b) if isinstance(a, Size) or isinstance(b, Size) else a == b)


def disagree(frames: Sequence[Frame], values: Sequence[Any]) -> NoReturn:
    raise Disagree(frames, values)


def common(
    frames: Sequence[Frame],
    values: Sequence[Any],
    sources: Sequence[Expr | None],
    make: Callable[[Any], Expr] = expr.literal,
    equal: Callable[[Any, Any], bool] = operator.eq,
) -> Expr | None:
    """An expression that gives each frame its value: the source's, else a literal, else None."""
    first = sources[0]
    shared = first is not None and all(s is not None and expr.same(s, first) for s in sources)
    pairs = zip(frames, values, strict=True)
    if shared and first and all(same(f.evaluate(first), plain(v), equal) for f, v in pairs):
        return first
    if not all(same(plain(v), plain(values[0])) for v in values):
        return None
    try:
        return make(values[0])
    except TypeError:  # an op
        return None
