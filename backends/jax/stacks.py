"""Loops over equal layers as one layer whose arrays have an axis for them, and a scan along it.

What is traced and compiled is then one turn of the loop, however many there are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from ...compiler import expr
from ...compiler.expr import Expr, names
from ...compiler.program import (
    Apply,
    Call,
    Carried,
    Chain,
    Class,
    If,
    Program,
    Repeat,
    Statement,
    Var,
    WeightVar,
    Whole,
    walk,
)  # fmt: skip
from ...compiler.weight import Entry, Step
from ..source.draws import draws
from .policy import Policy

Held: TypeAlias = "tuple[Class, str]"
"""What a class holds under a name."""


def loops(program: Program) -> Iterator[Repeat]:
    """The loops that can be scanned: each turn calls one more of equal blocks with what the one
    before gave, and with tensors that are the same for all."""
    for cls in program.classes:
        for statement in cls.body:
            if isinstance(statement, Repeat) and _alike(cls, statement):
                yield statement


def held(program: Program, stacks: Set[Repeat]) -> frozenset[Held]:
    """What holds the layers of these loops."""
    return frozenset(
        (cls, turn(loop).call.member.name)
        for cls in program.classes
        for loop in cls.body
        if isinstance(loop, Repeat) and loop in stacks
    )


@dataclass(frozen=True)
class Turn:
    """What a turn of a loop is: a call on what is carried, then on a slice of each of `each`, then
    on `rest`. What it gives besides goes into `lists`, None for what nothing wants."""

    call: Call
    carried: Carried
    each: tuple[Var, ...]
    rest: tuple[Var, ...]
    lists: tuple[Var | None, ...]

    @property
    def more(self) -> bool:
        """Whether it takes or gives more than what is carried, and what is the same for all."""
        return bool(self.each or self.lists)

    @classmethod
    def of(cls, loop: Repeat) -> Turn | None:
        """That of a loop, if it is nothing else."""
        calls = [s for s in loop.body if isinstance(s, Call)]
        picked = _picked(loop)
        if len(calls) != 1 or len(loop.carried) != 1 or picked is None:
            return None
        (call,), (carried,) = calls, loop.carried
        first, *others = call.inputs
        each = tuple(picked[v] for v in others if v in picked)
        rest = tuple(v for v in others[len(each) :] if v is not None)
        alike = first is carried.current and call.outputs[0] is carried.next
        ordered = all(v in picked for v in others[: len(each)])
        if not alike or not ordered or len(each) + len(rest) < len(others) or first in rest:
            return None
        return cls(call, carried, each, rest, tuple(map(loop.collects.get, call.outputs[1:])))


def turn(loop: Repeat) -> Turn:
    """That of a loop which can be scanned."""
    found = Turn.of(loop)
    assert found is not None
    return found


def count_of(loop: Repeat) -> Expr:
    """How many turns it has, over the class's names."""
    match loop.table:
        case ast.Call(args=[count]) if loop.variables:  # `range(count)`, see `_one_each`
            return count
    return loop.table


def _picked(loop: Repeat) -> dict[Var | None, Var] | None:
    """By the slice of a tensor that each turn takes along the first axis (`keys[i]`), the tensor;
    None where a turn does anything else but one call."""
    made: dict[Var, Apply] = {}
    picked: dict[Var | None, Var] = {}
    for statement in loop.body:
        if isinstance(statement, Call):
            continue
        if not isinstance(statement, Apply) or not statement.inputs:
            return None
        x, attrs = statement.inputs[0], statement.attrs
        if x is None:
            return None
        if statement.op.name == "slice" and _one_each(loop, x, attrs):
            made[statement.outputs[0]] = statement
        elif statement.op.name == "squeeze" and x in made and expr.show(attrs["axes"]) == "(0,)":
            whole = made[x].inputs[0]
            assert whole is not None
            picked[statement.outputs[0]] = whole
        else:
            return None
    return picked if len(picked) == len(made) else None


def _one_each(loop: Repeat, x: Var, attrs: Mapping[str, Expr]) -> bool:
    """Whether it is the slice of `x` for this turn, and `x` has as many as there are turns."""
    if len(loop.variables) != 1 or not x.type.rank or (x.order or (0,))[0] != 0:
        return False
    (i,) = loop.variables
    wanted = {"starts": f"({i},)", "ends": f"({i} + 1,)", "axes": "(0,)", "steps": "1"}
    count = f"range({x.type.shape[0]})"
    same = all(expr.show(attrs[name]) == text for name, text in wanted.items())
    return same and expr.show(loop.table) == count


