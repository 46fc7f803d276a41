"""What a model costs on a unit that multiplies matrices in tiles: FLOPs, bytes, and padding.

Every op is followed through its body down to the products that it is made of. A convolution is one
product for each group and each tap of its kernel: rows are batch and places, the depth is the
channels of the group. Where windows do not overlap, all taps are one product, as of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from .clone import clone
from .diagnose import Span
from .dim import evaluate
from .graph import Graph, Node, Type
from .op import Op
from .ops.control import IF, SCAN, WHILE
from .ops.conv import CONV, CONV_TRANSPOSE
from .ops.linear import MATMUL
from .passes.expand import Recording, apply_body
from .passes.mode import resolve

TILE = 128
"""Rows and columns of the matrix unit: the second operand is padded to multiples of it."""

SUBLANES = 8
"""Rows of the first operand, and of the result, come in multiples of this."""

WIDTH = 2
"""Bytes of a bfloat16."""

Shape: TypeAlias = "tuple[int, ...]"
Form: TypeAlias = "tuple[int, int, int, int]"
Part: TypeAlias = "tuple[Node, int]"


@dataclass(frozen=True)
class Product:
    """Products of (rows, depth) by (depth, columns) matrices: `repeats` of them at one place of the
    source, in `count` nodes. `moved` is how many elements one node reads and writes.
    """

    op: str
    span: Span | None
    count: int
    repeats: int
    rows: int
    depth: int
    columns: int
    moved: int

    @property
    def flops(self) -> int:
        """Multiplications and additions that the model asks for."""
        return 2 * self.count * self.repeats * self.rows * self.depth * self.columns

    @property
    def done(self) -> int:
        """Those that whole tiles do."""
        rows, depth = _whole(self.rows, SUBLANES), _whole(self.depth, TILE)
        return 2 * self.count * self.repeats * rows * depth * _whole(self.columns, TILE)

    @property
    def padded(self) -> float:
        """The share of the unit's work that is done on padding."""
        return 1 - self.flops / self.done if self.done else 0.0

    @property
    def bytes(self) -> int:
        """Operands and result, each once, in bfloat16."""
        return WIDTH * self.count * self.moved

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass
class Cost:
    """One forward run in inference mode at `sizes`: its products, and what other ops do.

    `other` counts an operation for each element that an elementwise op gives or a reduction takes.
    Bytes are those of products, reductions, inputs and outputs, each once; what works element by
    element is taken to be fused with what gives or takes its elements.
    """

    sizes: Mapping[str, int]
    products: list[Product] = field(default_factory=list)
    other: int = 0
    moved: int = 0

    @property
    def flops(self) -> int:
        return self.other + self.on_unit

    @property
    def on_unit(self) -> int:
        """FLOPs of products, without those on padding."""
        return sum(product.flops for product in self.products)

    @property
    def share(self) -> float:
        """The share of FLOPs that are products'."""
        return self.on_unit / self.flops if self.flops else 0.0

    @property
    def padded(self) -> float:
        """The share of the matrix unit's work that is done on padding."""
        done = sum(product.done for product in self.products)
        return 1 - self.on_unit / done if done else 0.0

    @property
    def bytes(self) -> int:
        return WIDTH * self.moved + sum(product.bytes for product in self.products)

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes if self.bytes else 0.0


def cost(graph: Graph, sizes: Mapping[str, int]) -> Cost:
    """What one forward run costs with these numbers for the graph's symbols.

    A scan costs all its steps, a loop as many as its bound (one where it has none), and a choice
    the dearer of both.
    """
    copy, _ = clone(graph)
    resolve(copy, training=False)
    result = Cost(sizes)
    ends = [*(v.type for v in copy.inputs), *(v.type for v in copy.outputs.values())]
    result.moved = sum(prod(_shape(each, sizes)) for each in ends)
    found: dict[tuple[object, ...], int] = {}
    for node in tuple(copy):
        for part, times in _parts(node, sizes):
            if (form := FORMS.get(part.op)) is not None:
                key = (part.op.name, node.span, *form(part, sizes), _moved(part, sizes))
                found[key] = found.get(key, 0) + times
            else:
                _count(part, times, sizes, result)
    result.products = [Product(op, span, n, *rest) for (op, span, *rest), n in found.items()]  # type: ignore[arg-type]
    return result


