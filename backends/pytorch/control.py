"""Scans, loops and choices on data as plain Python: PyTorch runs them as they stand."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Region, Var, outputs
from ..source.compose import Assign, Break, Do, For, When
from ..source.control import Scan, in_place, packed
from ..source.lists import zipped
from ..source.names import free
from ..source.tree import tree

if TYPE_CHECKING:
    from .computation import Forward


def written(forward: Forward, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    rules = {"scan": scan, "if": choose, "while": loop}
    rules[statement.op.name](forward, statement)


def choose(forward: Forward, statement: Apply) -> None:
    """`if condition:`, whose arms assign the same names."""
    out, condition = forward.out, statement.inputs[0]
    assert condition is not None
    line = When(forward.read(condition))
    for region, arm in zip(statement.regions, (line.then, line.orelse), strict=True):
        made = {var for each in region.body for var in outputs(each)}
        pairs = [*zip(statement.outputs, region.outputs, strict=True)]
        direct = [v in made and region.outputs.count(v) == 1 for v in region.outputs]
        for (result, var), same in zip(pairs, direct, strict=True):
            out.join(result, *((var,) if same else ()))
        outside, out.lines = out.lines, arm
        forward.body(region.body)
        for (result, var), same in zip(pairs, direct, strict=True):
            if not same:
                forward.define([result], forward.read(var))
        out.lines = outside
    out.lines.append(line)


def loop(forward: Forward, statement: Apply) -> None:
    """`while condition:`, or a loop of so many steps that ends where that does not hold."""
    out, n = forward.out, statement.values["carried"]
    going, step = statement.regions
    current, following = step.inputs[:n], step.outputs
    plain = _carried(forward, step, current, following, statement.outputs)
    for start, now, again in zip(statement.inputs, current, going.inputs[:n], strict=False):
        assert start is not None
        out.join(now, again)
        forward.define([now], forward.read(start))
    bound = statement.values["bound"]
    turns = tree("range({n})", n=literal(bound)) if bound else literal(True)
    line = For(expr.name("_"), turns)
    outside, out.lines = out.lines, line.body
    forward.body(going.body)
    end = tree("not {x}", x=forward.read(going.outputs[0]))
    out.lines.append(When(end, [Break()]))
    forward.body(step.body)
    _advance(forward, current, following, plain)
    out.lines = outside
    out.lines.append(line)


def scan(forward: Forward, statement: Apply) -> None:
    """`for x_t in x.unbind(1):`; what is collected is appended to lists, and stacked behind."""
    s = Scan.of(statement)
    out = forward.out
    plain = _carried(forward, s.region, s.current, s.following, s.results)
    for current, initial in zip(s.current, s.initial, strict=True):
        forward.define([current], forward.read(initial))
    lists = [Var(_list_name(y, x), y.type) for y, x in zip(s.stacks, s.collected, strict=True)]
    for each in lists:
        out.join(each)
        forward.define([each], ast.List([], ast.Load()))
    loop = _header(forward, s)
    outside, out.lines = out.lines, loop.body
    forward.around |= expr.names(loop.target)
    forward.body(s.region.body)
    for each, y in zip(lists, s.collected, strict=True):
        out.lines.append(Do(tree("{ys}.append({y})", ys=out.ref(each), y=forward.read(y))))
    _advance(forward, s.current, s.following, plain)
    forward.around -= expr.names(loop.target)
    out.lines = outside
    out.lines.append(loop)
    for each, y in zip(lists, s.stacks, strict=True):
        template = "torch.stack({ys}[::-1], dim={d})" if s.reverse else "torch.stack({ys}, dim={d})"
        at = s.along(y)
        forward.define([y], tree(template, ys=out.ref(each), d=literal(at) if at else None))


def _list_name(stack: Var, element: Var) -> str:
    return stack.name or (f"{element.name}s" if element.name else "steps")


def _carried(
    forward: Forward,
    region: Region,
    current: tuple[Var, ...],
    following: tuple[Var, ...],
    results: tuple[Var, ...],
) -> list[bool]:
    """Makes one variable of each carry, and, where that is right, of its next value."""
    plain = in_place(region, current, following)
    for now, after, result, same in zip(current, following, results, plain, strict=True):
        forward.out.join(now, *((after,) if same else ()), result)
    return plain


def _advance(
    forward: Forward, current: tuple[Var, ...], following: tuple[Var, ...], plain: list[bool]
) -> None:
    """`a, b = b, a + b`, for the carries that are no variable of their own."""
    rest = [i for i, same in enumerate(plain) if not same and current[i] is not following[i]]
    if rest:
        values = packed([forward.read(following[i]) for i in rest])
        forward.out.lines.append(Assign([current[i] for i in rest], values))


def _header(forward: Forward, s: Scan) -> For:
    """`for x_t, keep_t in zip(x.unbind(1), keep.unbind(1), strict=True)`."""
    pairs: list[tuple[Expr, Expr]] = []
    taken = {*forward.taken, *forward.scope.locals, *forward.cls.inputs, *forward.around}
    for source, element in zip(s.sources, s.elements, strict=True):
        name = free(element.name or "x_t", taken)
        taken.add(name)
        forward.fixed[element] = expr.name(name)
        at = s.along(source)
        steps = tree("{x}.unbind({d})", x=forward.read(source), d=literal(at) if at else None)
        pairs.append(
            (forward.fixed[element], tree("reversed({x})", x=steps) if s.reverse else steps)
        )
    return zipped(pairs)


__all__ = ["written"]
