"""Noise that emitted code draws: in which order, and what keeps it."""

from __future__ import annotations

import ast

from ...compiler.clone import clone
from ...compiler.expr import Expr
from ...compiler.graph import Graph, Input
from ...compiler.ops.draw import NOISE
from ...compiler.passes.noise import as_inputs
from ...compiler.program import Apply, Call, Class, Statement, Var, outputs, walk
from ..artefact import Port
from .parts import Parts


def draws(cls: Class) -> bool:
    """Whether a call of the class draws noise."""
    return any(map(_drawing, walk(cls.body)))


def draws_itself(cls: Class) -> bool:
    """Whether it does so in its own code."""
    return any(isinstance(s, Apply) and s.op is NOISE for s in walk(cls.body))


def _drawing(statement: Statement) -> bool:
    match statement:
        case Apply(op=op):
            return op is NOISE
        case Call(cls=cls):
            return draws(cls)
    return False


def lined(cls: Class) -> set[Var]:
    """What stays on lines of its own, so that draws keep their order: noise, and what is given by
    blocks that draw, where the class draws more than once."""
    found = [s for s in walk(cls.body) if _drawing(s)]
    if len(found) == 1:
        found = [s for s in found if isinstance(s, Apply)]
    return {var for s in found for var in outputs(s)}


def noise_ports(graph: Graph, prepared: Graph) -> tuple[Port, ...]:
    """What the code for `prepared`, made of `graph`, draws, in this order; named as `as_inputs`
    names it."""
    given: dict[str, Input] = as_inputs(clone(graph)[0])
    found = []
    for node in prepared:
        if node.op is NOISE:
            value = given[node.attrs["key"]]
            value.order = node.output.order
            found.append(Port.of(value, value.name))
    return tuple(found)


def shape_of(p: Parts) -> Expr:
    """The shape of noise, as it is stored."""
    order = p.apply.outputs[0].order
    shape: Expr = p["shape"]
    if order is None or not isinstance(shape, (ast.Tuple, ast.List)):
        return shape
    return ast.Tuple([shape.elts[axis] for axis in order], ast.Load())
