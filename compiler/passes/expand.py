"""Writes ops out in smaller ones, through their bodies."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from ..graph import Graph, Node, Value
from ..op import Build, Op
from .explain import Recording, explain


def expand(
    graph: Graph, keep: Container[Op] | Callable[[Node], bool], *, explained: bool = False
) -> int:
    """Replaces every node whose op is not in `keep` by the op's body, and so on within it.

    `keep` may also be a question about a node. Ops without a body stay; those in blocks are asked
    about too. New nodes are `explained` where a source is to be written of them. Returns how many
    nodes were replaced.
    """
    kept = keep if callable(keep) else lambda node: node.op in keep
    return sum(_expand(node, kept, explained) for node in tuple(graph))


def _expand(node: Node, kept: Callable[[Node], bool], explained: bool) -> int:
    if kept(node) or node.op.body is None:
        return sum(expand(block, kept, explained=explained) for block in node.blocks)
    assert node.graph is not None
    b = Recording.like(node)
    results = apply_body(b, node)
    if explained:
        explain(node, b.made)
    for old, value in zip(node.outputs, results, strict=True):
        node.graph.replace(old, value)
    _pass_on(node, b.made)
    node.graph.erase(node)
    return 1 + sum(_expand(made, kept, explained) for made in b.made)


def _pass_on(node: Node, made: Sequence[Node]) -> None:
    """A body that applies the op once more, with other attributes, is still the same layer."""
    own = [each for each in made if each.op is node.op]
    if node.layer is not None and len(own) == 1:
        own[0].layer = node.layer
        same = (k for k, e in node.exprs.items() if own[0].attrs[k] == node.attrs[k])
        own[0].exprs = {key: node.exprs[key] for key in same}


def apply_body(b: Build, node: Node) -> tuple[Value, ...]:
    """Builds the body of `node` on its inputs with `b`, and returns what stands for its outputs."""
    assert node.op.body is not None
    regions = {"blocks": node.blocks} if node.blocks else {}
    results = node.op.body(b, *node.inputs, **node.attrs, **regions)
    return results if isinstance(results, tuple) else (results,)


__all__ = ["Recording", "apply_body", "expand"]
