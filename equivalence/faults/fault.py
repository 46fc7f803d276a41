"""What a fault is, and the edits of a graph that faults are made of.

An edit plants a fault at one node, or leaves the node alone and returns False where it has no place
for it. No edit changes a type, so that nothing but the values tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...compiler import dim
from ...compiler.diagnose import MlcError
from ...compiler.dim import Dim
from ...compiler.graph import Graph, Node, Type, Value, Weight
from ...compiler.op import Build, infer
from ...compiler.ops import OPS

Sizes: TypeAlias = Mapping[str, int]
Edit: TypeAlias = "Callable[[Node, Sizes], bool]"
Change: TypeAlias = "Callable[[Weight, Any], Any]"
Make: TypeAlias = "Callable[[Build, Value], Value]"


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what an emitted file may get wrong, or the loader of its weights.

    `edit` plants it at a node of the reference, `change` gives the array of a weight with the fault
    in it, or None where that weight has no place for it; a fault has one of both. `everywhere` says
    that it is in all of its places or in none.
    """

    name: str
    family: str
    edit: Edit | None = None
    change: Change | None = None
    everywhere: bool = False


def is_op(node: Node, *names: str) -> bool:
    return node.op.name in names


def number(size: Dim, sizes: Sizes) -> int:
    """A size of a tensor at the sizes that are run."""
    return dim.evaluate(size, sizes)


def graph_of(node: Node) -> Graph:
    assert node.graph is not None
    return node.graph


def set_attrs(node: Node, **changes: Any) -> bool:
    """Gives the node other attributes, if its results keep their types."""
    attrs = {**node.attrs, **changes}
    if attrs == node.attrs or not _keeps(node, attrs, node.inputs):
        return False
    node.attrs.update(changes)
    return True


def set_op(node: Node, name: str, **attrs: Any) -> bool:
    """Puts another op in the node's place, on its first input."""
    return instead(node, lambda b, x: _value(b(OPS[name], x, **attrs)))


def set_input(node: Node, slot: int, make: Make) -> bool:
    """Puts what `make` builds of an input in its place."""
    value = node.inputs[slot]
    if value is None:
        return False
    new = make(Build.like(node), value)
    return swap_inputs(node, {slot: new}) if _alike(new.type, value.type) else False


def swap_inputs(node: Node, changes: Mapping[int, Value | None]) -> bool:
    """Gives the node other inputs in these slots, if its results keep their types."""
    inputs = [changes.get(i, value) for i, value in enumerate(node.inputs)]
    if inputs == list(node.inputs) or not _keeps(node, node.attrs, inputs):
        return False
    node.set_inputs(inputs)
    return True


def instead(node: Node, make: Make) -> bool:
    """Puts what `make` builds of the node's first input in the place of its first output."""
    given, old = node.values[0], node.outputs[0]
    new = make(Build.like(node), given)
    if not _alike(new.type, old.type):
        return False
    graph_of(node).replace(old, new)
    return True


def behind(node: Node, make: Make) -> bool:
    """Lets what `make` builds of the node's first output go where that went."""
    old, graph = node.outputs[0], graph_of(node)
    uses = old.uses
    outputs = [name for name, value in graph.outputs.items() if value is old]
    new = make(Build.like(node, before=node.next), old)
    if not _alike(new.type, old.type) or not (uses or outputs):
        return False
    for user, slot in uses:
        user.set_inputs([new if i == slot else v for i, v in enumerate(user.inputs)])
    graph.outputs.update(dict.fromkeys(outputs, new))
    return True


def _value(result: Any) -> Value:
    assert isinstance(result, Value)
    return result


def _alike(new: Type, old: Type) -> bool:
    """Whether they agree in all but labels, and in what sizes are called."""
    same = zip(new.shape, old.shape, strict=True) if new.rank == old.rank else ()
    fixed = all(a == b for a, b in same if isinstance(a, int) and isinstance(b, int))
    return (new.dtype, new.rank) == (old.dtype, old.rank) and fixed


def _keeps(node: Node, attrs: Mapping[str, Any], inputs: Any) -> bool:
    """Whether the results keep their types, without sizes being equal that need not be."""
    types = [None if value is None else value.type for value in inputs]
    facts = list(known := graph_of(node).facts)
    try:
        found = infer(node.op, types, attrs, facts, node.span)
    except MlcError:
        return False
    if any(fact.relation == "==" for fact in facts[len(known) :]):
        return False
    return all(_alike(new, old.type) for new, old in zip(found, node.outputs, strict=True))
