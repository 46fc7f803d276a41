"""Calls: what a class is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import expr
from ...expr import Expr
from ...graph import Scope
from ...program import Call, Class, Hyper, Var
from .frame import agree, plain, same

if TYPE_CHECKING:
    from .body import Part


def merge_call(part: Part) -> Call:
    """The call of one class that all frames of `part` make."""
    scopes = [item.scope for item in part.items if item.scope is not None]
    cls = agree(part.frames, [part.builder.class_of(s) for s in scopes])
    member = part.member(scopes)
    assert member is not None
    _fix(part, scopes)
    made = [part.builder.made[s] for s in scopes]
    inputs = {
        name: part.body.operand(part.frames, [m.inputs[name] for m in made]) for name in cls.inputs
    }
    args = _args(part, scopes, cls)
    sizes = {
        name: part.sizes.expression(inputs[source].type.shape[axis])  # type: ignore[union-attr]
        for name, (source, axis) in cls.sizes.items()
        if name in cls.init_names
    }
    for used in (*args.values(), *sizes.values()):
        part.builder.uses_init(used)
    outputs = _outputs(part, scopes, cls, inputs, args)
    first = part.builder.first_use(member, part.body.arms)
    return Call(cls, member, tuple(inputs.values()), outputs, args, sizes, first)


def _fix(part: Part, scopes: Sequence[Scope]) -> None:
    """Fixes what the caller passes for what the class is written for one value of."""
    for i, scope in enumerate(scopes):
        given = [scope.exprs.get(name) for name in part.builder.made[scope].fixed]
        part.builder.freeze([part.bound(source, i) for source in given])


def _args(part: Part, scopes: Sequence[Scope], cls: Class) -> dict[str, Expr]:
    """The hyper-parameters that the caller gives, or that differ from the class's default."""
    args = {}
    for hyper in cls.params:
        values = [s.values[hyper.name] for s in scopes]
        sources = [part.bound(s.exprs.get(hyper.name), i) for i, s in enumerate(scopes)]
        if sources[0] is None and _is_default(hyper, values):
            continue
        args[hyper.name] = part.common(values, sources)
    return args


def _is_default(hyper: Hyper, values: Sequence[object]) -> bool:
    """Whether all values are what the class's signature says by itself."""
    if hyper.default is None or expr.names(hyper.default):
        return False
    default = plain(expr.evaluate(hyper.default, {}))
    return all(same(default, plain(value)) for value in values)


def _outputs(
    part: Part,
    scopes: Sequence[Scope],
    cls: Class,
    inputs: Mapping[str, Var | None],
    args: Mapping[str, Expr],
) -> tuple[Var, ...]:
    env = part.sizes.attributes(args, {h.name: h.value for h in cls.params})
    for name, (source, axis) in cls.sizes.items():
        given = inputs.get(source)
        if given is not None:
            env[name] = given.type.shape[axis]
    env |= _told(part, cls, args)
    outputs = []
    for name, var in cls.outputs.items():
        values = [part.builder.made[s].outputs[name] for s in scopes]
        candidate = part.builder.translate(var.type, env)
        kind = part.sizes.type(candidate, [v.type for v in values])
        outputs.append(Var(part.called(values[0]), kind, values[0].order))
        part.register([[v] for v in values], [outputs[-1]])
    return tuple(outputs)


def _told(part: Part, cls: Class, args: Mapping[str, Expr]) -> dict[str, Any]:
    """What a callee's hyper-parameters tell of its sizes, `widths[-1]`, in names of the caller."""
    told = {name: e for name, e in cls.chosen.items() if expr.names(e) <= args.keys()}
    return part.sizes.attributes({n: expr.substitute(e, args) for n, e in told.items()}, {})


__all__ = ["merge_call"]
