"""OpenVINO source: a class that builds the graph for inference, a method for each block."""

from __future__ import annotations

from ...compiler.clone import clone
from ...compiler.graph import Graph
from ...compiler.passes.adjoint import adjoint
from ...compiler.passes.mode import resolve
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Gradients, Interface, Port, module_name
from ..source.names import free
from ..source.prepare import prepare
from .file import source
from .gradients import source as derived
from .methods import native
from .reserved import FLAT
from .states import check_names


def emit(
    graph: Graph, name: str, *, keep_layout: bool = False, gradients: bool = False
) -> Artefact:
    """The artefact for OpenVINO: inference, in the source's order of axes.

    With `gradients` the model also computes those by every float input and trainable weight, see
    `compiler.passes.adjoint`, and its weights are inputs. Raises MlcError `unsupported` for what
    OpenVINO cannot say, and `gradient` for an op that has none.
    """
    del keep_layout
    resolved, _ = clone(graph)
    resolve(resolved, training=False)
    check_names(resolved)
    if gradients:
        return _with_gradients(resolved, name)
    stored, program = prepare(resolved, native)
    stem = module_name(name)
    return Artefact(
        "openvino",
        stem,
        {f"{stem}.py": source(stored, program)},
        WeightMap([Entry(_key(path), (w.path,)) for w, path in program.weights.items()]),
        Interface(
            program.model.name,
            tuple(Port.of(v, v.name, default=v.default) for v in stored.inputs),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            weights=bool(program.weights),
        ),
    )


def _with_gradients(graph: Graph, name: str) -> Artefact:
    """The artefact for a resolved graph and its gradients."""
    both = adjoint(graph)
    stem = module_name(name)
    interface = Interface(
        free(graph.name, FLAT),
        tuple(Port.of(v, v.name, default=v.default) for v in both.graph.inputs),
        tuple(Port.of(v, n) for n, v in both.graph.outputs.items()),
        gradients=Gradients(both.cotangents, both.inputs, both.weights),
        fed=bool(both.graph.weights),
    )
    return Artefact(
        "openvino",
        stem,
        {f"{stem}.py": derived(both)},
        WeightMap([Entry(path, (path,)) for path in graph.weights]),
        interface,
    )


def _key(path: tuple[tuple[str, int | None], ...]) -> str:
    """The name in the weights file: PyTorch's."""
    return ".".join(name if index is None else f"{name}.{index}" for name, index in path)
