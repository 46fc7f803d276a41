"""What the attributes of an op's body are in the source's expressions.

A body gets numbers: 2, where the source says `chosen`. It is run once more with a symbol in the
place of each number that is an expression, and where that makes the same ops, what becomes of the
symbols are their expressions: `ends = (chosen,)`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from .. import expr
from ..diagnose import MlcError
from ..dim import Dim, Size, substitute, symbol, symbols
from ..expr import Expr
from ..graph import Node
from ..op import Build, Op, TypeMismatch, for_class

MARK = "__"
"""How the symbols begin; names of the language never do."""


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
    """Gives the nodes of `node`'s body expressions.

    Where there are none, though the body depends on what has one, a node gets one that gives it
    another value: then a class that they stand in is right for these numbers alone, and known so.
    """
    given = {key: e for key, e in node.exprs.items() if expr.names(e)}
    if not given or node.blocks:
        return
    marks = {key: MARK + key for key in given if _countable(node.op, key, node.attrs[key])}
    numbers = {mark: node.attrs[key] for key, mark in marks.items()}
    found = _symbolic(node, {key: symbol(mark) for key, mark in marks.items()})
    if found is None or not _alike(made, found, numbers):
        found, marks = [], {}
    own = {mark: given[key] for key, mark in marks.items()}
    for one, (_, attrs) in zip(made, found, strict=False):
        read = {k: v for k, v in attrs.items() if _symbols(v) & own.keys()}
        one.exprs |= {k: expr.substitute(expr.literal(v), own) for k, v in read.items()}
    lost = [e for key, e in given.items() if key not in marks]
    if lost:
        for one in made:
            one.exprs |= dict.fromkeys(list(one.op.config)[:1], _fixed(lost))


def _countable(op: Op, key: str, value: Any) -> bool:
    return op.config[key].kind in ("int", "size") and type(value) is int and value > 0


def _symbolic(node: Node, symbolic: Mapping[str, Dim]) -> list[tuple[Op, dict[str, Any]]] | None:
    """The ops of the body with these attributes; None where it does not take them."""
    assert node.op.body is not None and node.graph is not None
    b, facts = Recording.like(node), list(node.graph.facts)
    try:
        with for_class():
            node.op.body(b, *node.inputs, **{**node.attrs, **symbolic})
        return [(each.op, dict(each.attrs)) for each in b.made]
    except (
        MlcError,
        TypeMismatch,
        TypeError,
        ValueError,
        KeyError,
        ArithmeticError,
        AttributeError,
    ):
        return None
    finally:
        node.graph.facts[:] = facts
        for each in reversed(b.made):
            node.graph.erase(each)


def _alike(
    made: Sequence[Node],
    found: Sequence[tuple[Op, Mapping[str, Any]]],
    numbers: Mapping[str, int],
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


def _put(value: Any, numbers: Mapping[str, int]) -> Any:
    """An attribute with the numbers in the place of the symbols."""
    if isinstance(value, tuple):
        return tuple(_put(v, numbers) for v in value)
    return substitute(value, numbers) if isinstance(value, Size) else value


def _symbols(value: Any) -> set[str]:
    if isinstance(value, tuple):
        return {name for v in value for name in _symbols(v)}
    return set(symbols(value)) if isinstance(value, Size) else set()


def _fixed(lost: Sequence[Expr]) -> Expr:
    """An expression over the same names that is no value of any attribute."""
    return ast.List([*lost, ast.Constant("fixed")], ast.Load())


__all__ = ["Recording", "explain"]
