"""Any graph as .mdl text that parses back to an equal graph: one flat model, a line a node.

Weights are `param` and `state` lines with their paths, and are handed to the ops by keyword; what
an op then gives are all of its outputs, so that new buffers are assigned by hand. The blocks of a
scan, a loop or a choice stand below its line, each with what it takes and gives, in names of its
own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .array import np
from .diagnose import MlcError
from .dim import Dim
from .expr import FUNCTIONS
from .graph import Fact, Graph, Input, Node, Type, Value, Weight
from .op import Config
from .ops.draw import NOISE

INDENT = "    "
COLUMNS = 100
ELEMENTS = 20_000
"""How many elements the lists have, those within lists too, that a constant is written as."""

NAME = 150
"""How long names are made at most, what makes them differ left out."""

NESTED = 25
"""How deep blocks stand in blocks at most: what is deeper could not be read."""

RESERVED = (
    "and", "or", "not", "if", "elif", "else", "in", "for", "as", "true", "false", "none", "inf",
    "nan", "training", "like",
)  # fmt: skip
"""Words that no value is called by."""

OPERATORS: Mapping[str, str] = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floor_div": "//", "mod": "%", "pow": "**",
    "matmul": "@", "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "logical_and": "and", "logical_or": "or",
}  # fmt: skip


CALLED: Mapping[str, str] = {"if": "choose"}
"""What ops are called whose name is a keyword."""


def text(graph: Graph) -> str:
    """The graph as a model of the language; MlcError `unsupported` for what has no text.

    That are constants of more than 20,000 elements, and blocks within more than 25 others.
    """
    labels = {label for x in graph.inputs for label in x.type.labels if label}
    return "\n".join(_Writer(graph, graph, labels).model()) + "\n"


class _Writer:
    """Writes a graph, or a block of the graph `whole`; `taken` are names that no value has."""

    def __init__(
        self, graph: Graph, whole: Graph, taken: Iterable[str] = (), depth: int = 0
    ) -> None:
        self.graph = graph
        self.whole = whole
        self.depth = depth
        self.margin = INDENT * (2 * depth + 1)
        self.names: dict[Value, str] = {}
        self.tried: dict[str, int] = {}
        self.taken = {*RESERVED, *FUNCTIONS, *whole.symbols, *taken}
        if not depth:
            self.taken |= {*graph.outputs, *(given.name for given in graph.inputs)}
        for given in graph.inputs:
            self.names[given] = self._unique(given.name or "x") if depth else given.name
        for weight in graph.weights.values():
            self.names[weight] = self._unique(weight.path)
        self.outputs = {self._result(name, value): value for name, value in graph.outputs.items()}
        for name, value in self.outputs.items():
            self.names.setdefault(value, name)

    def _result(self, name: str, value: Value) -> str:
        """What an output is called: in a block, after the value where it has but a number."""
        if not self.depth:
            return name
        return self._unique(name if name[:1].isalpha() else value.name or "y")

    def model(self) -> Iterator[str]:
        """The text of a model, line by line."""
        graph = self.graph
        yield f"model {graph.name}:"
        for given in graph.inputs:
            yield INDENT + _input(given)
        yield from self._outs()
        for fact in graph.facts:
            yield f"{INDENT}require {_condition(fact)}"
        for weight in graph.weights.values():
            yield INDENT + self._weight(weight)
        yield ""
        yield from self._body()
        for weight, (value, when) in graph.updates.items():
            mode = " if training" if when == "training" else ""
            yield f"{INDENT}{self.names[weight]} := {self.names[value]}{mode}"

    def block(self) -> Iterator[str]:
        """The text of a block, line by line."""
        yield f"{self.margin[len(INDENT) :]}block:"
        for given in self.graph.inputs:
            yield f"{self.margin}in  {self.names[given]}: {_type(given.type)}"
        yield from self._outs()
        yield ""
        yield from self._body()

    def _outs(self) -> Iterator[str]:
        for name, value in self.outputs.items():
            yield f"{self.margin}out {name}: {_type(value.type)}"

    def _body(self) -> Iterator[str]:
        for node in self.graph:
            yield from self._statement(node)
        for name, value in self.outputs.items():
            if self.names[value] != name:
                yield f"{self.margin}{name} = {self.names[value]}"

    # ---------------------------------------------------------------------------------- names

    def _name(self, value: Value) -> str:
        if value not in self.names:
            assert value.node is not None
            layer = value.node.layer
            self.names[value] = self._unique(
                value.name or (layer.path if layer else value.node.op.name)
            )
        return self.names[value]

    def _unique(self, name: str) -> str:
        """An identifier like `name` that nothing else has."""
        base = re.sub(r"\W", "_", name, flags=re.ASCII)[:NAME]
        base = re.sub(r"^__+", "_", base)  # names with two are not of the language
        base = base if base != "_" else "_unread"
        base = base if base[:1].isalpha() or base[:1] == "_" else f"_{base}"
        chosen, count = base, self.tried.get(base, 1)
        while chosen in self.taken:
            count += 1
            chosen = f"{base}_{count}"
        self.taken.add(chosen)
        self.tried[base] = count
        return chosen

    # ---------------------------------------------------------------------------------- lines

    def _weight(self, weight: Weight) -> str:
        keyword, name = "param" if weight.trainable else "state", self.names[weight]
        init = weight.init.kind
        if weight.init.args:
            init += f"({', '.join(map(literal, weight.init.args))})"
        path = f" as {literal(weight.path)}" if weight.path != name else ""
        return f"{keyword} {name}: {_type(weight.type)} = {init}{path}"

    def _noise(self, node: Node) -> str:
        name, key = self._name(node.output), node.attrs["key"]
        path = f" as {literal(key)}" if key != name else ""
        return f"noise {name}: {_type(node.output.type)} = {node.attrs['distribution']}{path}"

    def _statement(self, node: Node) -> Iterator[str]:
        """The line of a node, or lines where it is longer than 100 columns; then its blocks."""
        if node.op is NOISE:
            yield self.margin + self._noise(node)
            return
        names = [None if value is None else self.names[value] for value in node.inputs]
        targets = f"{self.margin}{', '.join(map(self._name, node.outputs))} = "
        if node.op.name in OPERATORS:
            yield f"{targets}{names[0]} {OPERATORS[node.op.name]} {names[1]}"
            return
        called, end = CALLED.get(node.op.name, node.op.name), ":" if node.blocks else ""
        arguments = [*self._tensors(node, names), *_attributes(node)]
        line = f"{targets}{called}({', '.join(arguments)}){end}"
        if len(line) <= COLUMNS:
            yield line
        else:
            yield f"{targets}{called}("
            yield from _filled(arguments, self.margin + INDENT)
            yield f"{self.margin}){end}"
        if node.blocks and self.depth == NESTED:
            text = f"blocks within more than {NESTED} others have no text"
            raise MlcError("unsupported", text, node.span)
        for block in node.blocks:
            yield from _Writer(block, self.whole, depth=self.depth + 1).block()

    def _tensors(self, node: Node, names: Sequence[str | None]) -> Iterator[str]:
        """The inputs by position, up to the first that is absent; the others by keyword."""
        if node.op.variadic:
            yield from (name for name in names if name)
            return
        keys = [key.removesuffix("?") for key in (*node.op.inputs, *node.op.weights)]
        if _would_make(node):
            yield f"{keys[len(node.op.inputs)]} = none"
        gap = next((i for i, name in enumerate(names) if name is None), len(names))
        for i, (key, name) in enumerate(zip(keys, names, strict=True)):
            if name is not None:
                plain = i < min(gap, len(node.op.inputs))
                yield name if plain else f"{key.replace('.', '_')} = {name}"


def _filled(arguments: Sequence[str], margin: str) -> Iterator[str]:
    """Arguments on lines of their own, as many on each as fit."""
    line = ""
    for i, argument in enumerate(arguments):
        text = argument + ("," if i + 1 < len(arguments) else "")
        if line and len(margin + line + " " + text) > COLUMNS:
            yield margin + line
            line = ""
        line = f"{line} {text}" if line else text
    yield margin + line


def _would_make(node: Node) -> bool:
    """Whether the node has none of the weights that a layer of its attributes would make."""
    count = len(node.op.inputs)
    if node.op.params is None or any(node.inputs[count:]):
        return False
    types = [value.type if value else None for value in node.inputs[:count]]
    return bool(node.op.params(*types, **node.attrs))


def _input(given: Input) -> str:
    if given.default is None:
        return f"in  {given.name}: {_type(given.type, labels=True)}"
    return f"in? {given.name}: {_type(given.type, labels=True)} = {literal(given.default)}"


def _type(type: Type, labels: bool = False) -> str:
    axes = [
        f"{label} = {size}" if labels and label not in (None, str(size)) else str(size)
        for size, label in zip(type.shape, type.labels, strict=True)
    ]
    return f"{type.dtype}[{', '.join(axes)}]"


def _condition(fact: Fact) -> str:
    if fact.relation == "divides":
        return f"({fact.right}) % {_operand(fact.left)} == 0"
    return f"{fact.left} {fact.relation} {fact.right}"


def _operand(size: Dim) -> str:
    return str(size) if isinstance(size, int) or str(size).isidentifier() else f"({size})"


# ----------------------------------------------------------------------------------- attributes


def _attributes(node: Node) -> Iterator[str]:
    """What differs from the record's defaults, as keyword arguments."""
    for key, config in node.op.config.items():
        value = node.attrs[key]
        if not _is_default(value, config.default):
            yield f"{key} = {_attribute(config, value)}"


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _attribute(config: Config, value: Any) -> str:
    match config.kind:
        case "dtype":
            return str(value)
        case "value" if hasattr(value, "shape"):
            return _array(value)
        case "float" if isinstance(value, int):
            return literal(float(value))
        case "axes" | "new_axes" | "shape" | "ints" | "pads" if isinstance(value, tuple):
            return f"[{', '.join(map(literal, value))}]"
    return literal(value)


def _array(value: Any) -> str:
    shape = np.shape(value)
    if sum(math.prod(shape[:i]) for i in range(1, len(shape) + 1)) > ELEMENTS:
        text = f"a constant of {np.size(value)} elements has no text"
        raise MlcError("unsupported", text, help="make it a weight")
    return _nested(np.asarray(value).tolist())


def _nested(value: Any) -> str:
    return f"[{', '.join(map(_nested, value))}]" if isinstance(value, list) else literal(value)


def literal(value: Any) -> str:
    """A static value as the language writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value.translate(_ESCAPES)}"'
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else f"{'-' * (value < 0)}inf"
        case float():
            return repr(float(value))
        case tuple() | list():
            return _sequence(value)
    return str(value)


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})


def _sequence(items: Iterable[Any]) -> str:
    texts = [literal(item) for item in items]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
