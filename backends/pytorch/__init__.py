"""PyTorch source: a class a block, loaded from a safetensors file by `load_state_dict`."""

from __future__ import annotations

from ...compiler.graph import Graph, Weight
from ...compiler.program import Apply, Class, Program, walk
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Interface, Port, module_name
from ..source.module import docstring, formatted, join
from ..source.names import free
from ..source.prepare import prepare
from ..source.scope import Scope, hint
from .attention import attention
from .layers import LAYERS
from .printer import Module
from .reserved import ATTRIBUTES, LOCALS
from .rules import RULES


def emit(graph: Graph, name: str, *, keep_layout: bool = False) -> Artefact:
    """The artefact for PyTorch; it keeps the source's order of axes in any case."""
    _, program = prepare(graph, {*RULES, *LAYERS})
    stem = module_name(name)
    model = program.model.name
    return Artefact(
        "pytorch",
        stem,
        {f"{stem}.py": source(graph, program)},
        WeightMap([Entry(_key(path), (w.path,), ()) for w, path in program.weights.items()]),
        Interface(
            model,
            tuple(Port.of(v, v.name, optional=v.default is not None) for v in graph.inputs),
            tuple(Port.of(v, n) for n, v in graph.outputs.items()),
        ),
    )


def _key(path: tuple[tuple[str, int | None], ...]) -> str:
    """The name in the state dict."""
    parts = []
    for name, index in path:
        parts.append(
            name if "." in name else free(name, ATTRIBUTES) if not name.isdigit() else name
        )
        parts += [] if index is None else [str(index)]
    return ".".join(parts)


def source(graph: Graph, program: Program) -> str:
    """The text of the file."""
    classes = frozenset({cls.name for cls in program.classes} | {"Attention"})
    optional = {v.name: v for v in graph.inputs if v.default is not None}
    printed = [
        Module(cls, classes, optional if cls is program.model else {}).source()
        for cls in program.classes
    ]
    title = docstring(program.model.doc or f"{program.model.name}, written by mlc.")
    body = join([*attention(program), *printed, _build(program.model)])
    return formatted(join([title, _imports(body), body]))


def _imports(body: str) -> str:
    lines = ["import torch"] if "torch." in body else []
    lines += ["import torch.nn.functional as F"] if "F." in body else []
    return "\n".join([
        "from pathlib import Path\n", *lines, "from safetensors.torch import load_file",
        "from torch import Tensor, nn",
    ])  # fmt: skip


def _build(cls: Class) -> str:
    kinds = sorted({hint(p.value) for p in cls.params})
    config = f", **config: {' | '.join(kinds)}" if kinds else ""
    given = "**config" if kinds else ""
    return (
        f"def build(weights: str | Path | None = None{config}) -> {cls.name}:\n"
        '    """Return the model in training mode, with the weights of a safetensors file if given."""\n'
        f"    model = {cls.name}({given})\n"
        "    if weights is not None:\n"
        "        model.load_state_dict(load_file(weights))\n"
        "    return model\n"
    )


def uses(program: Program, op: str) -> list[Apply]:
    """All applications of an op."""
    statements = (s for cls in program.classes for s in walk(cls.body))
    return [s for s in statements if isinstance(s, Apply) and s.op.name == op]


__all__ = ["LOCALS", "Scope", "Weight", "emit", "source", "uses"]
