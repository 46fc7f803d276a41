"""Scans, loops and choices on data: bodies are models of their own, which see nothing outside."""

from __future__ import annotations

import ast
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.program import (
    Apply,
    Call,
    Region,
    Statement,
    Var,
    WeightVar,
    outputs,
    walk,
)  # fmt: skip
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


LOOP = '''\
def loop(self, going, step, carries, read=(), bound=-1) -> list[ov.Output]:
    """Run a step as long as `going` is true, at most `bound` times; give the last carries.

    Both see nothing but their arguments: the carries, and `read`.
    """
    outer = [x.output(0) if isinstance(x, ov.Node) else x for x in (*carries, *read)]
    inner = [ops.parameter(x.get_partial_shape(), x.get_element_type()) for x in outer]
    n = len(carries)
    made = [*step(*inner)]
    results = [ops.result(y) for y in (*made, *going(*made, *inner[n:]))]
    loop = ops.loop(ops.constant(bound), *going(*outer))
    loop.set_function(ov.Model(results, inner, "step"))
    loop.set_special_body_ports([-1, n])
    for x, start, y in zip(inner[:n], outer[:n], results[:n], strict=True):
        loop.set_merged_input(x, start, y.output(0))
    for x, whole in zip(inner[n:], outer[n:], strict=True):
        loop.set_invariant_input(x, whole)
    return [loop.get_iter_value(y.output(0)) for y in results[:n]]
'''

METHODS = {"self.scan(": SCAN, "self.loop(": LOOP}
"""What a call looks like, and the method that it calls."""


def written(graph: Graph, statement: Apply) -> None:
    """Adds the lines of a statement with regions."""
    if statement.op.name == "if":
        _choose(graph, statement)
        return
    value = (_scan if statement.op.name == "scan" else _loop)(graph, statement)
    only = tree("{v}[0]", v=value) if len(statement.outputs) == 1 else value
    graph.define(statement.outputs, only)


def _scan(graph: Graph, statement: Apply) -> Expr:
    s = Scan.of(statement)
    own = [*s.current, *s.elements]
    step = _Function(graph, "step", own, s.region, statement.inputs[len(own) :], len(s.current))
    read = _handed(graph, [step])
    return tree(
        "self.scan({step}, [*{carries}], [*{xs}], {read}, axis={axis}, reverse={reverse})",
        step=step.name, carries=[graph.read(v) for v in s.initial],
        xs=[graph.read(v) for v in s.sources], read=read,
        axis=literal(s.axis) if s.axis else None,
        reverse=literal(True) if s.reverse else None,
    )  # fmt: skip


def _choose(graph: Graph, statement: Apply) -> None:
    """Both arms, and `select`: in a model with several of them and open sizes, OpenVINO's If gives
    memory that nobody has written at the first call."""
    condition, *_ = statement.inputs
    assert condition is not None
    for inner in (s for region in statement.regions for s in walk(region.body)):
        if isinstance(inner, Apply) and inner.op.name == "while" and not inner.values["bound"]:
            text = "an arm of an `if` with a `while` that has no bound, which OpenVINO would run"
            raise MlcError("unsupported", text, help="`while condition, at most 10:`")
    for region in statement.regions:
        graph.body(region.body)
    arms = (region.outputs for region in statement.regions)
    for result, a, b in zip(statement.outputs, *arms, strict=True):
        chosen = tree(
            "ops.select({c}, {a}, {b})", c=graph.read(condition), a=graph.read(a), b=graph.read(b)
        )
        graph.define([result], chosen)


def _loop(graph: Graph, statement: Apply) -> Expr:
    n, bound = statement.values["carried"], statement.values["bound"]
    parts = [
        _Function(graph, wish, region.inputs[:n], region, statement.inputs[n:], count)
        for wish, region, count in zip(("going", "step"), statement.regions, (0, n), strict=True)
    ]
    read = _handed(graph, parts)
    carries = [graph.read(v) for v in statement.inputs[:n] if v is not None]
    return tree(
        "self.loop(*{fs}, [*{carries}], {read}, bound={bound})",
        fs=[part.name for part in parts], carries=carries, read=read,
        bound=None if bound is None else literal(bound),
    )  # fmt: skip


