"""How each target writes each op: by a form of its own, through the op's body, or not at all.

Nothing of it is written by hand but the refusals: it is read off what the backends themselves ask
of a node, on the ops' samples, and needs no framework.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..compiler.graph import Node
from ..compiler.op import Op
from ..compiler.sample import in_layer, sampled
from . import TARGETS, Target


@dataclass(frozen=True, slots=True)
class Refusal:
    """`samples` of an op that a target refuses, and `why`; `probe` is the test that shows the
    framework fail at them."""

    samples: tuple[int, ...]
    why: str
    probe: str


REFUSED: Mapping[tuple[str, str], Refusal] = {}
"""(op, target) -> what is refused; the matrix test holds it to what the backends do."""


@dataclass(frozen=True, slots=True)
class Support:
    """How a target writes the samples of an op: `rows` of them by a form of its own, `refused` of
    them not at all, the others through the op's body."""

    samples: int
    rows: int
    refused: int = 0

    @property
    def form(self) -> str:
        """`idiomatic`, `body`, `refused`; `partly` where only some samples have their own form."""
        if self.refused == self.samples:
            return "refused"
        if not self.rows:
            return "body"
        return "idiomatic" if self.rows + self.refused == self.samples else "partly"


def support(op: Op, targets: Collection[str] = TARGETS) -> dict[str, Support]:
    """How each of these targets writes the op."""
    nodes = [sampled(op, number) for number in range(len(op.samples))]
    for node in nodes:
        if op.layer:
            in_layer(node, "layer")
    return {name: _support(op, nodes, TARGETS[name]) for name in targets}


def _support(op: Op, nodes: Collection[Node], target: Target) -> Support:
    refusal = REFUSED.get((op.name, target.name))
    refused = refusal.samples if refusal else ()
    rows = 0
    for number, node in enumerate(nodes):
        if "training" in node.attrs:
            given = op.samples[number].get("training", False)
            node.attrs["training"] = given if target.gradients else None
        rows += number not in refused and target.native(node)
    return Support(len(nodes), rows, len(refused))
