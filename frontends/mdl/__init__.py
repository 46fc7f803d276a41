"""The .mdl frontend: text to syntax tree, and the syntax tree to a graph with its scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...compiler.diagnose import MlcError, Source
from ...compiler.graph import Graph


def load(
    text: str,
    name: str = "<text>",
    *,
    model: str | None = None,
    params: Mapping[str, Any] = {},
) -> Graph:
    """The graph of a model in `text`; `name` is the text's name in messages.

    `model` says which one where there are several, `params` sets its hyper-parameters. Raises
    MlcError, or MlcErrors where there are several. `graph.warnings` holds what is only doubtful.
    """
    from ...compiler.ops import OPS
    from .elaborate import elaborate
    from .parse import parse
    from .unused import unused

    source = Source(name, text)
    try:
        file = parse(source)
        graph = elaborate(file, OPS, model, params)
    except RecursionError:
        raise MlcError("limit", "the text nests too deep") from None
    graph.warnings += unused(file)
    return graph
