"""OpenVINO source: a class that builds the graph for inference, a method for each block."""

from __future__ import annotations

from collections.abc import Set

from ...compiler.clone import clone
from ...compiler.graph import Graph
from ...compiler.passes.adjoint import Adjoint, adjoint
from ...compiler.passes.mask import mask
from ...compiler.passes.mode import resolve
from ...compiler.passes.noise import as_inputs
from ...compiler.program import Place
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Gradients, Interface, Port, module_name
from ..source.names import free
from ..source.prepare import prepare, settled
from .file import source
from .gradients import source as line_by_line
from .methods import native
from .noise import inputs
from .reserved import FLAT
from .states import check_names, check_states


@settled
def emit(
    graph: Graph,
    name: str,
    *,
    keep_layout: bool = False,
    gradients: bool = False,
    training: bool = False,
    literal: Set[Place] = frozenset(),
) -> Artefact:
    """The artefact for OpenVINO, in one mode (inference, or `training`) and the source's axes.

    Noise that the model draws is an input, see `compiler.passes.noise`.
    With `gradients` the model also computes those by every float input and trainable weight, see
    `compiler.passes.adjoint`. In training each dropout has a mask as an input, see
    `compiler.passes.mask`, and buffers come out as `<path>.next`. In both cases all of it stands in
    one method, and the weights are inputs. Raises MlcError `unsupported` for what OpenVINO cannot
    say, and `gradient` for an op that has none.
    """
    del keep_layout
    resolved, _ = clone(graph)
    resolve(resolved, training)
    check_names(resolved)
    if gradients or training:
        as_inputs(resolved)
        return _flat(resolved, name, gradients)
    check_states(resolved)
    stored, program = prepare(resolved, native, training=training, literal=literal)
    given = [*stored.inputs, *inputs(graph, stored)]
    stem = module_name(name)
    return Artefact(
        "openvino",
        stem,
        {f"{stem}.py": source(stored, program)},
        WeightMap([Entry(_key(path), (w.path,)) for w, path in program.weights.items()]),
        Interface(
            program.model.name,
            tuple(Port.of(v, v.name, default=v.default) for v in given),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            weights=bool(program.weights),
        ),
    )


def _flat(graph: Graph, name: str, gradients: bool) -> Artefact:
    """The artefact for a resolved graph, written line by line, with its gradients if wanted."""
    still = {given: 1 - rate for given, rate in mask(graph).items()}
    both = adjoint(graph, without=still) if gradients else Adjoint(graph, {}, {}, {})
    stem = module_name(name)
    interface = Interface(
        free(graph.name, FLAT),
        tuple(Port.of(v, v.name, default=still.get(v.name, v.default)) for v in both.graph.inputs),
        tuple(Port.of(v, n) for n, v in both.graph.outputs.items()),
        gradients=Gradients(both.cotangents, both.inputs, both.weights) if gradients else None,
        fed=bool(both.graph.weights),
    )
    entries = [Entry(path, (path,)) for path in graph.weights]
    return Artefact(
        "openvino", stem, {f"{stem}.py": line_by_line(both)}, WeightMap(entries), interface
    )


def _key(path: tuple[tuple[str, int | None], ...]) -> str:
    """The name in the weights file: PyTorch's."""
    return ".".join(name if index is None else f"{name}.{index}" for name, index in path)
