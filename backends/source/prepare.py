"""From a graph to the program that a backend prints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Set
from contextlib import suppress
from functools import wraps
from itertools import pairwise
from typing import Any, TypeVar, cast

from ...compiler.clone import clone
from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Node
from ...compiler.op import Op
from ...compiler.ops import OPS
from ...compiler.passes import CLEAN, apply
from ...compiler.passes.expand import expand
from ...compiler.passes.loosen import loosen
from ...compiler.passes.mode import resolve
from ...compiler.passes.outline import outline
from ...compiler.passes.project import project
from ...compiler.program import Place, Program
from .masks import unlayered
from .parts import Open

Emit = TypeVar("Emit", bound=Callable[..., Any])
TRIES = 100
"""How many attributes of a model may turn out to have to be literals."""


def settled(emit: Emit) -> Emit:
    """`emit`, told at `literal` which attributes the target can write as literals alone: those at
    which it raises Open. Hyper-parameters that tell one are then no arguments."""

    @wraps(emit)
    def again(*args: Any, **named: Any) -> Any:
        literal: set[Place] = set()
        while True:
            try:
                return emit(*args, **named, literal=frozenset(literal))
            except Open as found:
                if found.place in literal or len(literal) >= TRIES:
                    raise
                literal.add(found.place)

    return cast("Emit", again)


def prepare(
    graph: Graph,
    spelled: Collection[str] | Callable[[Node], bool],
    layout: Callable[[Graph], int] | None = None,
    training: bool | None = None,
    *,
    within: bool = True,
    literal: Set[Place] = frozenset(),
) -> tuple[Graph, Program]:
    """A clean copy of `graph` in ops that the target spells, stored as it wants, and its classes.

    `spelled` are names of ops, or says of a node whether the target has it. The classes hold what
    variants of the graph show, too. `training` is the mode of targets whose files have one;
    `within` says whether they apply layers in the bodies of scans, loops and choices. Attributes
    that stand at `literal` are literals.
    """
    _refuse_order(graph)
    named = spelled if callable(spelled) else {OPS[name] for name in spelled if name in OPS}
    prepared = _prepared(graph, named, layout, training, within)
    others: list[Graph] = []
    for variant in graph.variants():
        with suppress(MlcError):  # what the target cannot write of it is not offered
            others.append(_prepared(variant, named, layout, training, within))
    return prepared, outline(prepared, others, literal)


def _prepared(
    graph: Graph,
    spelled: Container[Op] | Callable[[Node], bool],
    layout: Callable[[Graph], int] | None,
    training: bool | None,
    within: bool,
) -> Graph:
    copied, _ = clone(graph)
    if not within:
        loosen(copied)
    if training is not None:
        resolve(copied, training)
    unlayered(copied)
    _refuse_modes(copied)
    apply(copied, (*CLEAN, project))
    expand(copied, spelled, explained=True)
    apply(copied, CLEAN)
    if layout is not None:
        apply(copied, (layout,))
    return copied


def _refuse_order(graph: Graph) -> None:
    """Raises MlcError `unsupported` where an argument that may be left out stands before others."""
    for before, given in pairwise(graph.inputs):
        if before.default is not None and given.default is None:
            text = f"{given.name} must be given, and stands behind {before.name}, which need not"
            raise MlcError("unsupported", text, given.span,
                           help="put `in?` lines behind all `in` lines")  # fmt: skip


def _refuse_modes(graph: Graph) -> None:
    """Raises MlcError `unsupported` for what depends on the mode and is no layer that knows it."""
    for node in graph:
        state = node.op.effect == "state" and node.layer is None
        if state and node.attrs.get("training", False) is None:
            text = f"source has no {node.op.name} whose weights come from elsewhere"
            raise MlcError("unsupported", text, node.span, help="let the layer make its weights")
