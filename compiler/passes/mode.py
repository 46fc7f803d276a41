"""Training or inference: settles which of the two a graph means."""

from __future__ import annotations

from ..diagnose import MlcError
from ..graph import Graph
from ..op import infer


def require_open(graph: Graph) -> None:
    """Raises MlcError `unsupported` if a node is fixed to one mode: emitted code has both."""
    for node in graph.nested():
        if node.attrs.get("training") is not None:
            mode = "training" if node.attrs["training"] else "inference"
            text = f"{node.op.name} is fixed to {mode}, and emitted code leaves the mode open"
            raise MlcError("unsupported", text, node.span, help="leave `training` out")


def resolve(graph: Graph, training: bool) -> int:
    """Makes every op that depends on the mode work in this one; returns how many there were.

    An op that the source has fixed to one mode stays in it. In inference the updates of a training
    call are dropped. What training asks of sizes (two elements a channel) joins the graph's facts.
    """
    changes = 0
    for node in graph.nested():
        if "training" in node.op.config and node.attrs["training"] is None:
            node.attrs["training"] = training
            given = [None if value is None else value.type for value in node.inputs]
            infer(node.op, given, node.attrs, graph.facts, node.span)
            changes += 1
    if not training:
        kept = {w: update for w, update in graph.updates.items() if update[1] != "training"}
        changes += len(graph.updates) - len(kept)
        graph.updates = kept
    return changes
