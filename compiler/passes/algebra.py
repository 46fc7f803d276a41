"""Algebra: ops that change nothing, and pairs that undo each other. Only what is exact.

Exact means for every number: x + 0.0 stays, because it turns -0.0 into 0.0, and so does x * 0.0.
What came from a hyper-parameter stays too: another value of it may do something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ..expr import names
from ..graph import Graph, Node, Type, Value
from ..op import Op
from ..ops.activation import RELU
from ..ops.compare import LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR
from ..ops.constant import CONSTANT
from ..ops.elementwise import (
    ADD,
    CAST,
    DIV,
    IDENTITY,
    MAXIMUM,
    MINIMUM,
    MUL,
    NEG,
    SUB,
    WHERE,
)  # fmt: skip
from ..ops.index import SLICE
from ..ops.join import CONCAT, PAD
from ..ops.shape import EXPAND, FLATTEN, FLIP, RESHAPE, TILE, TRANSPOSE, permutation
from .rewrite import Recipe, rewrite

Result: TypeAlias = "Value | Recipe | None"


def algebra(graph: Graph) -> int:
    """Simplifies node by node until nothing is left to do; returns how many were replaced."""
    return rewrite(graph, _simplify)


def _simplify(node: Node) -> Result:
    rule = RULES.get(node.op)
    if node.op is RESHAPE and node.exprs:
        return _twice(node)
    return None if rule is None or node.exprs else rule(node)


def _inside(node: Node, op: Op, slot: int = 0) -> Value | None:
    """The first input of the `op` that makes the node's input, where it is such an op."""
    value = node.inputs[slot]
    maker = None if value is None else value.node
    return maker.inputs[0] if maker is not None and maker.op is op and not maker.exprs else None


def _number(value: Value | None) -> float | None:
    """The number that a rank 0 constant is."""
    maker = None if value is None else value.node
    if maker is None or maker.op is not CONSTANT or maker.exprs:
        return None
    number = maker.attrs["value"]
    return number if isinstance(number, (int, float)) else None


def _same(value: Value | None, type: Type) -> Value | None:
    """`value`, where it has this dtype and shape."""
    fits = value is not None and (value.type.dtype, value.type.shape) == (type.dtype, type.shape)
    return value if fits else None


def _unchanged(node: Node) -> Value | None:
    """The input, where the op keeps its dtype and shape and moves nothing within these."""
    return _same(node.inputs[0], node.output.type)


# ------------------------------------------------------------------------------ neutral operands


def _is_neutral(value: Value | None, number: float, sign: float | None = None) -> bool:
    """Whether it is the constant `number`; of a float zero, the one with this sign."""
    found = _number(value)
    if found is None or found != number:
        return False
    assert value is not None
    if number == 0 and value.type.floating:
        return str(float(found)).startswith("-") == (sign == -1)
    return True


def _add(node: Node) -> Result:
    for x, other in (node.inputs, node.inputs[::-1]):
        if _is_neutral(other, 0, sign=-1):
            return _same(x, node.output.type)
    return None


def _sub(node: Node) -> Result:
    x, other = node.inputs
    return _same(x, node.output.type) if _is_neutral(other, 0, sign=1) else None


def _mul(node: Node) -> Result:
    for x, other in (node.inputs, node.inputs[::-1]):
        if _is_neutral(other, 1):
            return _same(x, node.output.type)
    return None


def _div(node: Node) -> Result:
    x, other = node.inputs
    return _same(x, node.output.type) if _is_neutral(other, 1) else None


def _idempotent(node: Node) -> Result:
    """max(x, x) and its like."""
    return node.inputs[0] if node.inputs[0] is node.inputs[1] else None


def _where(node: Node) -> Result:
    _, a, b = node.inputs
    return _same(a, node.output.type) if a is b else None


def _relu(node: Node) -> Result:
    return node.inputs[0] if _inside(node, RELU) is not None else None


# -------------------------------------------------------------------------------------- inverses


def _involution(node: Node) -> Result:
    """-(-x) and its like."""
    return _inside(node, node.op)


def _transpose(node: Node) -> Result:
    order = permutation(node.output.type.rank, node.attrs["axes"])
    if order == tuple(range(len(order))):
        return node.inputs[0]
    x = _inside(node, TRANSPOSE)
    if x is None:
        return None
    (first,) = (value.node for value in node.inputs if value is not None)
    assert first is not None
    inner = permutation(len(order), first.attrs["axes"])
    axes = tuple(inner[i] for i in order)
    return x if axes == tuple(range(len(order))) else lambda b: b(TRANSPOSE, x, axes=axes)