def _parts(node: Node, sizes: Mapping[str, int]) -> Iterator[Part]:
    """The node as products and other ops, and how often each: written out where a body leads to a
    product."""
    if node.blocks:
        yield from _repeated(node, sizes)
        return
    if node.op in FORMS or node.op.body is None or node.op.rounding in ("exact", "elementwise"):
        yield node, 1
        return
    b = Recording.like(node)
    apply_body(b, node)
    parts = [part for made in b.made for part in _parts(made, sizes)]
    if node.op.rounding == "sum" and all(part.op not in FORMS for part, _ in parts):
        yield node, 1
    else:
        yield from parts


def _repeated(node: Node, sizes: Mapping[str, int]) -> Iterator[Part]:
    """What the blocks of a node run."""
    blocks = [[p for part in tuple(block) for p in _parts(part, sizes)] for block in node.blocks]
    steps = 1
    if node.op is SCAN:
        first = node.values[node.attrs["carried"]].type
        steps = _shape(first, sizes)[min(node.attrs["axis"], first.rank - 1)]
    elif node.op is WHILE:
        steps = evaluate(node.attrs["bound"] or 1, sizes)
    elif node.op is IF:
        blocks = [max(blocks, key=lambda parts: _work(parts, sizes))]
    for part, times in (each for block in blocks for each in block):
        yield part, times * steps


def _work(parts: Iterable[Part], sizes: Mapping[str, int]) -> int:
    """Multiplications of the products among these."""
    return sum(prod(FORMS[p.op](p, sizes)) * times for p, times in parts if p.op in FORMS)


def _count(node: Node, times: int, sizes: Mapping[str, int], total: Cost) -> None:
    """Adds an op that is no product."""
    given = sum(prod(_shape(value.type, sizes)) for value in node.values)
    made = sum(prod(_shape(output.type, sizes)) for output in node.outputs)
    if node.op.rounding == "sum":
        total.other += given * times
        total.moved += (given + made) * times
    elif node.op.rounding != "exact":
        total.other += made * times


def _shape(type: Type, sizes: Mapping[str, int]) -> Shape:
    return tuple(evaluate(size, sizes) for size in type.shape)


def _moved(node: Node, sizes: Mapping[str, int]) -> int:
    types = [value.type for value in (*node.values, *node.outputs)]
    return sum(prod(_shape(each, sizes)) for each in types)


def _whole(size: int, tile: int) -> int:
    return -(-size // tile) * tile


# ------------------------------------------------------------------------ products as matrices


def _matmul(node: Node, sizes: Mapping[str, int]) -> Form:
    """One product of all rows where the second operand is one matrix, else one for each."""
    a, b = (_shape(value.type, sizes) for value in node.values)
    stack = _shape(node.output.type, sizes)[:-2]
    if prod(b[:-2]) == 1:
        return 1, prod(stack) * a[-2], a[-1], b[-1]
    return prod(stack), a[-2], a[-1], b[-1]


def _conv(node: Node, sizes: Mapping[str, int]) -> Form:
    return _convolution(node, _shape(node.output.type, sizes), sizes)


def _conv_transpose(node: Node, sizes: Mapping[str, int]) -> Form:
    """Each place of the input gives to one place for each tap."""
    return _convolution(node, _shape(node.values[0].type, sizes), sizes)


def _convolution(node: Node, places: Shape, sizes: Mapping[str, int]) -> Form:
    x, weight = (_shape(value.type, sizes) for value in node.values[:2])
    features = _shape(node.output.type, sizes)[1]
    groups, taps = node.attrs["groups"], weight[2:]
    rows, depth, columns = places[0] * prod(places[2:]), x[1] // groups, features // groups
    if node.op is CONV and _each(node.attrs["stride"], taps) == taps:
        return groups, rows, depth * prod(taps), columns
    return groups * prod(taps), rows, depth, columns


def _each(stride: int | Shape, taps: Shape) -> Shape:
    return tuple(stride) if isinstance(stride, tuple) else (stride,) * len(taps)


FORMS: Mapping[Op, Callable[[Node, Mapping[str, int]], Form]] = {
    MATMUL: _matmul,
    CONV: _conv,
    CONV_TRANSPOSE: _conv_transpose,
}
"""The ops that are products: how often, and rows, depth and columns of each."""
