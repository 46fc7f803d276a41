"""Reverse mode of ops with blocks: a scan runs its block's reverse mode from the other end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..clone import clone
from ..diagnose import MlcError
from ..graph import Graph, Input, Node, Value
from ..op import Build
from ..ops.control import IF, SCAN
from ..ops.elementwise import ADD
from ..ops.shape import zeros

if TYPE_CHECKING:
    from .expand import Recording

Gradients: TypeAlias = "list[Value | None]"


@dataclass(frozen=True, slots=True)
class Given:
    """What reverse mode knows of a node: the gradient of each output, None for none, and whether
    one is wanted of each input. `before` builds in front of the node, `b` at the graph's end."""

    outputs: Sequence[Value | None]
    wanted: Sequence[bool]
    before: Recording
    b: Recording


def reverse(node: Node, given: Given) -> Gradients:
    """The gradient of each input of a node with blocks; MlcError "gradient" where it has none.

    The node may be replaced by one that also gives what the way back needs.
    """
    rule = RULES.get(node.op.name)
    if rule is None:
        raise MlcError("gradient", f"{node.op.name} has no gradient", node.span)
    return rule(node, given)


class _Back:
    """The reverse mode of a block, as a block that takes what is kept of the way there.

    `given` are its copies of the block's inputs, `seeds` the gradients of the outputs in `seeded`,
    `slopes` those of the inputs in `wanted`.
    """

    def __init__(self, block: Graph, seeded: Sequence[int], wanted: Sequence[int]) -> None:
        from .grad import gradients

        self.graph, _ = clone(block)
        self.given = list(self.graph.inputs)
        names = list(self.graph.outputs)
        types = [value.type for value in self.graph.outputs.values()]
        self.seeds = {i: Input(f"grad.{names[i]}", types[i]) for i in seeded}
        self.graph.inputs += self.seeds.values()
        wrt = [self.given[i] for i in wanted]
        cotangents = {names[i]: seed for i, seed in self.seeds.items()}
        found = gradients(self.graph, cotangents, wrt)
        self.slopes = {i: found[self.given[i]] for i in wanted}

    def accumulate(self, places: Sequence[int]) -> list[Input]:
        """Adds the gradients of these inputs to further inputs, which hold the sums so far."""
        b = Build(self.graph)
        sums = [Input(f"sum.{self.given[i].name}", self.given[i].type) for i in places]
        self.graph.inputs += sums
        for i, total in zip(places, sums, strict=True):
            self.slopes[i] = b(ADD, total, self.slopes[i])
        return sums

    def close(self, outputs: Sequence[int]) -> list[int]:
        """Gives the gradients of these inputs, cleaned up; returns which inputs that reads."""
        from . import CLEAN, apply

        self.graph.outputs = {str(i): self.slopes[i] for i in outputs}
        while apply(self.graph, CLEAN):
            pass
        live = set(self.graph.outputs.values())
        return [i for i, x in enumerate(self.given) if x.users or x in live]


# ------------------------------------------------------------------------------------------ scan


def _scan(node: Node, given: Given) -> Gradients:
    n, m = node.attrs["carried"], node.attrs["scanned"]
    (step,) = node.blocks
    active = _active(step, given.wanted, n)
    carries = [i for i in range(n) if active[i]]
    xs = [i for i in range(n, n + m) if active[i]]
    shared = [i for i in range(n + m, len(active)) if active[i]]
    collected = [i for i, g in enumerate(given.outputs) if g is not None and i >= n]

    back = _Back(step, [*carries, *collected], [*carries, *xs, *shared])
    sums = back.accumulate(shared)
    read = back.close([*carries, *shared, *xs])
    saved = [i for i in read if i < n]
    scanned = [i for i in read if n <= i < n + m]
    if not (saved or scanned or collected):
        scanned = [n]
    captured = [i for i in read if i >= n + m]
    back.graph.inputs = [
        *(back.seeds[i] for i in carries), *sums,
        *(back.given[i] for i in (*saved, *scanned)), *(back.seeds[i] for i in collected),
        *(back.given[i] for i in captured),
    ]  # fmt: skip

    b, inputs = given.b, node.values
    kept = _keep(node, given.before, saved)
    start = [given.outputs[i] or zeros(b, inputs[i].type) for i in carries]
    start += [zeros(b, inputs[i].type) for i in shared]
    through = [*kept, *(inputs[i] for i in scanned), *(given.outputs[i] for i in collected)]
    attrs = {
        "carried": len(start), "scanned": len(through), "axis": node.attrs["axis"],
        "reverse": not node.attrs["reverse"],
    }  # fmt: skip
    arguments = [*start, *through, *(inputs[i] for i in captured)]
    made = b.node(SCAN, arguments, attrs, blocks=(back.graph,)).outputs
    found = dict(zip([*carries, *shared, *xs], made, strict=True))
    return [found.get(i) for i in range(len(inputs))]


def _active(step: Graph, wanted: Sequence[bool], carried: int) -> list[bool]:
    """Whether each input of the block has a gradient that is wanted, or that one goes through."""
    from .grad import dependents

    nodes, outputs = tuple(step), list(step.outputs.values())
    active = [w and x.type.floating for w, x in zip(wanted, step.inputs, strict=True)]
    while True:
        moved = dependents(nodes, [x for x, a in zip(step.inputs, active, strict=True) if a])
        more = [i for i in range(carried) if outputs[i] in moved and not active[i]]
        if not more:
            return active
        for i in more:
            active[i] = True


def _keep(node: Node, b: Recording, carries: Sequence[int]) -> list[Value]:
    """What these carries were at the start of each step; where `node` does not collect that yet, a
    scan that does takes its place."""
    (step,) = node.blocks
    graph = node.graph
    assert graph is not None
    known = len(step.outputs)
    step.outputs |= {f"kept.{i}": step.inputs[i] for i in carries}
    names = list(step.outputs)
    outputs = node.outputs
    if len(names) > known:
        outputs = b.node(SCAN, node.inputs, node.attrs, blocks=(step,)).outputs
        for old, new in zip(node.outputs, outputs, strict=False):
            graph.replace(old, new)
        graph.erase(node)
    return [outputs[names.index(f"kept.{i}")] for i in carries]


# ------------------------------------------------------------------------------------------- if


def _choice(node: Node, given: Given) -> Gradients:
    """The choice between the reverse modes of the arms."""
    condition, *inputs = node.values
    seeded = [i for i, g in enumerate(given.outputs) if g is not None]
    wanted = [i for i, x in enumerate(inputs) if given.wanted[i + 1] and x.type.floating]
    backs = [_Back(block, seeded, wanted) for block in node.blocks]
    read = sorted({i for back in backs for i in back.close(wanted)})
    for back in backs:
        back.graph.inputs = [*(back.given[i] for i in read), *back.seeds.values()]
    arguments = [condition, *(inputs[i] for i in read), *(given.outputs[i] for i in seeded)]
    made = given.b.node(IF, arguments, {}, blocks=[back.graph for back in backs]).outputs
    found = dict(zip(wanted, made, strict=True))
    return [None, *(found.get(i) for i in range(len(inputs)))]


RULES: Mapping[str, Callable[[Node, Given], Gradients]] = {"scan": _scan, "if": _choice}
"""Op -> the gradients of a node's inputs."""
