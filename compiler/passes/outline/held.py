"""What a layer holds in all frames of a class: its weights, and the flags that shapes depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import expr
from ...expr import Expr
from ...graph import Layer, Node, Type
from ...op import Op
from ...program import Var
from .frame import Unroll, agree
from .tree import around, own_weights, runs

if TYPE_CHECKING:
    from .body import Part


def held(
    part: Part, nodes: Sequence[Node], inputs: Sequence[Var | None], attrs: dict[str, Any]
) -> dict[str, Type]:
    """The types of the weights of a layer; Disagree where it has others in other frames."""
    # A later call of a shared layer takes the buffers as the call before has left them.
    own = [{**(n.layer.weights if n.layer else {}), **own_weights(n)} for n in nodes]
    if not own_weights(nodes[0]):
        return {}
    agree(part.frames, [frozenset(weights) for weights in own])
    op = nodes[0].op
    plain = [var.type if var else None for var in inputs[: len(op.inputs)]]
    made = part.sizes.params(op, plain, attrs)
    result = {}
    for name in own_weights(nodes[0]):
        types = [weights[name].type for weights in own]
        result[name] = part.sizes.type(made.get(name), types)
        for size in result[name].shape:
            part.builder.uses_init(part.sizes.expression(size))
    return result


def fix_flags(
    part: Part, op: Op, sources: Mapping[str, Expr], types: Sequence[Type | None],
    attrs: Mapping[str, Any],
) -> None:  # fmt: skip
    """Fixes the hyper-parameters that say a flag on which the shapes of results depend: the class
    is written for the shapes that they have."""
    for key, source in sources.items():
        if op.config[key].kind != "bool" or not expr.names(source):
            continue
        before = part.sizes.infer(op, types, attrs)
        after = part.sizes.infer(op, types, {**attrs, key: not attrs[key]})
        if before != after:
            part.builder.freeze([source])


def apart(part: Part, holders: Sequence[Any]) -> bool:
    """Whether members of a list have names of their own; so they have where one is applied in
    another turn than that which has made it."""
    for holder, frame in zip(holders, part.frames, strict=True):
        home = around(holder.scope if isinstance(holder, Layer) else holder.home)
        if part.body.tree.dissolved(home):
            return True
        if home.kind == "iteration" and not runs(frame.scope, home):
            raise Unroll(home)
    return False
