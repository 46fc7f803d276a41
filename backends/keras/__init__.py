"""Keras 3 source: a function a block on Keras tensors, the model a functional `keras.Model`."""

from __future__ import annotations

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Weight
from ...compiler.passes.layout import channels_last
from ...compiler.program import Class, Program
from ...compiler.weight import Entry, Step, WeightMap
from ..artefact import Artefact, Deviation, Interface, Port, module_name
from ..source.module import docstring, formatted, join
from ..source.names import rename, snake
from ..source.prepare import prepare
from ..source.scope import hint
from .layers import LAYERS, POOLS
from .printer import Function
from .reserved import LOCALS
from .rules import RULES
from .weights import entry


def emit(graph: Graph, name: str, *, keep_layout: bool = False) -> Artefact:
    """The artefact for Keras; images are stored channels last unless `keep_layout`."""
    stored, program = prepare(graph, {*RULES, *LAYERS, *POOLS}, channels_last)
    if stored.updates and any(when == "always" for _, when in stored.updates.values()):
        raise MlcError("unsupported", "Keras source for `state` is not there yet",
                       help="choose another target")  # fmt: skip
    stem = module_name(name)
    entries = [entry(weight, path) for weight, path in program.weights.items()]
    _distinct(entries)
    return Artefact(
        "keras",
        stem,
        {f"{stem}.py": source(program)},
        WeightMap(entries),
        Interface(
            snake(program.model.name),
            tuple(Port.of(v, v.name, optional=v.default is not None) for v in stored.inputs),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            _deviations(list(graph.weights.values())),
        ),
    )


def _distinct(entries: list[Entry]) -> None:
    """Names are joined by `_`, so that `a_b` + `c` and `a` + `b_c` would be one."""
    seen: set[str] = set()
    for each in entries:
        if each.target in seen:
            raise MlcError("unsupported", f"two weights would both be {each.target} in Keras",
                           help="rename one of the layers with `as`")  # fmt: skip
        seen.add(each.target)


def _deviations(weights: list[Weight]) -> tuple[Deviation, ...]:
    """Keras' batch norm keeps the biased variance of the batch, the language's the unbiased one."""
    paths = tuple(w.path for w in weights if w.part == "running_var")
    formula = "the running variance takes in the batch's biased variance: factor (n - 1) / n"
    return (Deviation("running_var", formula, paths),) if paths else ()


def source(program: Program) -> str:
    """The text of the file."""
    functions = rename({c.name: snake(c.name) for c in program.classes}.values(), LOCALS)
    names = {c.name: functions[snake(c.name)] for c in program.classes}
    printed = [Function(cls, names, {}).source() for cls in program.classes]
    title = docstring(program.model.doc or f"{program.model.name}, written by mlc.")
    body = join([*printed, _build(program.model, names[program.model.name])])
    return formatted(join([title, _imports(body), body]))


def _imports(body: str) -> str:
    counted = "from itertools import count\n" if "count()" in body else ""
    return (f"{counted}from pathlib import Path\n\nimport keras\n"
            "from safetensors.numpy import load_file")  # fmt: skip


def _build(cls: Class, function: str) -> str:
    kinds = sorted({hint(p.value) for p in cls.params})
    config = f", **config: {' | '.join(kinds)}" if kinds else ""
    given = "**config" if kinds else ""
    return (
        f"def build(weights: str | Path | None = None{config}) -> keras.Model:\n"
        '    """Return the model, with the weights of a safetensors file if one is given."""\n'
        f"    model = {function}({given})\n"
        "    if weights is not None:\n"
        "        tensors = load_file(weights)\n"
        "        for variable in model.weights:\n"
        "            variable.assign(tensors[variable.path])\n"
        "    return model\n"
    )


__all__ = ["Step", "emit", "source"]
