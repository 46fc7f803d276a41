"""Declared types: sizes that `in` lines bind, and checks of what is passed and returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.dim import Dim, bounds, symbol
from ...compiler.graph import DTYPES, Graph, Type
from ...compiler.op import TypeMismatch, collecting, require_at_most, require_equal
from . import syntax as s
from .attribute import Attributes
from .construct import within
from .context import Frame, Tensor
from .errors import suggest
from .facts import check_count
from .limits import RANK


def bindings(inputs: Sequence[s.In], parameters: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Symbol -> (input, axis) that binds it: its first bare use, in a required input if any."""
    found: dict[str, tuple[str, int]] = {}
    for line in sorted(inputs, key=lambda line: line.optional):
        for number, axis in enumerate(line.type.axes):
            name = bare(axis)
            if name and name not in parameters:
                found.setdefault(name, (line.name, number))
    for line in inputs:
        for number, axis in enumerate(line.type.axes):
            if axis.label and axis.label not in parameters:
                found.setdefault(axis.label, (line.name, number))
    return found


def bare(axis: s.Axis) -> str | None:
    """The symbol of an axis that is nothing else: `H`, or `T` in `T <= 1024`."""
    size = extent(axis)
    return size.id if isinstance(size, s.Name) and axis.label is None else None


def extent(axis: s.Axis) -> s.Syntax:
    """The size of an axis without its limit: `T` in `T <= 1024`."""
    size = axis.size
    if isinstance(size, s.Binary) and size.operator in ("<=", "<"):
        return size.left
    return size


def labels_of(declared: s.TypeSyntax) -> tuple[str | None, ...]:
    """The labels that a declared type gives: the explicit ones, and bare symbols."""
    return tuple(axis.label or bare(axis) for axis in declared.axes)


class Declare:
    """Reads declared types in a frame. What sizes leave open becomes a fact of the graph."""

    def __init__(self, graph: Graph, attributes: Attributes, frame: Frame) -> None:
        self.graph = graph
        self.attributes = attributes
        self.frame = frame

    def dtype(self, declared: s.TypeSyntax) -> str:
        """The element type of a declared type."""
        if declared.dtype not in DTYPES:
            help = suggest(declared.dtype, DTYPES) or f"one of {', '.join(DTYPES)}"
            message = f"{declared.dtype} is not an element type"
            raise MlcError("dtype", message, declared.span, help=help)
        return declared.dtype

    def type(self, declared: s.TypeSyntax, *, sizes: Sequence[Dim] | None = None) -> Type:
        """The declared type; limits such as `T <= 1024` become facts."""
        if declared.like is not None:
            return self._like(declared)
        if len(declared.axes) > RANK:
            raise MlcError("limit", f"a tensor of more than {RANK} axes", declared.span)
        shape = tuple(self._size(axis) for axis in declared.axes) if sizes is None else sizes
        made = Type(self.dtype(declared), tuple(shape), labels_of(declared))
        within(made, declared.span)
        return made

    def _like(self, declared: s.TypeSyntax) -> Type:
        variable = self.frame.variables.get(declared.like or "")
        if variable is None or not hasattr(variable.value, "type"):
            raise MlcError("name", f"{declared.like} is not a tensor", declared.span)
        found: Type = variable.value.type
        return found

    def _size(self, axis: s.Axis) -> Dim:
        size = axis.size
        if isinstance(size, s.Binary) and size.operator in ("<=", "<"):
            left, right = self._number(size.left), self._number(size.right)
            self._limit(left, right - (size.operator == "<"), axis.span)
            return left
        made = self._number(size)
        if bounds(made)[1] < 1:
            raise MlcError("shape", f"a size must be at least 1, and is {made}", axis.span)
        return made

    def _number(self, node: s.Syntax) -> Dim:
        return self.attributes.size("the size", self.attributes.evaluate(node), node.span)

    def _limit(self, left: Dim, right: Dim, span: Span) -> None:
        with collecting(self.graph.facts):
            try:
                require_at_most(left, right, f"{left} is more than {right}")
            except TypeMismatch as clash:
                raise MlcError("shape", str(clash), span) from None
        check_count(self.graph.facts, span)

    # ------------------------------------------------------------------------------- inputs

    def root_sizes(self) -> None:
        """Binds the sizes of a model's inputs to symbols."""
        for name, axis in _axes(self.frame):
            if bare(axis) == name:
                self._bind(name, symbol(name))
        for name, axis in _axes(self.frame):
            if bare(axis) != name:
                self._bind(name, self._size(axis))

    def passed_sizes(self, given: dict[str, Tensor], span: Span) -> None:
        """Binds the sizes of a block's inputs to those of the tensors that it is given."""
        for line in self.frame.block.inputs:
            tensor = given.get(line.name)
            if tensor is not None and line.type.like is None:
                _check_rank(line, tensor, self.dtype(line.type), span)
        for name, (line_name, number) in self.frame.block.definition.sizes.items():
            if line_name in given:
                self._bind(name, given[line_name].type.shape[number])

    def _bind(self, name: str, size: Dim) -> None:
        from ...compiler.expr import name as reference

        self.frame.scope.values[name] = size
        self.frame.assign(name, size, reference(name))

    def check_input(self, line: s.In, tensor: Tensor, span: Span) -> Tensor:
        """The tensor under the labels of an `in` line, once its sizes are checked."""
        declared = self.type(line.type)
        self.check(declared, tensor, line.name, span, [Note("declared here", line.type.span)])
        return Tensor(tensor.value, declared.labels)

    def check(
        self, declared: Type, tensor: Tensor, name: str, span: Span, notes: Sequence[Note]
    ) -> None:
        """Proves that a tensor has a declared type, refutes it, or notes the facts it takes."""
        message = f"{name} is declared {declared}, and is {tensor.type}"
        if declared.dtype != tensor.type.dtype:
            raise MlcError("dtype", message, span, notes=notes)
        if declared.rank != tensor.type.rank:
            raise MlcError("shape", message, span, notes=notes)
        with collecting(self.graph.facts):
            try:
                for a, b in zip(tensor.type.shape, declared.shape, strict=True):
                    require_equal(a, b, f"{message}: {a} is not {b}")
            except TypeMismatch as clash:
                raise MlcError("shape", str(clash), span, notes=notes) from None
        check_count(self.graph.facts, span)


def _axes(frame: Frame) -> Iterator[tuple[str, s.Axis]]:
    lines = {line.name: line for line in frame.block.inputs}
    for name, (line, number) in frame.block.definition.sizes.items():
        yield name, lines[line].type.axes[number]


def _check_rank(line: s.In, tensor: Tensor, dtype: str, span: Span) -> None:
    if tensor.type.rank != len(line.type.axes):
        raise MlcError(
            "shape", f"{line.name} has {len(line.type.axes)} axes, and gets {tensor.type}", span,
            notes=[Note("declared here", line.type.span)],
        )  # fmt: skip
    if tensor.type.dtype != dtype:
        raise MlcError(
            "dtype", f"{line.name} is {dtype}, and gets {tensor.type}", span,
            notes=[Note("declared here", line.type.span)], help=f"write cast(x, {dtype})",
        )  # fmt: skip