def _reshape(node: Node) -> Result:
    x = _inside(node, RESHAPE)
    return _unchanged(node) or (x and _again(node, x))


def _twice(node: Node) -> Recipe | None:
    """A reshape of a reshape, where a pass has made both, and named their sizes."""
    maker = node.inputs[0].node if node.inputs[0] is not None else None
    if maker is None or maker.op is not RESHAPE or not (_measured(node) and _measured(maker)):
        return None
    x = maker.inputs[0]
    return lambda b: b.node(RESHAPE, (x,), node.attrs, exprs=node.exprs).output


def _measured(node: Node) -> bool:
    assert node.graph is not None
    return all(names(e) <= node.graph.measured.keys() for e in node.exprs.values())


def _again(node: Node, x: Value) -> Recipe:
    """The same op on `x`."""
    return lambda b: b(node.op, x, **node.attrs)


def _expand(node: Node) -> Result:
    x = _inside(node, EXPAND)
    return _unchanged(node) or (x and _again(node, x))


# Bits of the numbers that an integer or float dtype holds exactly: sign and magnitude, or mantissa.
_INTEGERS = {"u8": (0, 8), "i8": (1, 7), "i16": (1, 15), "i32": (1, 31), "i64": (1, 63)}
_FLOATS = {"bf16": (8, 8), "f16": (11, 5), "f32": (24, 8), "f64": (53, 11)}


def _holds(narrow: str, wide: str) -> bool:
    """Whether every number of dtype `narrow` is one of dtype `wide`."""
    if narrow == wide or narrow == "bool":
        return True
    if narrow in _INTEGERS and wide in _INTEGERS:
        return all(a <= b for a, b in zip(_INTEGERS[narrow], _INTEGERS[wide], strict=True))
    if narrow in _INTEGERS and wide in _FLOATS:
        return _INTEGERS[narrow][1] <= _FLOATS[wide][0] and wide != "f16"
    if narrow in _FLOATS and wide in _FLOATS:
        return all(a <= b for a, b in zip(_FLOATS[narrow], _FLOATS[wide], strict=True))
    return False


def _cast(node: Node) -> Result:
    if (same := _unchanged(node)) is not None:
        return same
    x = _inside(node, CAST)
    middle = node.inputs[0]
    if x is None or middle is None or not _holds(x.type.dtype, middle.type.dtype):
        return None
    dtype = node.attrs["dtype"]
    return x if x.type.dtype == dtype else lambda b: b(CAST, x, dtype=dtype)


# ---------------------------------------------------------------------------- moves of no element


def _pad(node: Node) -> Result:
    pads = node.attrs["pads"]
    return node.inputs[0] if all(end == 0 for pair in pads for end in pair) else None


def _flip(node: Node) -> Result:
    return node.inputs[0] if not node.attrs["axes"] else None


def _slice(node: Node) -> Result:
    steps = node.attrs["steps"]
    whole = steps == 1 or all(step == 1 for step in steps)
    return _unchanged(node) if whole else None


def _concat(node: Node) -> Result:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _tells_apart(node: Node) -> bool:
    """Whether a block is given a tensor twice, of which this is the second: reads of it and of the
    first are reads of different inputs of the block."""
    graph, given = node.graph, {node.inputs[0], node.output}
    assert graph is not None
    called = {
        scope
        for user in node.output.users
        for scope in user.scope.ancestors()
        if scope.parent is node.scope and scope.kind == "block"
    }
    return any(given <= {graph.current(v) for v in scope.inputs.values()} for scope in called)


RULES: Mapping[Op, Callable[[Node], Result]] = {
    IDENTITY: lambda node: None if _tells_apart(node) else node.inputs[0],
    ADD: _add,
    SUB: _sub,
    MUL: _mul,
    DIV: _div,
    MAXIMUM: _idempotent,
    MINIMUM: _idempotent,
    LOGICAL_AND: _idempotent,
    LOGICAL_OR: _idempotent,
    WHERE: _where,
    RELU: _relu,
    NEG: _involution,
    LOGICAL_NOT: _involution,
    TRANSPOSE: _transpose,
    RESHAPE: _reshape,
    FLATTEN: _unchanged,
    EXPAND: _expand,
    TILE: _unchanged,
    CAST: _cast,
    PAD: _pad,
    FLIP: _flip,
    SLICE: _slice,
    CONCAT: _concat,
}
"""What each op may be replaced by."""
