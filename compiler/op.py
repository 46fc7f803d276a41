"""What an operator is: one record with five fields of meaning, and the builder that applies it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from .diagnose import MlcError, Span
from .dim import Dim, Size, bounds, mod
from .expr import Expr
from .graph import Fact, Graph, Init, Input, Layer, Node, Scope, Type, Value


class Marker:
    """A named constant that is only ever compared by identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


REQUIRED = Marker("REQUIRED")
"""The default of a config that must be given."""

BODY = Marker("BODY")
"""As `grad`: differentiate through the body, which is accurate on extreme samples too."""

REGION = Marker("REGION")
"""As `grad`: the reverse mode of the node's blocks (passes/region.py)."""


@dataclass(frozen=True, slots=True)
class Config:
    """One attribute of an op.

    `kind`: "int", "size" (an int or symbolic size), "float", "bool", "str", "dtype", "axis" (of the
    first input: a label or an int in the source, an int >= 0 in a node), "axes" (several; a tuple
    in a node), "new_axis" (of the output, which has one axis more), "new_axes" (of the output,
    which has so many more), "shape" (a tuple of sizes), "ints" (an int, or one a spatial axis),
    "pads" (an int, one a spatial axis, or (low, high) pairs), "value" (any static literal),
    "key" (a path that tells a node from all others; its expression is the path within its scope).
    `choices` are the strings allowed.
    """

    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    doc: str = ""


INTEGRAL = frozenset(
    {"int", "size", "ints", "pads", "shape", "axis", "axes", "new_axis", "new_axes"}
)
"""Kinds of attributes whose values are integers."""


@dataclass(frozen=True, slots=True)
class Param:
    """A weight that a layer makes: its type, how it starts, and whether it is trained."""

    type: Type
    init: Init
    trainable: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """What `infer` knows of a block: the types of what it takes and gives."""

    inputs: tuple[Type, ...]
    outputs: tuple[Type, ...]

    @classmethod
    def of(cls, block: Graph) -> Self:
        """That of a graph."""
        given = (value.type for value in block.inputs)
        return cls(tuple(given), tuple(value.type for value in block.outputs.values()))


Infer: TypeAlias = Callable[..., Type | tuple[Type, ...]]
Grad: TypeAlias = Callable[..., Sequence[Value | None]]


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """An operator: what a reader must know of it stands here and nowhere else.

    inputs      names of the tensors it takes; "keep?" may be absent; ("*xs",) takes any number
    weights     names of the weights that it makes, in order; "bias?" may be absent. A node holds an
                input for each name in `inputs` and `weights`, None for an absent one, and the
                functions below get them in that order (None included)
    config      attributes by name, in the order in which .mdl takes them by position
    params      (*types of the tensor inputs, **attrs) -> {name: Param} for the weights present
    infer       (*types, **attrs) -> type, or a tuple of types; raises `TypeMismatch`. `types`
                hold the weights too. It must work on symbolic sizes, in attributes as well.
    eval        (*arrays, **attrs) -> array, or a tuple: the meaning, on NumPy, in the dtype given.
                Never calls the body.
    body        (b, *values, **attrs) -> value(s): the same in smaller ops, stable in f32; None for
                the core ops that every backend spells
    grad        (b, g, y, *inputs, **attrs) -> a gradient or None for each input; `g` and `y` are
                the output's gradient and the output (tuples where there are several, a missing
                gradient None); BODY; REGION; or None where no gradient is defined (integers,
                comparisons)
    patterns    further spellings by which imported graphs write it: callables like `body`
    rounding    what f32 does to its result: "exact", "elementwise", "sum" (a sum of products or
                terms, whose error is bounded by the op on absolute values), "body" (as its body)
    layer       whether a framework makes a module of it (weights, or state such as dropout's)
    effect      "pure", "random" (fresh noise, of layers in training alone), or "state" (new buffers
                in training)
    layout      what it asks of the axis order: "any" (works element by element in whatever order),
                "axes" (any order, its axis attributes are renumbered), "channels" (wants channels
                last where the framework does: conv, pool, channel norms), "source" (source order)
    kinks       where its derivative is a convention, in words; empty if nowhere
    blocks      how many regions a node has. `infer`, `eval` and `body` then get `blocks`:
                signatures, functions from arrays to a tuple of arrays, or graphs
    samples     ({input or weight: tensor, attribute: value}, ...) for the tests. A tensor is a
                shape (drawn at random), (shape, dtype), (shape, dtype, low, high), or a list with
                its values, (list, dtype); a variadic input is a tuple of tensors. A weight that is
                not named is drawn by the type that `params` gives it.
    """

    name: str
    inputs: tuple[str, ...]
    infer: Infer
    eval: Callable[..., Any]
    config: Mapping[str, Config] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    params: Callable[..., Mapping[str, Param]] | None = None
    body: Callable[..., Any] | None = None
    grad: Grad | Marker | None = BODY
    patterns: tuple[Callable[..., Any], ...] = ()
    rounding: str = "elementwise"
    layer: bool = False
    effect: str = "pure"
    layout: str = "source"
    kinks: str = ""
    blocks: int = 0
    samples: tuple[Mapping[str, Any], ...] = ()
    doc: str = ""

    @property
    def variadic(self) -> bool:
        """Whether it takes any number of tensors."""
        return self.inputs[:1] != () and self.inputs[0].startswith("*")

    def __repr__(self) -> str:
        return f"<Op {self.name}>"


