"""JAX source without a library of modules: pure functions of nested dictionaries of arrays."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.graph import Graph, Node, Weight
from ....compiler.passes.features import fold
from ....compiler.passes.layout import Folds, channels_last
from ....compiler.program import Apply, Call, Chain, Program
from ....compiler.weight import Entry, Step, WeightMap
from ...artefact import Artefact, Interface, Port, module_name
from ...source.draws import noise_ports
from ...source.prepare import prepare
from .. import recurrent
from ..chains import state_path
from ..layers import native
from ..weights import place
from .file import source
from .needs import Known


def emit(graph: Graph, name: str, *, keep_layout: bool = False) -> Artefact:
    """The artefact for JAX as functions `init`, `apply` and `build`; images are stored channels
    last, inputs and outputs unless `keep_layout`."""
    folds: Folds = {}

    def layout(copied: Graph) -> int:
        changes = channels_last(copied, keep_ports=keep_layout, free=True)
        folds.update(fold(copied))
        return changes

    stored, program = prepare(graph, _spelled, layout)
    stem = module_name(name)
    text, arguments = source(stored, program)
    known = Known(program)
    return Artefact(
        "jax",
        stem,
        {f"{stem}.py": text},
        WeightMap([_entry(program, weight, folds, known) for weight in program.weights]),
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
    )


def _spelled(node: Node) -> bool:
    """Whether a node stays as it is; recurrent layers are scans of their steps."""
    return node.op.name not in recurrent.NAMES and native(node)


def _entry(program: Program, weight: Weight, folds: Folds, known: Known) -> Entry:
    """The path in `params` or `state` (`blocks.0.conv1.kernel`), and the steps to it."""
    *holders, (part, _) = program.weights[weight]

    def stage(chain: Chain, name: str) -> list[str]:
        held = [s for s in chain.body if isinstance(s, (Apply, Call)) and known.holds(s)]
        names = [s.member.name for s in held if s.member is not None]
        return [str(names.index(name))]

    keys = state_path(program, holders, stage)
    if weight.layer is None or part != weight.part:
        steps: Sequence[Step] = (Step("permute", weight.order),) if weight.order else ()
        return Entry(".".join([*keys, part]), (weight.path,), tuple(steps))
    if weight.layer.op.name == "prelu":
        return Entry(".".join([*keys, "weight"]), (weight.path,), ())
    name, steps = place(weight)
    return Entry(".".join([*keys, name]), (weight.path,), (*folds.get(weight, ()), *steps))
