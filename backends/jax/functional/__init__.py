"""JAX source without a library of modules: pure functions of nested dictionaries of arrays."""

from __future__ import annotations

from collections.abc import Sequence, Set

from ....compiler.graph import Graph, Node, Weight
from ....compiler.passes.features import fold
from ....compiler.passes.layout import Folds, channels_last
from ....compiler.program import Apply, Call, Chain, Place, Program
from ....compiler.weight import Entry, Step, WeightMap
from ...artefact import Artefact, Interface, Port, module_name
from ...source.draws import noise_ports
from ...source.prepare import prepare
from .. import recurrent
from ..layers import native
from ..policy import Policy
from ..runs import Runs
from ..stacks import stack, stacks
from ..weights import joined, lists, place, placed
from .file import source
from .needs import Known


def emit(
    graph: Graph,
    name: str,
    *,
    keep_layout: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    literal: Set[Place] = frozenset(),
) -> Artefact:
    """The artefact for JAX as functions `init`, `apply` and `build`; images are stored channels
    last, inputs and outputs unless `keep_layout`. `tpu` and `scan_layers` are as for modules."""
    folds: Folds = {}

    def layout(copied: Graph) -> int:
        changes = channels_last(copied, keep_ports=keep_layout, free=True)
        folds.update(fold(copied))
        return changes

    stored, program = prepare(graph, _spelled, layout, literal=literal)
    stem = module_name(name)
    known = Known(program)
    runs = Runs(stored)
    left = stack(program, runs) if scan_layers else []
    text, arguments = source(stored, program, Policy(tpu, frozenset(stacks(program))))
    return Artefact(
        "jax",
        stem,
        {f"{stem}.py": text},
        WeightMap(_entries(program, folds, known, runs)),
        Interface(
            program.model.name,
            tuple(
                Port.of(v, v.name, argument=arguments[v.name], optional=v.default is not None)
                for v in stored.inputs
            ),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            trees=("params", "state") if known[program.model].state else ("params",),
            noise=noise_ports(graph, stored),
        ),
        notes=tuple(map(str, left)),
    )


def _spelled(node: Node) -> bool:
    """Whether a node stays as it is; recurrent layers are scans of their steps."""
    return node.op.name not in recurrent.NAMES and native(node)


def _entries(program: Program, folds: Folds, known: Known, runs: Runs) -> list[Entry]:
    """For each array its path in `params` or `state` (`blocks.0.conv1.kernel`), and the steps."""
    held = lists(program)

    def stage(chain: Chain, name: str) -> list[str]:
        held = [s for s in chain.body if isinstance(s, (Apply, Call)) and known.holds(s)]
        names = [s.member.name for s in held if s.member is not None]
        return [str(names.index(name))]

    def made(weight: Weight) -> tuple[Entry, tuple[int, ...]]:
        keys, places = placed(program, weight, runs, held, stage, under=())
        *_, (part, _) = program.weights[weight]
        name, steps = _stored(weight, part, folds)
        return Entry(".".join([*keys, name]), (weight.path,), tuple(steps)), places

    return joined(map(made, program.weights))


def _stored(weight: Weight, part: str, folds: Folds) -> tuple[str, Sequence[Step]]:
    """What a weight is called, and the steps to it."""
    if weight.layer is None or part != weight.part:
        return part, (Step("permute", weight.order),) if weight.order else ()
    if weight.layer.op.name == "prelu":
        return "weight", ()
    name, steps = place(weight)
    return name, (*folds.get(weight, ()), *steps)
