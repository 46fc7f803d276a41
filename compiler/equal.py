"""Whether two graphs are the same: node by node, up to the names of values and where they stand.

Compared are inputs, weights, ops, attributes, types, wiring, outputs, updates and facts; not
scopes, layers, expressions and labels, which say how a source wrote the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from .array import np
from .dim import Dim, Size, mod
from .graph import Fact, Graph, Node, Type, Value, Weight

Key: TypeAlias = "tuple[str, Any]"


def equal(a: Graph, b: Graph) -> bool:
    """Whether the graphs are the same."""
    return difference(a, b) is None


def difference(a: Graph, b: Graph) -> str | None:
    """The first thing in which two graphs differ, in words; None if they are the same."""
    twins: dict[Value, Value] = {}
    return (
        _unlike("name", a.name, b.name)
        or _inputs(a, b, twins)
        or _weights(a, b, twins)
        or _nodes(a, b, twins)
        or _results(a, b, twins)
        or _unlike("facts", _keys(a.facts), _keys(b.facts))
    )


def _unlike(what: str, a: Any, b: Any) -> str | None:
    return None if a == b else f"{what}: {a} and {b}"


def _inputs(a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    for one, other in zip(a.inputs, b.inputs, strict=False):
        twins[one] = other
        found = (
            _unlike("input", one.name, other.name)
            or _types(f"input {one.name}", one.type, other.type)
            or _unlike(f"default of {one.name}", one.default, other.default)
        )
        if found:
            return found
    return _unlike("number of inputs", len(a.inputs), len(b.inputs))


def _types(what: str, a: Type, b: Type) -> str | None:
    same = a.dtype == b.dtype and a.shape == b.shape
    return None if same else f"{what}: {a} and {b}"


def _weights(a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    found = _unlike("weights", sorted(a.weights), sorted(b.weights))
    for path, one in a.weights.items() if not found else ():
        other = twins[one] = b.weights[path]
        found = (
            _types(path, one.type, other.type)
            or _unlike(f"start of {path}", one.init, other.init)
            or _unlike(f"trainable {path}", one.trainable, other.trainable)
        )
        if found:
            return found
    return found


def _nodes(a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    for number, (one, other) in enumerate(zip(a, b, strict=False)):
        what = f"node {number}, {one.op.name}"
        wired = [None if value is None else twins[value] for value in one.inputs]
        found = _unlike(what, one.op.name, other.op.name) or _attributes(what, one, other)
        if found is None and wired != list(other.inputs):
            found = f"{what} takes other values"
        for x, y in zip(one.outputs, other.outputs, strict=False):
            twins[x] = y
            found = found or _types(what, x.type, y.type)
        if found is None and (len(one.blocks) or len(other.blocks)):
            found = _blocks(what, one, other, twins)
        if found:
            return found
    return _unlike("number of nodes", len(a), len(b))


def _attributes(what: str, a: Node, b: Node) -> str | None:
    for key, value in a.attrs.items():
        if key not in b.attrs or not _same(value, b.attrs[key]):
            return f"{key} of {what}: {value} and {b.attrs.get(key)}"
    return _unlike(f"attributes of {what}", sorted(a.attrs), sorted(b.attrs))


def _blocks(what: str, a: Node, b: Node, twins: dict[Value, Value]) -> str | None:
    if len(a.blocks) != len(b.blocks):
        return f"blocks of {what}"
    for one, other in zip(a.blocks, b.blocks, strict=True):
        found = (
            _taken(what, one, other, twins)
            or _nodes(one, other, twins)
            or _given(what, one, other, twins)
        )
        if found:
            return found
    return None


def _taken(what: str, a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    """What blocks take, by position: the names mean nothing outside."""
    twins.update(zip(a.inputs, b.inputs, strict=False))
    types = [[(x.type.dtype, x.type.shape) for x in block.inputs] for block in (a, b)]
    return _unlike(f"what a block of {what} takes", *types)


def _given(what: str, a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    same = [twins[value] for value in a.outputs.values()] == list(b.outputs.values())
    return None if same else f"a block of {what} gives other values"


def _same(a: Any, b: Any) -> bool:
    """Equality of attributes: a NaN equals a NaN, arrays by their elements."""
    if hasattr(a, "shape") or hasattr(b, "shape"):
        return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=_floats(a, b)))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _floats(*arrays: Any) -> bool:
    return all(np.asarray(array).dtype.kind == "f" for array in arrays)


def _results(a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    return _unlike("outputs", list(a.outputs), list(b.outputs)) or _moved(a, b, twins)


def _moved(a: Graph, b: Graph, twins: dict[Value, Value]) -> str | None:
    for name, value in a.outputs.items():
        if twins[value] is not b.outputs[name]:
            return f"output {name} is another value"
    updates = {twins[weight]: (twins[value], when) for weight, (value, when) in a.updates.items()}
    names = (_paths(updates), _paths(b.updates))
    return None if updates == b.updates else f"updates: {names[0]} and {names[1]}, or their values"


def _paths(weights: Iterable[Value]) -> list[str]:
    return sorted(weight.path for weight in weights if isinstance(weight, Weight))


# ---------------------------------------------------------------------------------------- facts


def _keys(facts: Sequence[Fact]) -> list[Key]:
    return sorted({key for fact in facts if (key := _key(fact))}, key=str)


def _key(fact: Fact) -> Key | None:
    """What a fact says, whichever way it is written; None if it says nothing."""
    match fact.relation:
        case "divides":
            return _zero(mod(fact.right, fact.left))
        case "==":
            return _zero(fact.left - fact.right)
        case "<":
            return "<= 0", str(fact.left + 1 - fact.right)
    return "<= 0", str(fact.left - fact.right)


def _zero(size: Dim) -> Key | None:
    """That `size` is 0, without common factor and sign."""
    if not isinstance(size, Size):
        return None if size == 0 else ("== 0", str(size))
    factor = math.gcd(*(coefficient for _, coefficient in size.terms))
    sign = 1 if size.terms[0][1] > 0 else -1
    return "== 0", str(Size({m: c // factor * sign for m, c in size.terms}))
