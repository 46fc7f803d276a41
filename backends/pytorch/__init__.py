"""PyTorch source: a class a block, loaded from a safetensors file by `load_state_dict`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Set

from ...compiler.graph import Graph
from ...compiler.program import Apply, Place, Program, walk
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Interface, Port, module_name
from ..source.draws import noise_ports
from ..source.module import formatted, join, title
from ..source.names import free, rename
from ..source.prepare import prepare, settled
from ..source.scope import hints
from . import recurrent, rotary
from .attention import Attention, uses
from .module import Module
from .native import native
from .recurrent import IMPORT
from .reserved import ATTRIBUTES, LOCALS


@settled
def emit(
    graph: Graph, name: str, *, keep_layout: bool = False, literal: Set[Place] = frozenset()
) -> Artefact:
    """The artefact for PyTorch; it keeps the source's order of axes in any case."""
    del keep_layout
    prepared, program = prepare(graph, native, literal=literal)
    stem = module_name(name)
    text, arguments = source(prepared, program)
    inputs = tuple(
        Port.of(v, v.name, argument=arguments[v.name], optional=v.default is not None)
        for v in graph.inputs
    )
    return Artefact(
        "pytorch",
        stem,
        {f"{stem}.py": text},
        WeightMap([Entry(_key(path), (w.path,), ()) for w, path in program.weights.items()]),
        Interface(
            program.model.name,
            inputs,
            tuple(Port.of(v, n) for n, v in graph.outputs.items()),
            noise=noise_ports(graph, prepared),
        ),
    )


def _key(path: Iterable[tuple[str, int | None]]) -> str:
    """The name in the state dict: `blocks.0.conv1.weight`."""
    parts = []
    for name, index in path:
        own = name if "." in name or name.isdigit() else free(name, ATTRIBUTES)
        parts += [own] if index is None else [own, str(index)]
    return ".".join(parts)


def source(graph: Graph, program: Program) -> tuple[str, Mapping[str, str]]:
    """The text of the file, and what its model calls each input.

    The program's classes get names that are safe in the file.
    """
    taken = {*LOCALS, "build"}
    names = rename((cls.name for cls in program.classes), taken)
    for cls in program.classes:
        cls.name = names[cls.name]
    taken |= set(names.values())
    used = uses(program)
    attention = Attention(_own_name(taken), used) if used else None
    taken |= {attention.name} if attention else set()
    optional = {v.name: v for v in graph.inputs if v.default is not None}
    modules = [
        Module(cls, frozenset(taken), attention, *((optional, graph.facts) if cls is program.model
                                                   else ({}, ())))
        for cls in program.classes
    ]  # fmt: skip
    pieces = [attention.source()] if attention else []
    pieces += [*recurrent.functions(program), *rotary.functions(program)]
    body = join([*pieces, *(module.source() for module in modules), _build(program)])
    text = formatted(join([title(program.model, "pytorch"), _imports(body), body]))
    return text, modules[-1].arguments


def _own_name(taken: set[str]) -> str:
    return "MultiHeadAttention" if "Attention" in taken else free("Attention", taken)


def _imports(body: str) -> str:
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    standard = {
        "OrderedDict": "from collections import OrderedDict",
        "Path": "from pathlib import Path",
        "Any": "from typing import Any",
    }
    lines = [line for name, line in standard.items() if name in used]
    lines += ["", *(["import torch"] if "torch" in used else [])]
    lines += ["import torch.nn.functional as F"] if "F" in used else []
    lines += ["from safetensors.torch import load_file", "from torch import Tensor, nn"]
    return "\n".join([*lines, *([IMPORT] if "pack_padded_sequence" in used else [])])


def _build(program: Program) -> str:
    cls = program.model
    kinds = sorted(set(hints(cls).values()))
    config = f", **config: {kinds[0] if len(kinds) == 1 else 'Any'}" if kinds else ""
    statements = (s for each in program.classes for s in walk(each.body))
    modal = any(isinstance(s, Apply) and "training" in s.op.config for s in statements)
    mode = " in training mode" if modal else ""
    doc = f"Return the model{mode}, with the weights of a safetensors file if one is given."
    return (
        f"def build(weights: str | Path | None = None{config}) -> {cls.name}:\n"
        f'    """{doc}"""\n'
        f"    model = {cls.name}({'**config' if kinds else ''})\n"
        "    if weights is not None:\n"
        "        model.load_state_dict(load_file(weights))\n"
        "    return model\n"
    )


__all__ = ["emit", "native", "source"]
