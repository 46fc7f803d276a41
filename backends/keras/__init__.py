"""Keras 3 source: a function a block on Keras tensors, the model a functional `keras.Model`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr
from ...compiler.graph import Graph, Weight
from ...compiler.passes.layout import Folds, channels_last, fold_flatten
from ...compiler.passes.tokens import tokens
from ...compiler.program import Apply, Class, Place, Program
from ...compiler.weight import Entry, WeightMap
from ..artefact import Artefact, Deviation, Interface, Port, module_name
from ..source.draws import noise_ports
from ..source.module import formatted, join, title
from ..source.names import free, like, snake
from ..source.partials import Partials
from ..source.prepare import prepare, settled
from ..source.scope import hint
from . import recurrent
from .attention import attention
from .body import Make
from .clashes import Respelled, respelled
from .clusters import Group
from .conv_transpose import stretch
from .custom import camel
from .layers import CONVENTIONS, native
from .members import Names, nameless
from .printer import Function
from .release import release
from .reserved import IN_BUILD, LOCALS
from .starts import START, UNIFORM
from .weights import Places, kept


@settled
def emit(
    graph: Graph, name: str, *, keep_layout: bool = False, literal: Set[Place] = frozenset()
) -> Artefact:
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

    stored, program = prepare(graph, native, layout, within=False, literal=literal)
    release(program)
    recurrent.trim(program)
    stem = module_name(name)
    file = File(stored, program, stem)
    text = file.source()
    places = Places(program, file.holders, folds, file.respelled.members)
    held = kept(stored, file.groups)
    found = [places.entry(w, path) for w, path in program.weights.items() if w in held]
    entries = [entry for entry in found if entry is not None]
    _distinct(entries)
    return Artefact(
        "keras",
        stem,
        {f"{stem}.py": text},
        WeightMap(entries),
        Interface(
            file.name,
            tuple(Port.of(v, v.name, optional=v.default is not None) for v in stored.inputs),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            _deviations(program.weights),
            noise=noise_ports(graph, stored),
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
    """Keras' batch norm keeps the biased variance of the batch, the language's the unbiased one;
    its recurrent layers have one bias."""
    paths = tuple(w.path for w in weights if w.layer is not None and w.part == "running_var")
    formula = "the running variance takes in the batch's biased variance: factor (n - 1) / n"
    biases = recurrent.summed([*weights])
    return (
        *([Deviation("running_var", formula, paths)] if paths else []),
        *([Deviation("summed_bias", recurrent.SUMMED, biases)] if biases else []),
    )


class File:
    """The emitted file; once printed, `holders` says which of its layers holds a parameter."""

    def __init__(self, graph: Graph, program: Program, stem: str) -> None:
        self.program = program
        self.stem = stem
        self.name = like(stem, program.model.name)
        self.graph = graph
        self.holders: dict[tuple[Class, str], str] = {}
        self.groups: list[tuple[Class, Group]] = []
        self.sizes: dict[Class, Counter[str]] = {}
        self.names: set[str] = set()
        self.respelled = Respelled()

    def source(self) -> str:
        """The text of the file; what it needs besides the model's own is known once it is tried."""
        partials = Partials(CONVENTIONS, "keras")
        for function in self._printed(_plainly, LOCALS):
            self.sizes[function.cls] = function.count()
        texts = [function.source() for function in self._printed(partials.count, LOCALS)]
        self.respelled = respelled(self.program, texts, self.names)
        functions = self._functions(LOCALS)
        given = {hyper.name for cls in self.program.classes for hyper in cls.params}
        names = partials.settle({*LOCALS, *functions.values(), *given})
        printed = [
            *attention(self.program, self.stem),
            *stretch(self.program, self.stem),
            *recurrent.layers(self.program, self.stem),
            *self._pieces(partials.made, LOCALS | names),
        ]
        model = self.program.model
        shared = list(partials.source())
        if any("fan_uniform" in text for text in (*shared, *printed)):
            shared.insert(0, START)
        uniform = [UNIFORM] if any("uniform(" in text for text in printed) else []
        body = join([*uniform, *printed, _build(model, functions[model.name])])
        imports = _imports("".join([*shared, body]))
        head = "\n".join([imports, "", *shared])
        return formatted(join([title(model, "keras"), head, body]))

    def _functions(self, taken: frozenset[str]) -> dict[str, str]:
        """What the functions of the classes are called."""
        found: dict[str, str] = {}
        for cls in self.program.classes:
            wish, inside = snake(cls.name), frozenset[str]()
            if cls is self.program.model:
                wish, inside = self.name, IN_BUILD
            found[cls.name] = free(wish, {*taken, *inside, *found.values()})
        return found

    def _printed(self, make: Make, taken: frozenset[str]) -> Iterator[Function]:
        """The functions, those of callees first."""
        self.names = {"Path", "Attention", "Stretch", *recurrent.OWN.values()}
        functions = self._functions(taken)
        used = taken | frozenset(functions.values())
        names = Names(
            functions,
            used,
            nameless(self.program.classes),
            self.name,
            self.respelled.members,
            self.respelled.inputs,
        )
        for cls in self.program.classes:
            sizes = self.sizes.get(cls)
            graph = self.graph if cls is self.program.model else None
            yield Function(cls, names, graph, self._layer_name, make, sizes)

    def _pieces(self, make: Make, taken: frozenset[str]) -> Iterator[str]:
        """Layers, each written once, and functions as text."""
        known: dict[str, str] = {}
        for function in self._printed(make, taken):
            yield from (default.source(self.stem) for default in function.defaults)
            for custom in function.layers:
                first = known.setdefault(custom.body(), custom.name)
                if first == custom.name:
                    yield custom.source(self.stem)
                custom.name = first
            yield function.source()
            for custom in function.layers:
                self.groups.append((function.cls, custom.group))
                for parameter in custom.group.parameters:
                    assert custom.member is not None
                    self.holders[function.cls, parameter.name] = custom.member

    def _layer_name(self, wish: str) -> str:
        """A class name that no other layer has."""
        name, number = camel(wish), 2
        while name in self.names:
            name, number = f"{camel(wish)}{number}", number + 1
        self.names.add(name)
        return name


def _imports(body: str) -> str:
    lines = ["import itertools"] if "itertools." in body else []
    lines += ["from functools import partial"] if "partial(" in body else []
    return "\n".join([*lines, "from pathlib import Path\n", "import keras",
                      "from safetensors.numpy import load_file"])  # fmt: skip


def _plainly(apply: Apply, made: Expr) -> Expr:
    """The constructor's call as it is."""
    del apply
    return made


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
        "        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:\n"
        '            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")\n'
        "        for variable in model.weights:\n"
        "            variable.assign(tensors[variable.path])\n"
        "    return model\n"
    )


__all__ = ["emit", "native"]
