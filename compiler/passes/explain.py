"""What the attributes of an op's body are in the source's expressions.

A body gets numbers: 2, where the source says `chosen`, and 64, where an input has a size. It is run
once more with symbols in their place, and where that makes the same ops, what becomes of the
symbols are the ops' expressions: `ends = (chosen,)`. Names of sizes are those of `Graph.measured`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import expr
from ..diagnose import MlcError
from ..dim import Dim, Size, substitute, symbol, symbols
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
        self.numbers: Mapping[str, Any] = {}
        self.roots: dict[float, Size] = {}

    def inverse_root(self, size: Dim) -> float | None:
        """Of a symbol that stands for a number, another one, which is remembered."""
        if not isinstance(size, Size) or not isinstance(substitute(size, self.numbers), int):
            return super().inverse_root(size)
        root = 1 + (len(self.roots) + 1) / 1025
        self.roots[root] = size
        return root

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
        roots: dict[str, Size] = {}
        found = _symbolic(node, own, sizes, values, roots)
        values |= {name: _root(size, values) for name, size in roots.items()}
        if found is not None and _alike(made, found, values):
            break
    else:
        found, own, roots = [], {}, {}
    for one, (_, attrs) in zip(made, found or (), strict=False):
        read = {k: v for k, v in attrs.items() if _symbols(v) & {*own, *sizes, *roots}}
        for key, value in read.items():
            rooted = {
                m: expr.parse(f"({roots[m]}) ** -0.5") for m in _symbols(value) & roots.keys()
            }
            whole = expr.substitute(expr.literal(value), rooted)
            measured = {m: _measured(node, *sizes[m]) for m in expr.names(whole) & sizes.keys()}
            one.exprs[key] = expr.substitute(whole, {**own, **measured})
    lost = [e for key, e in given.items() if MARK + key not in own]
    if lost:
        for one in made:
            one.exprs |= dict.fromkeys(list(one.op.config)[:1], _fixed(lost))


def _marked(op: Op, key: str, value: Any) -> bool:
    size = isinstance(value, Size) or (type(value) is int and value > 0)
    return type(value) is float or (size and op.config[key].kind in ("int", "size"))


def _sizes(node: Node) -> dict[str, tuple[Value, int]]:
    """A symbol for each size of the inputs, one for all that are the same unknown size; 1 is not a
    size but a way to say that there is none."""
    found: dict[str, tuple[Value, int]] = {}
    for slot, value in enumerate(node.inputs):
        for axis, size in enumerate(value.type.shape if value is not None else ()):
            if value is not None and size != 1 and _twin(size, found) is None:
                found[f"{MARK}{slot}_{axis}"] = (value, axis)
    return found


def _twin(size: Dim, sizes: Mapping[str, tuple[Value, int]]) -> str | None:
    """The symbol of an unknown size that has one already."""
    known = sizes.items() if isinstance(size, Size) else ()
    return next((mark for mark, (v, axis) in known if v.type.shape[axis] == size), None)


def _measured(node: Node, value: Value, axis: int) -> Expr:
    """A name for the size of a value, which the graph keeps."""
    assert node.graph is not None
    known = node.graph.measured
    name = next((n for n, size in known.items() if size == (value, axis)), f"{MARK}{len(known)}")
    known[name] = (value, axis)
    return expr.name(name)


def _root(size: Size, numbers: Mapping[str, Any]) -> Any:
    number = substitute(size, {n: numbers[n] for n in symbols(size)})
    return number**-0.5 if isinstance(number, int) else None


def _symbolic(
    node: Node,
    own: Iterable[str],
    sizes: Mapping[str, tuple[Value, int]],
    numbers: Mapping[str, Any],
    roots: dict[str, Size],
) -> list[tuple[Op, dict[str, Any]]] | None:
    """The ops of the body with symbols for these; None where it does not take them.

    Floats have no symbols: another float goes in, and is a symbol where it comes out as it was.
    `roots` is filled with the sizes whose inverse roots the body takes, by their symbols.
    """
    assert node.op.body is not None and node.graph is not None
    b, facts = Recording.like(node), list(node.graph.facts)
    b.numbers = {mark: n for mark, n in numbers.items() if isinstance(n, (int, Size))}
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
        roots |= {f"{MARK}root{i}": size for i, size in enumerate(b.roots.values())}
        floats |= zip(b.roots, map(symbol, roots), strict=True)
        return [(n.op, {k: _named(v, floats) for k, v in n.attrs.items()}) for n in b.made]
    except (MlcError, *FAILURES):
        return None
    finally:
        node.graph.facts[:] = facts
        for each in reversed(b.made):
            node.graph.erase(each)


def _named(value: Any, floats: Mapping[float, Size]) -> Any:
    return floats.get(value, value) if type(value) is float else value


def _stand_in(
    slot: int, value: Value | None, sizes: Mapping[str, tuple[Value, int]]
) -> Value | None:
    """A tensor with symbols for its sizes."""
    if value is None:
        return None
    shape = []
    for axis, size in enumerate(value.type.shape):
        own = f"{MARK}{slot}_{axis}"
        mark = own if own in sizes else _twin(size, sizes)
        shape.append(size if mark is None else symbol(mark))
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
