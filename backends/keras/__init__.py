"""Keras 3 source: a function a block on Keras tensors, the model a functional `keras.Model`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr
from ...compiler.graph import Graph, Weight
from ...compiler.passes.layout import Folds, channels_last, fold_flatten
from ...compiler.passes.tokens import tokens
from ...compiler.program import Class, Program
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Deviation, Interface, Port, module_name
from ..source.module import docstring, formatted, join
from ..source.names import free, snake
from ..source.prepare import prepare
from ..source.scope import hint
from .attention import attention
from .custom import title
from .layers import native
from .printer import Function
from .reserved import LOCALS
from .shorten import Shortener
from .weights import Places


def emit(graph: Graph, name: str, *, keep_layout: bool = False) -> Artefact:
    """The artefact for Keras; images are stored channels last, inputs and outputs unless
    `keep_layout`."""
    if not graph.inputs:
        raise MlcError("unsupported", f"{graph.name} has no inputs, and a Keras model needs one",
                       help="give it an input, or choose another target")  # fmt: skip
    folds: Folds = {}

    def layout(copied: Graph) -> int:
        tokens(copied)
        changes = channels_last(copied, keep_ports=keep_layout, free=True)
        folds.update(fold_flatten(copied))
        return changes

    stored, program = prepare(graph, native, layout)
    stem = module_name(name)
    file = File(stored, program, stem)
    text = file.source()
    places = Places(program, file.holders, folds)
    live = stored.live()
    entries = [
        places.entry(weight, path)
        for weight, path in program.weights.items()
        if weight.uses or weight in live
    ]
    _distinct(entries)
    return Artefact(
        "keras",
        stem,
        {f"{stem}.py": text},
        WeightMap(entries),
        Interface(
            snake(program.model.name),
            tuple(Port.of(v, v.name, optional=v.default is not None) for v in stored.inputs),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            _deviations(program.weights),
        ),
    )


def _distinct(entries: Iterable[Entry]) -> None:
    """Names are joined by `_`, so that `a_b` + `c` and `a` + `b_c` would be one."""
    seen: set[str] = set()
    for each in entries:
        if each.target in seen:
            raise MlcError("unsupported", f"two weights would both be {each.target} in Keras",
                           help="rename one of the layers with `as`")  # fmt: skip
        seen.add(each.target)


def _deviations(weights: Iterable[Weight]) -> tuple[Deviation, ...]:
    """Keras' batch norm keeps the biased variance of the batch, the language's the unbiased one."""
    paths = tuple(w.path for w in weights if w.layer is not None and w.part == "running_var")
    formula = "the running variance takes in the batch's biased variance: factor (n - 1) / n"
    return (Deviation("running_var", formula, paths),) if paths else ()


class File:
    """The emitted file; once printed, `holders` says which of its layers holds a parameter."""

    def __init__(self, graph: Graph, program: Program, stem: str) -> None:
        self.program = program
        self.stem = stem
        self.optional = {v.name: v for v in graph.inputs if v.default is not None}
        self.holders: dict[tuple[Class, str], str] = {}
        self.sizes: dict[Class, Counter[str]] = {}
        self.names: set[str] = set()

    def source(self) -> str:
        """The text of the file; what it needs besides the model's own is known once it is tried."""
        shortener = Shortener()
        for function in self._printed(lambda applied: applied, LOCALS):
            self.sizes[function.cls] = function.count()
        tried = "".join(f.source() for f in self._printed(shortener.count, LOCALS))
        taken = LOCALS if "count()" in tried else LOCALS - {"count"}
        functions = self._functions(taken)
        shortener.settle({*taken, *functions.values()})
        pieces = [*attention(self.program, self.stem), *self._pieces(shortener.made, taken)]
        model = self.program.model
        heading = docstring(model.doc or f"{model.name}, written by mlc.")
        body = join([*shortener.source(), *pieces, _build(model, functions[model.name])])
        return formatted(join([heading, _imports(body), body]))

    def _functions(self, taken: frozenset[str]) -> dict[str, str]:
        """What the functions of the classes are called."""
        found: dict[str, str] = {}
        for cls in self.program.classes:
            found[cls.name] = free(snake(cls.name), {*taken, *found.values()})
        return found

    def _printed(
        self, shorten: Callable[[Expr], Expr], taken: frozenset[str]
    ) -> Iterator[Function]:
        """The functions, those of callees first."""
        self.names = {"Path", "Attention"}
        functions = self._functions(taken)
        used = taken | frozenset(functions.values())
        for cls in self.program.classes:
            optional = self.optional if cls is self.program.model else {}
            sizes = self.sizes.get(cls)
            yield Function(cls, functions, used, optional, self._layer_name, shorten, sizes)

    def _pieces(self, shorten: Callable[[Expr], Expr], taken: frozenset[str]) -> Iterator[str]:
        """Layers and functions as text."""
        for function in self._printed(shorten, taken):
            yield from (default.source(self.stem) for default in function.defaults)
            yield from (custom.source(self.stem) for custom in function.layers)
            yield function.source()
            for custom in function.layers:
                for parameter in custom.group.parameters:
                    assert custom.member is not None
                    self.holders[function.cls, parameter.name] = custom.member

    def _layer_name(self, wish: str) -> str:
        """A class name that no other layer has."""
        name, number = title(wish), 2
        while name in self.names:
            name, number = f"{title(wish)}{number}", number + 1
        self.names.add(name)
        return name


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


__all__ = ["emit"]
