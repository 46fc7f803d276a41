"""Writes ONNX nodes: fresh names, constants that are made once, and sizes as int64 tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...compiler import dim
from ...compiler.array import np
from ...compiler.diagnose import MlcError
from ...compiler.dim import Atom, Dim, Size
from ...compiler.graph import Graph, Value
from ...compiler.ops.constant import numpy_dtype

DTYPES: Mapping[str, int] = {
    "bool": 9, "u8": 2, "i8": 3, "i16": 5, "i32": 6, "i64": 7, "f16": 10, "bf16": 16, "f32": 1,
    "f64": 11,
}  # fmt: skip
"""Element types by what the language calls them: `TensorProto.DataType` of the file format, in
numbers, so that what ONNX has a row for can be told without the package."""

LAST = 2**63 - 1
"""As the end of a slice: the end of the axis."""


class Writer:
    """The nodes of one file as they are written.

    Values have the names of the source, below the path of their scope; a node is called by where it
    comes from and what it does (`blocks.0.conv1/Conv`), as is a result that the source has no
    name for. Constants and sizes are Constant and Shape nodes, so that initialisers are weights.
    `write` writes the nodes of a graph; `names` are those of the values so far, `finals` those of
    the values that leave the graph, and `titles` those of values that have none in the source.
    """

    def __init__(self, graph: Graph, titles: Mapping[Value, str]) -> None:
        self.graph = graph
        self.titles = titles
        self.nodes: list[Any] = []
        self.whole = self.nodes
        self.write: Callable[[Graph], None]
        self.names: dict[Value, str] = {}
        self.finals: dict[Value, str] = {}
        self.taken: dict[str, int] = {}
        self._shared: set[str] = set()
        self._titles: dict[str, int] = {}
        self._where = ""
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._sizes: dict[Dim, str] = {}
        self._numbers: dict[tuple[Size, str], str] = {}

    # ---------------------------------------------------------------------------------- names

    def claim(self, name: str) -> str:
        """`name`, or the first of `name_1`, `name_2`, ... that no other value has."""
        return _unique(name, self.taken)

    def at(self, path: str) -> None:
        """From here on nodes come from what this path names in the model."""
        self._where = path

    @property
    def where(self) -> str:
        """What nodes come from now."""
        return self._where

    @contextmanager
    def inside(self) -> Iterator[list[Any]]:
        """Nodes go to a list of their own; constants and sizes, which all may use, do not."""
        outside, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outside

    def place(self, value: Value, result: str, start: int) -> None:
        """`value` is `result`, which gets its name if it was made for it, behind node `start`.

        The name is that in `finals`, or the source's, or that of the layer whose result it is.
        """
        made = {name for node in self.nodes[start:] for name in node.output} - self._shared
        name = self._name(value) if result in made else ""
        if name:
            self._rename(start, result, name)
        self.names[value] = name or result

    def _name(self, value: Value) -> str:
        if value in self.finals:
            return self.finals[value]
        if value.name:
            path = value.node.scope.path if value.node else ""
            return self.claim(f"{path}.{value.name}" if path else value.name)
        return self.claim(self.titles[value]) if value in self.titles else ""

    def finish(self, value: Value, name: str) -> None:
        """Gives a value a second name, under which it leaves the file; the name is claimed."""
        title = _unique(name, self._titles)
        self._append("Identity", [self.names[value]], [name], title, {})

    def _rename(self, start: int, old: str, new: str) -> None:
        self.taken.pop(old, None)
        for node in self.nodes[start:]:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    # ---------------------------------------------------------------------------------- nodes

    def __call__(self, kind: str, *inputs: str | None, **attrs: Any) -> str:
        """Writes a node with one output and returns the output's name; None is an absent input."""
        return self.many(kind, 1, *inputs, **attrs)[0]

    def many(self, kind: str, count: int, *inputs: str | None, **attrs: Any) -> tuple[str, ...]:
        """Writes a node with `count` outputs."""
        title = _unique(f"{self._where}/{kind}" if self._where else kind, self._titles)
        outputs = tuple(self.claim(title) for _ in range(count))
        given = [name or "" for name in inputs]
        while given and not given[-1]:
            given.pop()
        self._append(kind, given, outputs, title, attrs)
        return outputs

    def _append(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], title: str, attrs: Any
    ) -> None:
        from onnx import helper

        present = {key: value for key, value in attrs.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, outputs, title, **present))

    # ------------------------------------------------------------------------------ constants

    def constant(self, value: Any, dtype: str) -> str:
        """A tensor of these numbers."""
        array = np.asarray(value, numpy_dtype(dtype))
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            from onnx import numpy_helper

            name = self.claim(_title(array))
            tensor = numpy_helper.from_array(array, name)
            nodes, self.nodes = self.nodes, self.whole
            self._append("Constant", [], [name], _unique(name, self._titles), {"value": tensor})
            self.nodes = nodes
            self._constants[key] = name
            self._shared.add(name)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(list(values), "i64")

    # ---------------------------------------------------------------------------------- sizes

    def vector(self, sizes: Sequence[Dim]) -> str:
        """Sizes as an int64 vector."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(list(sizes), "i64")
        return self("Concat", *map(self.size, sizes), axis=0) if sizes[1:] else self.size(sizes[0])

    def number(self, size: Dim, dtype: str) -> str:
        """A size as a tensor of rank 0."""
        if isinstance(size, int):
            return self.constant(size, dtype)
        if (size, dtype) not in self._numbers:
            self._numbers[size, dtype] = self._once(lambda: self._scalar(size, dtype))
        return self._numbers[size, dtype]

    def _scalar(self, size: Size, dtype: str) -> str:
        scalar = self("Squeeze", self.size(size), self.ints(0))
        return scalar if dtype == "i64" else self("Cast", scalar, to=DTYPES[dtype])

    def _once(self, make: Callable[[], str]) -> str:
        """The name of what `make` writes, which later nodes may use too."""
        where, self._where = self._where, ""
        nodes, self.nodes = self.nodes, self.whole
        name = make()
        self._where, self.nodes = where, nodes
        self._shared.add(name)
        return name

    def size(self, size: Dim) -> str:
        """A size as an int64 vector with one element; each is computed once."""
        if isinstance(size, int):
            return self.ints(size)
        if size not in self._sizes:
            self._sizes[size] = self._once(lambda: self._computed(size))
        return self._sizes[size]

    def _computed(self, size: Size) -> str:
        if len(size.terms) == 1 and size.terms[0][1] == 1:
            ((monomial, _),) = size.terms
            if len(monomial) == 1 and monomial[0][1] == 1:
                return self._atom(monomial[0][0])
        total = ""
        for monomial, factor in size.terms:
            names = [
                self.size(Size({((atom, 1),): 1})) for atom, power in monomial for _ in range(power)
            ]
            if factor != 1 or not names:
                names.append(self.ints(factor))
            term = names[0]
            for name in names[1:]:
                term = self("Mul", term, name)
            total = self("Add", total, term) if total else term
        return total

    def _atom(self, atom: Atom) -> str:
        if atom.kind == "symbol":
            return self._symbol(str(atom.args[0]))
        if atom.kind in ("min", "max"):
            return self(atom.kind.capitalize(), *(self.size(x) for x in atom.sizes))
        a, b = atom.sizes
        left, right = self.size(a), self.size(b)
        if atom.kind == "%":
            return self("Mod", left, right)
        if dim.bounds(a)[0] < 0 or dim.bounds(b)[0] < 1:
            left = self("Sub", left, self("Mod", left, right))  # Div rounds towards zero
        return self("Div", left, right)

    def _symbol(self, symbol: str) -> str:
        """The size of the input axis that binds `symbol`."""
        for given in self.graph.inputs:
            for axis, size in enumerate(given.type.shape):
                if given.default is None and str(size) == symbol:
                    name, title = self.claim(symbol), _unique(symbol, self._titles)
                    attrs = {"start": axis, "end": axis + 1}
                    self._append("Shape", [given.name], [name], title, attrs)
                    return name
        raise MlcError(
            "unsupported", f"no input that must be given has an axis of size {symbol}",
            help=f"an ONNX file reads {symbol} from the shape of an input: give one that axis",
        )  # fmt: skip


def _unique(name: str, taken: dict[str, int]) -> str:
    """Takes a name; `taken` are those there are, each with the last number that was put to it."""
    chosen, count = name, taken.get(name, 0)
    while chosen in taken or not chosen:
        count += 1
        chosen = f"{name}_{count}"
    if chosen != name:
        taken[name] = count
    taken[chosen] = 0
    return chosen


def _title(array: Any) -> str:
    """What a constant is called: by its number where it is one."""
    if array.size != 1:
        return "constant"
    number = array.item()
    text = f"{number:.6g}" if isinstance(number, float) else str(number).lower()
    return f"constant_{re.sub(r'[^0-9a-z]', '_', text.replace('-', 'm').replace('+', ''))}"


def tensor_info(name: str, dtype: str, shape: Sequence[Dim]) -> Any:
    """The declaration of an input or output; sizes that are not known are dim_params."""
    from onnx import helper

    dims = [size if isinstance(size, int) else str(size) for size in shape]
    return helper.make_tensor_value_info(name, DTYPES[dtype], dims)
