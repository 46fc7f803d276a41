"""Images as rows of tokens, and back: the transpose beside the image, where it costs nothing.

`x -> flatten(start = 2) -> transpose(axes = [0, 2, 1])` moves the channels of (B, C, H, W) behind
places that are already merged. Where images are stored with channels last, the same in the other
order moves nothing: `x -> transpose(axes = [0, 2, 3, 1]) -> flatten(start = 1, end = 2)`.
"""

from __future__ import annotations

from ..expr import Expr, sequence
from ..graph import Graph, Node, Value
from ..op import Build
from ..ops.shape import FLATTEN, RESHAPE, TRANSPOSE, permutation


def tokens(graph: Graph) -> int:
    """Moves such transposes to the image's side; returns how many."""
    return sum(_rows(node) or _image(node) for node in tuple(graph) if node.graph is graph)


def _swap(node: Node) -> bool:
    """Whether a node swaps the last two of three axes."""
    return (
        node.op is TRANSPOSE
        and permutation(3, node.attrs["axes"]) == (0, 2, 1)
        and (node.output.type.rank == 3)
    )


def _maker(node: Node) -> Node | None:
    """The node whose only result it alone takes."""
    x = node.inputs[0]
    if x is None or x.node is None or len(x.uses) != 1 or node.graph is None:
        return None
    return x.node if x not in node.graph.live() and x.node.scope is node.scope else None


def _rows(node: Node) -> int:
    """(B, C, H, W) flattened to (B, C, H * W), then swapped."""
    made = _maker(node) if _swap(node) else None
    if made is None or made.op not in (FLATTEN, RESHAPE):
        return 0
    x, y = made.inputs[0], made.output
    assert x is not None
    if x.type.rank < 4 or y.type.shape[:2] != x.type.shape[:2]:
        return 0
    rank = x.type.rank
    b = Build.like(made)
    turned = b(TRANSPOSE, x, axes=(0, *range(2, rank), 1))
    _replace(node, made, b(FLATTEN, turned, start=1, end=rank - 2))
    return 1


def _image(node: Node) -> int:
    """(B, H * W, C) swapped, then parted to (B, C, H, W)."""
    made = _maker(node) if node.op is RESHAPE else None
    if made is None or not _swap(made):
        return 0
    x, y = made.inputs[0], node.output
    assert x is not None
    if y.type.rank < 4 or y.type.shape[:2] != made.output.type.shape[:2]:
        return 0
    rank = y.type.rank
    order = (0, *range(2, rank), 1)
    b = Build.like(made)
    parted = b.node(
        RESHAPE,
        [x],
        {"shape": tuple(y.type.shape[axis] for axis in order)},
        exprs=_turned(node, order),
    )
    _replace(node, made, b(TRANSPOSE, parted.output, axes=(0, rank - 1, *range(1, rank - 1))))
    return 1


def _turned(node: Node, order: tuple[int, ...]) -> dict[str, Expr]:
    """The sizes as the source has them, in another order."""
    given = getattr(node.exprs.get("shape"), "elts", None)
    if given is None or len(given) != len(order):
        return {}
    return {"shape": sequence([given[axis] for axis in order])}


def _replace(node: Node, made: Node, value: Value) -> None:
    graph = node.graph
    assert graph is not None
    graph.replace(node.output, value)
    graph.erase(node)
    graph.erase(made)
