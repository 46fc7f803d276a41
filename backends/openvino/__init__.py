"""OpenVINO source: a class that builds the graph for inference, a method for each block."""

from __future__ import annotations

from ...compiler.clone import clone
from ...compiler.graph import Graph
from ...compiler.passes.mode import resolve
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Interface, Port, module_name
from ..source.prepare import prepare
from .file import source
from .methods import native
from .states import check_names


def emit(graph: Graph, name: str, *, keep_layout: bool = False) -> Artefact:
    """The artefact for OpenVINO: inference, in the source's order of axes."""
    del keep_layout
    resolved, _ = clone(graph)
    resolve(resolved, training=False)
    check_names(resolved)
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


def _key(path: tuple[tuple[str, int | None], ...]) -> str:
    """The name in the weights file: PyTorch's."""
    return ".".join(name if index is None else f"{name}.{index}" for name, index in path)
