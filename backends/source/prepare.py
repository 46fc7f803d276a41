"""From a graph to the program that a backend prints."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...compiler.clone import clone
from ...compiler.diagnose import MlcError
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
    _refuse_modes(graph)
    copied, _ = clone(graph)
    apply(copied, (*CLEAN, project))
    named = spelled if callable(spelled) else {OPS[name] for name in spelled if name in OPS}
    expand(copied, named, explained=True)
    apply(copied, CLEAN)
    if layout is not None:
        apply(copied, (layout,))
    return copied, outline(copied)


def _refuse_modes(graph: Graph) -> None:
    """Raises MlcError `unsupported` for what depends on the mode and is no layer that knows it."""
    for node in graph:
        state = node.op.effect == "state" and node.layer is None
        if state and node.attrs.get("training", False) is None:
            text = f"source has no {node.op.name} whose weights come from elsewhere"
            raise MlcError("unsupported", text, node.span, help="let the layer make its weights")