def _alike(cls: Class, loop: Repeat) -> bool:
    """Whether a loop of the class can be scanned."""
    found = Turn.of(loop)
    if found is None or loop.sizes or loop.elements or draws(found.call.cls):
        return False
    named = {n for e in (*found.call.args.values(), *found.call.sizes.values()) for n in names(e)}
    if named & {*loop.variables} or (loop.variables and not found.each):
        return False
    results = {v for v in loop.results if v is not found.carried.next}
    runs = (scope.loops.get(loop.loop.site) for scope in cls.scopes)
    if results or not all(one is not None and one.count > 0 for one in runs):
        return False
    carried = found.carried
    same = {_form(v) for v in (carried.initial, carried.current, carried.next)}
    return len(same) == 1 and _only(cls, found.call) and _stacked(cls, loop)


def _form(var: Var) -> tuple[object, ...]:
    return var.type.dtype, var.type.shape, var.order


def _only(cls: Class, turn: Call) -> bool:
    """Whether nothing else of the class uses the layers."""
    for statement in walk(cls.body):
        if not isinstance(statement, (Apply, Call)) or statement is turn:
            continue
        reads = [v.member for v in statement.inputs if isinstance(v, WeightVar)]
        if turn.member.name in {m.name for m in (statement.member, *reads) if m is not None}:
            return False
    return turn.member.listed and turn.first


def _stacked(cls: Class, loop: Repeat) -> bool:
    """Whether all that is done with the lists that the loop fills is to stack them."""
    lists = {*loop.collects.values()}
    read = [v for statement in walk(cls.body) for v in _read(statement)]
    others = [*read, *cls.outputs.values(), *(v for _, v in cls.updates)]
    collected = {*loop.collects} <= {*turn(loop).call.outputs[1:]}
    return collected and not any(getattr(v, "of", v) in lists for v in others)


def _read(statement: Statement) -> Iterable[Var]:
    """The tensors that a statement takes, but for the lists that it only stacks."""
    match statement:
        case Apply(op=op, inputs=(Whole(),), attrs=attrs) if op.name == "stack":
            return () if expr.show(attrs["axis"]) == "0" else _there(statement.inputs)
        case Apply(inputs=inputs) | Call(inputs=inputs):
            return _there(inputs)
        case Chain(input=given):
            return (given,)
        case Repeat(carried=carried, elements=elements):
            return (*(c.initial for c in carried), *(c.next for c in carried), *elements)
        case If(phis=phis):
            return (v for phi in phis for v in (phi.then, phi.orelse))
    raise AssertionError(statement)


def _there(inputs: Iterable[Var | None]) -> tuple[Var, ...]:
    return tuple(v for v in inputs if v is not None)


def joined(entries: Iterable[tuple[Entry, tuple[int, ...]]]) -> list[Entry]:
    """The entries of a weight map, those of one stack as one; each comes with its places there."""
    found: dict[str, list[tuple[tuple[int, ...], Entry]]] = {}
    for entry, places in entries:
        found.setdefault(entry.target, []).append((places, entry))
    result = []
    for target, each in found.items():
        each.sort(key=lambda pair: pair[0])
        (last, entry) = each[-1]
        if last:
            sources = tuple(source for _, one in each for source in one.sources)
            counts = tuple(place + 1 for place in last)
            entry = Entry(target, sources, (*entry.steps, Step("stack", counts)))
        result.append(entry)
    return result


def functions(policy: Policy) -> Iterator[str]:
    """`stack` makes such a layer, `scan` and `scan_each` apply it, as far as they are needed."""
    wide = ".astype(jnp.float32)" if policy.narrow else ""
    kinds = {turn(loop).more for loop in policy.stacks}
    yield STACK
    if False in kinds:
        yield SCAN.replace("WIDE", wide)
    if True in kinds:
        yield EACH.replace("WIDE", wide)


STACK = '''def stack(
    make: Callable[[nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs
) -> nnx.Module:
    """`count` modules as one, whose arrays have an axis for them in front."""
    return nnx.split_rngs(splits=count)(nnx.vmap(make, axis_size=count))(rngs)
'''

SCAN = '''def scan(layers: nnx.Module, x: jax.Array, *rest: jax.Array) -> jax.Array:
    """Apply stacked layers one after the other, as one that is compiled once."""

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def step(x: jax.Array, layer: nnx.Module) -> jax.Array:
        return layer(x, *rest)WIDE

    return step(xWIDE, layers)
'''

EACH = '''def scan_each(layers: nnx.Module, x: jax.Array, each: tuple, *rest: jax.Array) -> tuple:
    """Apply stacked layers one after the other, as one that is compiled once.

    Each takes its slice of the arrays in `each`; what they give besides x is stacked.
    """

    @nnx.scan(in_axes=(nnx.Carry, 0, 0), out_axes=(nnx.Carry, 0))
    def step(x: jax.Array, layer: nnx.Module, each: tuple) -> tuple:
        y = layer(x, *each, *rest)
        x, *more = y if isinstance(y, tuple) else (y,)
        return xWIDE, more

    x, more = step(xWIDE, layers, each)
    return x, *more
'''
