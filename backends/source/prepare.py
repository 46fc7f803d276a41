"""From a graph to the program that a backend prints."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...compiler.clone import clone
from ...compiler.graph import Graph, Node
from ...compiler.ops import OPS
from ...compiler.passes import CLEAN, apply
from ...compiler.passes.expand import expand
from ...compiler.passes.outline import outline
from ...compiler.passes.project import project
from ...compiler.program import Program


def prepare(
    graph: Graph,
    spelled: Collection[str] | Callable[[Node], bool],
    layout: Callable[[Graph], int] | None = None,
) -> tuple[Graph, Program]:
    """A clean copy of `graph` in ops that the target spells, stored as it wants, and its classes.

    `spelled` are names of ops, or says of a node whether the target has it.
    """
    copied, _ = clone(graph)
    apply(copied, (*CLEAN, project))
    named = spelled if callable(spelled) else {OPS[name] for name in spelled if name in OPS}
    expand(copied, named)
    apply(copied, CLEAN)
    if layout is not None:
        apply(copied, (layout,))
    return copied, outline(copied)