# --------------------------------------------------------------- what infer may ask of sizes


class TypeMismatch(Exception):
    """Raised by `infer`: `code` for diagnostics, the message names what was wanted and received."""

    def __init__(self, message: str, code: str = "shape", help: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.help = help


_facts: ContextVar[list[Fact] | None] = ContextVar("facts", default=None)


@contextmanager
def collecting(facts: list[Fact]) -> Iterator[list[Fact]]:
    """Within this context, what `require_*` cannot decide is added to `facts`."""
    token = _facts.set(facts)
    try:
        yield facts
    finally:
        _facts.reset(token)


_for_class: ContextVar[bool] = ContextVar("for_class", default=False)


@contextmanager
def for_class() -> Iterator[list[Fact]]:
    """Within this context ops are typed for a whole class of instances: every size may be a symbol,
    also those that the shapes of weights are made of. Gives the facts of this context."""
    found: list[Fact] = []
    facts, whole = _facts.set(found), _for_class.set(True)
    try:
        yield found
    finally:
        _facts.reset(facts)
        _for_class.reset(whole)


def weights_may_be_symbolic() -> bool:
    """Whether sizes of weights may be unknown here."""
    return _for_class.get()


def _assume(fact: Fact) -> None:
    facts = _facts.get()
    if facts is not None and fact not in facts:
        facts.append(fact)


def require_equal(a: Dim, b: Dim, message: str) -> Dim:
    """The common value of two sizes; raises if they cannot be equal, else records the fact."""
    if a == b:
        return a
    low, high = bounds(a - b)
    if low > 0 or high < 0:
        raise TypeMismatch(message)
    _assume(Fact("==", a, b))
    return a if isinstance(a, int) else b


def require_divides(divisor: Dim, size: Dim, message: str) -> Dim:
    """`size // divisor`; raises if it does not divide, else records the fact."""
    rest = mod(size, divisor)
    if isinstance(rest, int) and rest != 0:
        raise TypeMismatch(message)
    if isinstance(rest, Size):
        _assume(Fact("divides", divisor, size))
    return size // divisor


def require_at_most(a: Dim, b: Dim, message: str) -> None:
    """Raises if `a <= b` cannot hold; records the fact if it may or may not."""
    low, high = bounds(a - b)
    if low > 0:
        raise TypeMismatch(message)
    if high > 0:
        _assume(Fact("<=", a, b))


# ---------------------------------------------------------------------------------- building


class Build:
    """Applies ops in a graph: `b(ADD, x, 1)` appends a node and returns its output(s).

    New nodes stand before `before` (at the end if None) and carry the scope, site, arms and span
    given here. Python numbers become constants of the dtype of the first tensor input
    that is not a bool.
    """

    def __init__(
        self,
        graph: Graph,
        scope: Scope | None = None,
        *,
        site: int = 0,
        arms: tuple[tuple[int, int], ...] = (),
        span: Span | None = None,
        before: Node | None = None,
        rank: int = 0,
    ) -> None:
        self.graph = graph
        self.scope = scope or graph.root
        self.site = site
        self.arms = arms
        self.span = span
        self.before = before
        self.rank = rank

    @classmethod
    def like(cls, node: Node, *, before: Node | None = None) -> Self:
        """A builder whose nodes take the place of `node` in the source."""
        assert node.graph is not None
        return cls(
            node.graph, node.scope, site=node.site, arms=node.arms, span=node.span,
            before=before or node, rank=node.rank,
        )  # fmt: skip

    def __call__(self, op: Op, *inputs: Any, blocks: Any = (), **attrs: Any) -> Any:
        """The output of `op`, or a tuple where it has several; raises MlcError on a type clash."""
        node = self.node(op, inputs, attrs, blocks=blocks)
        return node.output if len(node.outputs) == 1 else node.outputs

    def inverse_root(self, size: Dim) -> float | None:
        """`1 / sqrt(size)`, of which `explain` knows what it comes from; None of an unknown one."""
        return float(size**-0.5) if isinstance(size, int) else None

    def node(
        self,
        op: Op,
        inputs: Sequence[Any],
        attrs: Mapping[str, Any],
        *,
        exprs: Mapping[str, Expr] | None = None,
        layer: Layer | None = None,
        blocks: Sequence[Graph] = (),
    ) -> Node:
        """Appends one node; `inputs` hold the weights too. What its blocks ask of sizes becomes
        facts of the graph."""
        values = self._values(op, inputs)
        types = [None if value is None else value.type for value in values]
        full = _count_axes(op, types, complete(op, attrs))
        results = infer(op, types, full, self.graph.facts, self.span, blocks)
        if blocks:
            self.graph.facts += [f for b in blocks for f in b.facts if f not in self.graph.facts]
        node = Node(
            op, values, results, full, exprs=exprs, layer=layer, scope=self.scope, site=self.site,
            rank=self.rank, arms=self.arms, span=self.span, blocks=tuple(blocks),
        )  # fmt: skip
        self.rank += 1
        if self.before is None:
            return self.graph.append(node)
        return self.graph.insert_before(node, self.before)

    def block(self, types: Mapping[str, Type], make: Callable[..., Sequence[Value]]) -> Graph:
        """A region: `make(b, *values)` builds it on inputs of these names and types, and returns
        its outputs; it may use no other values."""
        region = Graph(self.graph.name, self.graph.root)
        region.inputs = [Input(name, type, span=self.span) for name, type in types.items()]
        b = Build(region, self.scope, site=self.site, arms=self.arms, span=self.span)
        results = make(b, *region.inputs)
        region.outputs = {str(i): value for i, value in enumerate(results)}
        return region

    def _values(self, op: Op, inputs: Sequence[Any]) -> list[Value | None]:
        """The inputs as values, padded with None to the op's full signature."""
        values = [self._number(v, inputs) if isinstance(v, (int, float)) else v for v in inputs]
        missing = len(op.inputs) + len(op.weights) - len(values)
        return values + [None] * missing if missing > 0 and not op.variadic else values

    def _number(self, value: bool | int | float, beside: Sequence[Any]) -> Value:
        """A number among the inputs, as a constant of their dtype where it can be one."""
        if isinstance(value, bool):
            return self.constant(value, "bool")
        dtypes = [v.type.dtype for v in beside if isinstance(v, Value)]
        dtype = next((d for d in dtypes if d != "bool"), "f32")
        return self.constant(
            value, "f32" if isinstance(value, float) and dtype[0] in "iu" else dtype
        )

    def constant(self, value: Any, dtype: str = "f32") -> Value:
        """A constant: a Python number (rank 0) or an array."""
        from .ops.constant import CONSTANT

        result = self(CONSTANT, value=value, dtype=dtype)
        assert isinstance(result, Value)
        return result


def complete(op: Op, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """`attrs` with the op's defaults added; KeyError names an unknown or missing one."""
    for key in attrs:
        if key not in op.config:
            raise KeyError(f"{op.name} has no {key}")
    full = {key: attrs.get(key, config.default) for key, config in op.config.items()}
    for key, value in full.items():
        if value is REQUIRED:
            raise KeyError(f"{op.name} needs {key}")
    return full


def _count_axes(op: Op, types: Sequence[Type | None], attrs: dict[str, Any]) -> dict[str, Any]:
    """`attrs` with axes counted from the front, and lists as tuples."""
    if not attrs:
        return attrs
    rank = next((t.rank for t in types if t is not None), 0)
    for key, config in op.config.items():
        value = attrs[key]
        if isinstance(value, int) and config.kind in ("axes", "new_axes"):
            value = (value,)
        if isinstance(value, (list, tuple)):
            value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
            if config.kind in ("axes", "new_axes"):
                more = rank + (len(value) if config.kind == "new_axes" else 0)
                value = tuple(_count(axis, more) for axis in value)
        elif isinstance(value, int) and config.kind in ("axis", "new_axis"):
            value = _count(value, rank + (config.kind == "new_axis"))
        attrs[key] = value
    return attrs


def _count(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise MlcError("axis", f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def infer(
    op: Op,
    types: Sequence[Type | None],
    attrs: Mapping[str, Any],
    facts: list[Fact],
    span: Span | None = None,
    blocks: Sequence[Graph] = (),
) -> tuple[Type, ...]:
    """The output types; what is undecided goes to `facts`, a clash is an MlcError at `span`."""
    regions = {"blocks": tuple(map(Signature.of, blocks))} if op.blocks else {}
    token = _facts.set(facts)
    try:
        result = op.infer(*types, **attrs, **regions)
    except TypeMismatch as clash:
        raise MlcError(clash.code, str(clash), span, help=clash.help) from clash
    finally:
        _facts.reset(token)
    return result if isinstance(result, tuple) else (result,)
