"""Loops over equal layers as one layer whose arrays have an axis for them, and a scan along it.

What is traced and compiled is then one turn of the loop, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import TypeAlias

from ...compiler.program import Apply, Call, Class, Program, Repeat, Var, WeightVar, walk
from ...compiler.weight import Entry, Step
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
        (cls, call(loop).member.name)
        for cls in program.classes
        for loop in cls.body
        if isinstance(loop, Repeat) and loop in stacks
    )


def call(loop: Repeat) -> Call:
    """The call that a turn of such a loop is."""
    (only,) = loop.body
    assert isinstance(only, Call)
    return only


def _alike(cls: Class, loop: Repeat) -> bool:
    if loop.variables or loop.sizes or loop.collects or loop.elements:
        return False
    if len(loop.carried) != 1 or len(loop.body) != 1 or not isinstance(loop.body[0], Call):
        return False
    (carried,), turn = loop.carried, call(loop)
    if turn.inputs[:1] != (carried.current,) or turn.outputs != (carried.next,):
        return False
    same = {_form(v) for v in (carried.initial, carried.current, carried.next)}
    again = [v for v in turn.inputs[1:] if v is carried.current or v is None]
    runs = (scope.loops.get(loop.loop.site) for scope in cls.scopes)
    if not all(one is not None and one.count > 0 for one in runs):
        return False
    return len(same) == 1 and not again and _only(cls, turn)


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


def functions(policy: Policy) -> str:
    """`stack` makes such a layer, and `scan` applies it."""
    wide = ".astype(jnp.float32)" if policy.narrow else ""
    return f'''def stack(
    make: Callable[[nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs
) -> nnx.Module:
    """`count` modules as one, whose arrays have an axis for them in front."""
    return nnx.split_rngs(splits=count)(nnx.vmap(make, axis_size=count))(rngs)


def scan(layers: nnx.Module, x: jax.Array, *rest: jax.Array) -> jax.Array:
    """Apply stacked layers one after the other, as one that is compiled once."""

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def step(x: jax.Array, layer: nnx.Module) -> jax.Array:
        return layer(x, *rest){wide}

    return step(x{wide}, layers)
'''
