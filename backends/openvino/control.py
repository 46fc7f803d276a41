"""Scans, loops and choices on data: bodies are models of their own, which see nothing outside."""

from __future__ import annotations

import ast
from collections.abc import Container
from typing import TYPE_CHECKING

from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Var, WeightVar
from ..source.compose import Def, Return, expressions
from ..source.control import Scan
from ..source.names import free
from ..source.tree import tree

if TYPE_CHECKING:
    from .printer import Graph

SCAN = '''\
def scan(self, step, carries, xs, read=(), axis=0, reverse=False) -> list[ov.Output]:
    """Run a step for each place on an axis; give the last carries, and stacks of the rest.

    The step sees nothing but its arguments: the carries, an element of each of xs, and read.
    """

    def port(x: ov.Node | ov.Output) -> ov.Output:
        return x.output(0) if isinstance(x, ov.Node) else x

    def rank(x: ov.Node | ov.Output) -> int:
        return port(x).get_partial_shape().rank.get_length()

    def backwards(x: ov.Node | ov.Output, at: int) -> ov.Node:
        return ops.slice(x, [-1], [-(2**31)], [-1], [at])

    n, m = len(carries), len(carries) + len(xs)
    places = [min(axis, rank(x) - 1) for x in xs]
    if reverse:
        xs = [backwards(x, at) for x, at in zip(xs, places, strict=True)]
    outer = [port(x) for x in (*carries, *xs, *read)]
    inner = [ops.parameter(x.get_partial_shape(), x.get_element_type()) for x in outer]
    for x, at in zip(inner[n:m], places, strict=True):
        shape = x.get_partial_shape()
        shape[at] = 1
        x.set_partial_shape(shape)
        x.validate_and_infer_types()
    elements = [ops.squeeze(x, [at]) for x, at in zip(inner[n:m], places, strict=True)]
    made = [*step(*inner[:n], *elements, *inner[m:])]
    ends = [min(axis, rank(y)) for y in made[n:]]
    made[n:] = [ops.unsqueeze(y, [at]) for y, at in zip(made[n:], ends, strict=True)]
    results = [ops.result(y) for y in (*made, ops.constant([True]))]
    length = ops.gather(ops.shape_of(outer[n]), [places[0]], 0)
    loop = ops.loop(length, ops.constant([True]))
    loop.set_function(ov.Model(results, inner, "step"))
    loop.set_special_body_ports([-1, len(made)])
    made = [y.output(0) for y in results[:-1]]
    for x, start, y in zip(inner[:n], outer[:n], made[:n], strict=True):
        loop.set_merged_input(x, start, y)
    for x, whole, at in zip(inner[n:m], outer[n:m], places, strict=True):
        loop.set_sliced_input(x, whole, 0, 1, 1, -1, at)
    for x, whole in zip(inner[m:], outer[m:], strict=True):
        loop.set_invariant_input(x, whole)
    stacks = [
        loop.get_concatenated_slices(y, 0, 1, 1, -1, at)
        for y, at in zip(made[n:], ends, strict=True)
    ]
    if reverse:
        stacks = [backwards(y, at) for y, at in zip(stacks, ends, strict=True)]
    return [*(loop.get_iter_value(y) for y in made[:n]), *map(port, stacks)]
'''


def written(graph: Graph, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    s = Scan.of(statement)
    step, read = _function(graph, s, statement)
    value = tree(
        "self.scan({step}, [*{carries}], [*{xs}], {read}, axis={axis}, reverse={reverse})",
        step=step, carries=[graph.read(v) for v in s.initial],
        xs=[graph.read(v) for v in s.sources], read=ast.List(read, ast.Load()) if read else None,
        axis=literal(s.axis) if s.axis else None,
        reverse=literal(True) if s.reverse else None,
    )  # fmt: skip
    outputs = [*s.results, *s.stacks]
    only = tree("{v}[0]", v=value) if len(outputs) == 1 else value
    graph.define(outputs, only)


def _function(graph: Graph, s: Scan, statement: Apply) -> tuple[Expr, list[Expr]]:
    """The function that builds the body, and what it must be handed besides."""
    out = graph.out
    name = free("step", {*graph.reserved(), *graph.around})
    graph.around.add(name)
    line = Def(name, [*s.current, *s.elements])
    outside, out.lines = out.lines, line.body
    shut = _shut(graph, statement, len(line.params))
    before = dict(graph.fixed)
    graph.fixed |= {var: out.ref(twin) for var, twin in shut.items()}
    graph.body(s.region.body)
    carried = [_computed(graph, v, {*s.current, *s.elements, *shut}) for v in s.following]
    results = [*carried, *(graph.read(v) for v in s.collected)]
    line.body.append(Return(ast.List(results, ast.Load())))
    graph.fixed = before
    reads = {v for each in expressions(line.body) for v in out.reads(each)}
    sizes = {v: Var(v.name, v.type) for v in graph.sizes.vars.values()
             if out.leader(v) in reads and graph.sizes.open(out.ref(v))}  # fmt: skip
    out.inline({out.leader(v): out.ref(twin) for v, twin in sizes.items()})
    graph.around.discard(name)
    out.lines = outside
    out.lines.append(line)
    used = [var for var, twin in shut.items() if out.leader(twin) in reads]
    line.params += [shut[var] for var in used] + list(sizes.values())
    given = [*(graph.read(var) for var in used), *map(out.ref, sizes)]
    return ast.Name(name, ast.Load()), given


VIEWS = frozenset(
    {
        *("identity", "relayout", "stop_gradient", "reshape", "flatten", "squeeze", "unsqueeze"),
        *("slice", "split", "expand", "cast", "concat", "stack", "gather"),
    }
)
"""Ops whose result may be memory of their input."""


def _computed(graph: Graph, var: Var, given: Container[Var]) -> Expr:
    """A carry as it goes to the next step. What only hands memory on is overwritten there before it
    is read: OpenVINO's CPU then computes with other numbers, and says nothing."""
    value = graph.read(var)
    made = graph.made.get(var)
    if var not in given and made is not None and made.op.name not in VIEWS:
        return value
    larger = "logical_or" if var.type.dtype == "bool" else "maximum"
    return tree(f"ops.{larger}({{x}}, {{x}})", x=value)


def _shut(graph: Graph, statement: Apply, own: int) -> dict[Var, Var]:
    """What the body reads of outside, with what it is inside; constants it makes anew."""
    given = [v for v in statement.inputs[own:] if v is not None]
    return {
        v: Var(v.name, v.type)
        for v in given
        if v not in graph.numbers and (v in graph.held or not isinstance(v, WeightVar))
    }


__all__ = ["SCAN", "written"]
