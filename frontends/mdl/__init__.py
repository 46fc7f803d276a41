"""The .mdl frontend: text to syntax tree, and the syntax tree to a graph with its scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError, Source
from ...compiler.graph import Graph

if TYPE_CHECKING:
    from pathlib import Path


def load(
    text: str,
    name: str = "<text>",
    *,
    model: str | None = None,
    params: Mapping[str, Any] = {},
    folder: Path | None = None,
) -> Graph:
    """The graph of a model in `text`; `name` is the text's name in messages.

    `model` says which one where there are several, `params` sets its hyper-parameters. `folder` is
    where the text's file lies: `use` reads files in it, and nothing but libraries without it.
    Raises MlcError, or MlcErrors where there are several. `graph.warnings` holds what is only
    doubtful.
    """
    from ...compiler.ops import OPS
    from .elaborate import elaborate
    from .files import Files
    from .limits import WARNINGS
    from .parse import parse
    from .unused import unused

    source = Source(name, text)
    try:
        files = Files(OPS, folder)
        unit = files.main(source, parse(source))
        graph = elaborate(unit.own, OPS, model, params)
    except RecursionError:
        raise MlcError("limit", "the text nests too deep") from None
    for each in files.units.values():
        graph.warnings += unused(each.file)
    more = len(graph.warnings) - WARNINGS
    if more > 0:
        graph.warnings[WARNINGS:] = [MlcError("limit", f"there are {more} more warnings")]
    return graph
