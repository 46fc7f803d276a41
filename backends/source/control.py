"""Scans, loops and choices on data, for targets where they are plain statements or functions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...compiler.program import Apply, Call, Region, Statement, Var, outputs, taken, walk
from .compose import Assign, Composer, Def, Return
from .names import free
from .tree import tree


class Lines(Protocol):
    """What writes the lines of a function."""

    out: Composer
    around: set[str]
    """Names of loops and functions that lines are written in now."""

    def reserved(self) -> set[str]:
        """Names that nothing of the function may have."""

    def read(self, var: Var) -> ast.expr:
        """A tensor where it is read."""

    def body(self, statements: Sequence[Statement]) -> None:
        """Adds the lines of these statements."""


@dataclass(frozen=True, slots=True)
class Functions:
    """The `scan`, `map`, `cond` and `while_loop` of `module`, which go along the first axis.

    `moved` moves an axis of a tensor. Where a scan stacks only what it carries, `zeros` gives what
    else is stacked a place among that; it is None where a step gives both. The functions of a
    `while_loop` take what is carried as one argument each, or, where `whole`, as one tuple.
    """

    module: str
    moved: Callable[[ast.expr, int, int], ast.expr]
    zeros: Callable[[Var], ast.expr] | None = None
    whole: bool = False

    def write(self, lines: Lines, statement: Apply) -> None:
        """Adds the lines of a statement with regions."""
        match statement.op.name:
            case "scan":
                folded(lines, statement, self)
            case "if":
                _chosen(lines, statement, self)
            case "while":
                _looped(lines, statement, self)


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan by what its tensors are for; each field has one for each carry, element or stack."""

    initial: tuple[Var, ...]
    current: tuple[Var, ...]
    following: tuple[Var, ...]
    results: tuple[Var, ...]
    sources: tuple[Var, ...]
    elements: tuple[Var, ...]
    collected: tuple[Var, ...]
    stacks: tuple[Var, ...]
    axis: int
    reverse: bool
    region: Region

    @classmethod
    def of(cls, statement: Apply) -> Scan:
        """The parts of a statement whose op is `scan`."""
        (region,) = statement.regions
        n, m = statement.values["carried"], statement.values["scanned"]
        given = tuple(var for var in statement.inputs if var is not None)
        return cls(
            given[:n], region.inputs[:n], region.outputs[:n], statement.outputs[:n],
            given[n : n + m], region.inputs[n : n + m], region.outputs[n:], statement.outputs[n:],
            statement.values["axis"], statement.values["reverse"], region,
        )  # fmt: skip

    def along(self, var: Var) -> int:
        """Which axis of a tensor that is scanned, or of a stack, the steps are."""
        return min(self.axis, var.type.rank - 1)


def in_place(region: Region, current: Sequence[Var], following: Sequence[Var]) -> list[bool]:
    """Which carries may be one variable, assigned where their next value is made: nothing reads
    the old one after that."""
    return [_in_place(region, var, after, following) for var, after in
            zip(current, following, strict=True)]  # fmt: skip


def _in_place(region: Region, var: Var, after: Var, following: Sequence[Var]) -> bool:
    made = [i for i, s in enumerate(region.body) if after in outputs(s)]
    if not made or following.count(after) > 1 or var in region.outputs:
        return False
    (at,) = made
    maker = region.body[at]
    later = region.body[at + 1 :]
    if not isinstance(maker, Call) and (not isinstance(maker, Apply) or maker.regions):
        later = region.body[at:]
    return var not in {v for s in walk(later) for v in taken(s)}


def function(
    lines: Lines,
    wish: str,
    params: Sequence[tuple[str, Sequence[Var]]],
    region: Region,
    result: ast.expr,
) -> ast.expr:
    """Adds a function that runs a region; each of its arguments is one tensor, or, under the name
    given, a tuple of several. Returns what it is called."""
    name = free(wish, {*lines.reserved(), *lines.around})
    lines.around.add(name)
    line = Def(name, [])
    for called, variables in params:
        kind = Var(called, variables[0].type) if len(variables) > 1 else None
        line.params.append(kind or (variables[0] if variables else None))
        if kind is not None:
            line.body.append(Assign(list(variables), lines.out.ref(kind)))
    outside, lines.out.lines = lines.out.lines, line.body
    lines.body(region.body)
    line.body.append(Return(result))
    lines.around.discard(name)
    lines.out.lines = outside
    lines.out.lines.append(line)
    return ast.Name(name, ast.Load())