class _Function:
    """A function that builds a body, on `own` and whatever it reads of `outside`; its first
    `carried` results go to the next step."""

    def __init__(
        self,
        graph: Graph,
        wish: str,
        own: Sequence[Var],
        region: Region,
        outside: Sequence[Var | None],
        carried: int,
    ) -> None:
        out = graph.out
        name = free(wish, {*graph.reserved(), *graph.around})
        graph.around.add(name)
        self.name: Expr = ast.Name(name, ast.Load())
        self.line = Def(name, list(own))
        self.twins = _shut(graph, outside)
        around, out.lines = out.lines, self.line.body
        before = dict(graph.fixed)
        graph.fixed |= {var: out.ref(twin) for var, twin in self.twins.items()}
        graph.body(region.body)
        given = {*own, *self.twins}
        results = [
            _computed(graph, v, given) if i < carried else graph.read(v)
            for i, v in enumerate(region.outputs)
        ]
        self.line.body.append(Return(ast.List(results, ast.Load())))
        graph.fixed = before
        reads = {v for each in expressions(self.line.body) for v in out.reads(each)}
        sizes = {v: Var(v.name, v.type) for v in graph.sizes.vars.values()
                 if out.leader(v) in reads and graph.sizes.open(out.ref(v))}  # fmt: skip
        out.inline({out.leader(v): out.ref(twin) for v, twin in sizes.items()})
        self.read = [var for var, twin in self.twins.items() if out.leader(twin) in reads]
        self.read += sizes
        self.twins |= sizes
        graph.around.discard(name)
        out.lines = around
        out.lines.append(self.line)


def _handed(graph: Graph, functions: Sequence[_Function]) -> Expr | None:
    """What functions must be handed besides their own arguments, which is the same for all."""
    read = list(dict.fromkeys(var for each in functions for var in each.read))
    for each in functions:
        each.line.params += [each.twins.get(var) or Var(var.name, var.type) for var in read]
    sizes = set(graph.sizes.vars.values())
    given = [graph.out.ref(var) if var in sizes else graph.read(var) for var in read]
    return ast.List(given, ast.Load()) if given else None


VIEWS = frozenset(
    {
        *("identity", "relayout", "stop_gradient", "reshape", "flatten", "squeeze", "unsqueeze"),
        *("slice", "split", "expand", "cast", "concat", "stack", "gather", "scan", "if", "while"),
    }
)
"""Ops whose result may be memory of their input."""


def _computed(graph: Graph, var: Var, given: Container[Var]) -> Expr:
    """A carry as it goes to the next step. What only hands memory on is overwritten there before it
    is read: OpenVINO's CPU then computes with other numbers, and says nothing."""
    value = graph.read(var)
    if var not in given and _fresh(var, graph.cls.body):
        return value
    larger = "logical_or" if var.type.dtype == "bool" else "maximum"
    return tree(f"ops.{larger}({{x}}, {{x}})", x=value)


def _fresh(var: Var, body: Sequence[Statement]) -> bool:
    """Whether a tensor is memory of its own, as what is computed is."""
    made = next((s for s in walk(body) if var in outputs(s)), None)
    match made:
        case Apply(op=op):
            return op.name not in VIEWS
        case Call(cls=cls):
            result = [*cls.outputs.values()][made.outputs.index(var)]
            return _fresh(result, cls.body)
    return False


def _shut(graph: Graph, outside: Sequence[Var | None]) -> dict[Var, Var]:
    """What is read of outside, with what it is inside; constants are made anew there."""
    return {
        v: Var(v.name, v.type)
        for v in outside
        if v is not None
        and v not in graph.numbers
        and (v in graph.held or not isinstance(v, WeightVar))
    }


__all__ = ["METHODS", "written"]
