"""Layers whose weights others read: their weights become the class's own tensors.

A layer of Keras keeps its weights to itself: a variable may be used only inside a layer, and with
another's the saved model would hold two. So such a layer is written as an op on tensors. But not an
embedding that gives logits as well: that Keras has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...compiler.expr import Expr, literal
from ...compiler.graph import Init, Weight
from ...compiler.ops.index import GATHER
from ...compiler.program import Apply, Class, Parameter, Program, Statement, WeightVar, walk
from ..source.computation import taken

RELEASED = ("linear", "conv", "embedding")
"""The ops that are written on tensors as shortly."""


@dataclass(eq=False, slots=True)
class Released(Parameter):
    """A tensor that was a layer's; `kernel` is the shape of the layer's weight, as it starts."""

    kernel: tuple[Expr, ...] = ()


def release(program: Program) -> None:
    """Takes apart the layers of which a weight is read elsewhere."""
    for cls in program.classes:
        reads = list(_reads(cls))
        names = {v.member.name for s, v in reads if v.member and not _reverses(cls, s, v)}
        for name in names:
            applied = [s for s in walk(cls.body) if isinstance(s, Apply) and _is(s, name)]
            if applied and all(s.op.name in RELEASED for s in applied):
                _take(program, cls, name, applied, [v for _, v in reads])


def _reads(cls: Class) -> Iterator[tuple[Statement | None, WeightVar]]:
    """What takes weights of layers as tensors, None where they leave the class."""
    for statement in walk(cls.body):
        for var in taken(statement):
            if isinstance(var, WeightVar) and var.member is not None and not var.member.listed:
                yield statement, var
    for var in (*cls.outputs.values(), *(new for _, new in cls.updates)):
        if isinstance(var, WeightVar) and var.member is not None and not var.member.listed:
            yield None, var


def _is(statement: Apply, name: str) -> bool:
    """Whether it applies the layer of that name."""
    return statement.member is not None and statement.member.name == name


def _reverses(cls: Class, statement: Statement | None, var: WeightVar) -> bool:
    """Whether it gives logits from the weight of an embedding that is applied before."""
    if not isinstance(statement, Apply) or statement.op.name != "linear" or statement.member:
        return False
    assert var.member is not None
    of_it = (s for s in walk(cls.body) if isinstance(s, Apply) and _is(s, var.member.name))
    first = next(of_it, None)
    return (
        statement.inputs[1:3] == (var, None)
        and first is not None
        and first.op.name == "embedding"
        and next(s for s in walk(cls.body) if s in (first, statement)) is first
    )


def _take(
    program: Program, cls: Class, name: str, applied: list[Apply], reads: list[WeightVar]
) -> None:
    """Makes the weights of a layer tensors of the class, and its applications ops on them."""
    kinds = applied[0].weights
    found = {v.part: v for v in reads if v.member is not None and v.member.name == name}
    kernel = tuple(literal(size) for size in kinds["weight"].shape)
    made: dict[str, WeightVar] = {}
    for weight, path in _weights(program, cls, name):
        part = weight.part
        program.weights[weight] = (*path[:-2], (f"{name}_{part}", None))
        if part not in made:
            var = found.get(part) or WeightVar("", kinds[part], weight.order)
            var.member, var.type = None, kinds[part]
            var.part = var.name = f"{name}_{part}"
            shape = tuple(literal(size) for size in kinds[part].shape)
            init = Init("fan_uniform") if weight.init.kind == "fan_uniform" else weight.init
            cls.parameters.append(Released(var.name, shape, kinds[part], init, weight.trainable,
                                           weight.site, var, kernel))  # fmt: skip
            made[part] = var
    for statement in applied:
        own = [made.get(slot.rstrip("?")) for slot in statement.op.weights]
        given = statement.inputs[: len(statement.op.inputs)]
        statement.inputs = (*given, *own)
        statement.member, statement.weights = None, {}
        if statement.op.name == "embedding":
            statement.op, statement.inputs = GATHER, (*own, *given)
            statement.attrs, statement.values = {"axis": literal(0)}, {"axis": 0}


def _weights(
    program: Program, cls: Class, name: str
) -> Iterator[tuple[Weight, tuple[tuple[str, int | None], ...]]]:
    """The weights of the class's layer of that name, in all its instances, and where they are."""
    for weight, path in tuple(program.weights.items()):
        layer = weight.layer
        if layer is None or layer.scope.block not in cls.scopes:
            continue
        if [key for key, _ in path[-2:]] == [name, weight.part]:
            yield weight, path