def folded(lines: Lines, statement: Apply, functions: Functions) -> None:
    """`h, ys = scan(step, h, xs)`, or `ys = map(step, xs)` where nothing is carried."""
    s = Scan.of(statement)
    xs = packed([functions.moved(lines.read(x), s.along(x), 0) for x in s.sources])
    raw = {y: Var(y.name, y.type) if s.along(y) else y for y in s.stacks}
    if s.current:
        _scanned(lines, s, functions, xs, list(raw.values()))
    else:
        made = packed([lines.read(v) for v in s.collected])
        step = function(lines, "step", [("inputs", s.elements)], s.region, made)
        value = tree(f"{functions.module}.map({{step}}, {{xs}})", step=step, xs=xs)
        lines.out.lines.append(Assign(list(raw.values()), value))
    for y, stack in raw.items():
        if stack is not y:
            value = functions.moved(lines.out.ref(stack), 0, s.along(y))
            lines.out.lines.append(Assign([y], value))


def _scanned(
    lines: Lines, s: Scan, functions: Functions, xs: ast.expr, stacks: Sequence[Var]
) -> None:
    """The function of a step, and the line that scans with it, which gives `stacks`."""
    carried = [*zip(s.current, s.initial, s.following, s.results, strict=True)]
    initial = [lines.read(v) for _, v, _, _ in carried]
    current, after, results = ([c[i] for c in carried] for i in (0, 2, 3))
    collected = list(s.collected)
    if functions.zeros is not None:  # what is stacked is what is carried
        more = [v for v in dict.fromkeys(collected) if v not in after]
        initial += [functions.zeros(v) for v in more]
        current += [Var("", v.type) for v in more]
        results += [Var("", v.type) for v in more]
        of = dict(zip(collected, stacks, strict=True))
        collected = after = [*after, *more]
        stacks = [of.get(v) or Var("", v.type) for v in collected]
    made = [packed([lines.read(v) for v in each]) for each in (after, collected)]
    params = [("carry", current), ("inputs", s.elements)]
    step = function(lines, "step", params, s.region, ast.Tuple(made, ast.Load()))
    value = tree(
        f"{functions.module}.scan({{step}}, {{carry}}, {{xs}}, reverse={{reverse}})",
        step=step, carry=packed(initial), xs=xs,
        reverse=ast.Constant(True) if s.reverse else None,
    )  # fmt: skip
    lines.out.lines.append(Assign([*results, *stacks], value, groups=(len(results), len(stacks))))


def _chosen(lines: Lines, statement: Apply, functions: Functions) -> None:
    """`y = cond(condition, then, otherwise)`."""
    condition = statement.inputs[0]
    assert condition is not None
    arms = [
        function(lines, wish, [], region, packed([lines.read(v) for v in region.outputs]))
        for wish, region in zip(("then", "otherwise"), statement.regions, strict=True)
    ]
    value = tree(f"{functions.module}.cond({{c}}, *{{arms}})", c=lines.read(condition), arms=arms)
    lines.out.lines.append(Assign(list(statement.outputs), value))


def _looped(lines: Lines, statement: Apply, functions: Functions) -> None:
    """`h = while_loop(going, step, h)`."""
    n = statement.values["carried"]
    made = []
    for wish, region in zip(("going", "step"), statement.regions, strict=True):
        inner = region.inputs[:n]
        whole = [("carry", inner)] if functions.whole else [("", [v]) for v in inner]
        result = packed([lines.read(v) for v in region.outputs])
        made.append(function(lines, wish, whole, region, result))
    initial = packed([lines.read(v) for v in statement.inputs[:n] if v is not None])
    value = tree(f"{functions.module}.while_loop(*{{fs}}, {{xs}})", fs=made, xs=initial)
    lines.out.lines.append(Assign(list(statement.outputs), value))


def packed(items: Sequence[ast.expr]) -> ast.expr:
    """One expression by itself, several as a tuple, none as None."""
    if not items:
        return ast.Constant(None)
    return items[0] if len(items) == 1 else ast.Tuple(list(items), ast.Load())


__all__ = ["Functions", "Lines", "Scan", "folded", "function", "in_place", "packed"]
