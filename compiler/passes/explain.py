"""What the attributes of an op's body are in the source's expressions.

A body gets numbers: 2, where the source says `chosen`, and 64, where an input has a size. It is run
once more with symbols in their place, and where that makes the same ops, what becomes of the
symbols are the ops' expressions: `ends = (chosen,)`. Names of sizes are those of `Graph.measured`.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from .. import expr
from ..diagnose import MlcError
from ..dim import Size, substitute, symbol, symbols
from ..expr import Expr
from ..graph import Node, Value
from ..op import Build, Op, TypeMismatch, for_class

MARK = "__"
"""How the symbols begin; names of the language never do."""

FAILURES = (TypeMismatch, TypeError, ValueError, KeyError, ArithmeticError, AttributeError)
"""What a body raises that does not take symbols."""


class Recording(Build):
    """A builder that remembers the nodes that it made, in order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made: list[Node] = []

    def node(self, op: Op, inputs: Sequence[Any], attrs: Mapping[str, Any], **records: Any) -> Node:
        node = super().node(op, inputs, attrs, **records)
        self.made.append(node)
        return node


def explain(node: Node, made: Sequence[Node]) -> None:
    """Gives the nodes of `node`'s body expressions, of its own ones and of sizes of its inputs.

    Where there are none, though the body depends on what has one, a node gets one that gives it
    another value: then a class that they stand in is right for these numbers alone, and known so.
    """
    given = {key: e for key, e in node.exprs.items() if expr.names(e)}
    own = {MARK + key: e for key, e in given.items() if _marked(node.op, key, node.attrs[key])}
    if node.blocks:
        return
    for sizes in (_sizes(node), {}):
        values = {mark: v.type.shape[axis] for mark, (v, axis) in sizes.items()}
        values |= {mark: node.attrs[mark.removeprefix(MARK)] for mark in own}
        found = _symbolic(node, own, sizes)
        if found is not None and _alike(made, found, values):
            break
    else:
        found, own = [], {}
    for one, (_, attrs) in zip(made, found or (), strict=False):
        read = {k: v for k, v in attrs.items() if _symbols(v) & {*own, *sizes}}
        for key, value in read.items():
            measured = {m: _measured(node, *sizes[m]) for m in _symbols(value) & sizes.keys()}
            one.exprs[key] = expr.substitute(expr.literal(value), {**own, **measured})
    lost = [e for key, e in given.items() if MARK + key not in own]
    if lost:
        for one in made:
            one.exprs |= dict.fromkeys(list(one.op.config)[:1], _fixed(lost))


def _marked(op: Op, key: str, value: Any) -> bool:
    size = isinstance(value, Size) or (type(value) is int and value > 0)
    return type(value) is float or (size and op.config[key].kind in ("int", "size"))


def _sizes(node: Node) -> dict[str, tuple[Value, int]]:
    """A symbol for each size of the inputs; 1 is not a size but a way to say that there is none."""
    return {
        f"{MARK}{slot}_{axis}": (value, axis)
        for slot, value in enumerate(node.inputs)
        if value is not None
        for axis, size in enumerate(value.type.shape)
        if size != 1
    }


def _measured(node: Node, value: Value, axis: int) -> Expr:
    """A name for the size of a value, which the graph keeps."""
    assert node.graph is not None
    known = node.graph.measured
    name = next((n for n, size in known.items() if size == (value, axis)), f"{MARK}{len(known)}")
    known[name] = (value, axis)
    return expr.name(name)


def _symbolic(
    node: Node, own: Iterable[str], sizes: Container[str]
) -> list[tuple[Op, dict[str, Any]]] | None:
    """The ops of the body with symbols for these; None where it does not take them.

    Floats have no symbols: another float goes in, and is a symbol where it comes out as it was.
    """
    assert node.op.body is not None and node.graph is not None
    b, facts = Recording.like(node), list(node.graph.facts)
    inputs = [_stand_in(slot, value, sizes) for slot, value in enumerate(node.inputs)]
    attrs, floats = dict(node.attrs), dict[float, Size]()
    for i, mark in enumerate(own):
        key = mark.removeprefix(MARK)
        if type(attrs[key]) is float:
            attrs[key] = attrs[key] * (1 + (i + 1) / 1024) or (i + 1) / 1024
            floats[attrs[key]] = symbol(mark)
        else:
            attrs[key] = symbol(mark)
    try:
        with for_class():
            node.op.body(b, *inputs, **attrs)
        return [(n.op, {k: _named(v, floats) for k, v in n.attrs.items()}) for n in b.made]
    except (MlcError, *FAILURES):
        return None
    finally:
        node.graph.facts[:] = facts
        for each in reversed(b.made):
            node.graph.erase(each)


def _named(value: Any, floats: Mapping[float, Size]) -> Any:
    return floats.get(value, value) if type(value) is float else value


def _stand_in(slot: int, value: Value | None, sizes: Container[str]) -> Value | None:
    """A tensor with symbols for its sizes."""
    if value is None:
        return None
    marks = [f"{MARK}{slot}_{axis}" for axis in range(value.type.rank)]
    pairs = zip(marks, value.type.shape, strict=True)
    shape = (symbol(mark) if mark in sizes else size for mark, size in pairs)
    return Value(value.type.with_(shape=tuple(shape)))


def _alike(
    made: Sequence[Node],
    found: Sequence[tuple[Op, Mapping[str, Any]]],
    numbers: Mapping[str, Any],
) -> bool:
    """Whether the symbols made the nodes that the numbers have made."""
    return len(made) == len(found) and all(
        node.op is op and all(_equal(node.attrs[k], _put(v, numbers)) for k, v in attrs.items())
        for node, (op, attrs) in zip(made, found, strict=True)
    )


def _equal(a: Any, b: Any) -> bool:
    if hasattr(a, "tobytes"):
        return bool(hasattr(b, "tobytes") and a.dtype == b.dtype and a.tobytes() == b.tobytes())
    return bool(a == b)


def _put(value: Any, numbers: Mapping[str, Any]) -> Any:
    """An attribute with the numbers in the place of the symbols."""
    if isinstance(value, tuple):
        return tuple(_put(v, numbers) for v in value)
    if not isinstance(value, Size):
        return value
    only = numbers.get(str(value))
    return only if isinstance(only, float) else substitute(value, numbers)


def _symbols(value: Any) -> set[str]:
    if isinstance(value, tuple):
        return {name for v in value for name in _symbols(v)}
    return set(symbols(value)) if isinstance(value, Size) else set()


def _fixed(lost: Sequence[Expr]) -> Expr:
    """An expression over the same names that is no value of any attribute."""
    return ast.List([*lost, ast.Constant("fixed")], ast.Load())


__all__ = ["Recording", "explain"]
