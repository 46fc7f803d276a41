"""The intermediate graph: types, values that know their uses, and nodes on a list.

One flat graph a model. Nodes stand on a linked list on which every value is made before it is used;
it may be changed while it is walked. Scopes, layers and expressions are what classes come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .diagnose import MlcError, Span
from .dim import Dim, symbols
from .expr import Expr

if TYPE_CHECKING:
    from .op import Op

DTYPES = ("bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64")
"""Element types by the names of the language. `f32` is the default of floats."""


@dataclass(frozen=True, slots=True)
class Type:
    """What is known of a tensor: element type, sizes, labels of its axes (None: no label)."""

    dtype: str
    shape: tuple[Dim, ...]
    labels: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", (None,) * len(self.shape))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def floating(self) -> bool:
        return self.dtype in ("f16", "bf16", "f32", "f64")

    def with_(self, **changes: Any) -> Type:
        """A copy with some of dtype, shape and labels replaced."""
        now = {"dtype": self.dtype, "shape": self.shape, "labels": self.labels}
        return Type(**{**now, **changes})

    def __str__(self) -> str:
        axes = (
            str(size) if label is None or label == str(size) else f"{label} = {size}"
            for label, size in zip(self.labels, self.shape, strict=True)
        )
        return f"{self.dtype}[{', '.join(axes)}]"


# ------------------------------------------------------------------------------------- scopes


@dataclass(eq=False, slots=True)
class Definition:
    """A block or model of the source: what all its instances have in common.

    `params` maps hyper-parameters to their default expressions (None: must be given), in source
    order. `sizes` maps each symbol that an `in` line binds to (input name, axis). `inputs` and
    `outputs` are names in source order. `shapes` are the sizes that `in` and `out` lines
    declare, over hyper-parameters and symbols. `doc` is the comment above the header, or empty.
    """

    name: str
    kind: str = "block"
    params: Mapping[str, Expr | None] = field(default_factory=dict)
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    doc: str = ""
    span: Span | None = None
    shapes: Mapping[str, tuple[Expr, ...]] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Loop:
    """A static loop of one scope instance: `repeat count` (variables empty) or `for ... in table`.

    `table` is the expression of the iterable (for `repeat`, of the count) over the scope's names;
    `name` is what its list of members is called.
    """

    site: int
    name: str
    variables: tuple[str, ...]
    table: Expr
    count: int


@dataclass(frozen=True, slots=True)
class Require:
    """A `require` line of a scope: its condition over the scope's names, and its message."""

    condition: Expr
    message: str
    site: int


@dataclass(eq=False, slots=True)
class Scope:
    """One call of a block, one iteration of a loop, or one chain: where nodes come from.

    kind        "model" (the root), "block", "iteration" (of `loop`, number `index`), "chain" (a
                branch that becomes one member), "region" (root of a node's block), "layer" (unused)
    path        dotted instance path, "" for the root; iterations and regions have their parent's
    member      the name under which the parent holds it, `index` its place where that is a list
    call, home  which call of a shared instance this is, from 0, and the scope that holds it
    values      names visible in the scope: hyper-parameters (or loop variables) and bound sizes
    exprs       hyper-parameter -> expression over the *parent's* names, where given by the caller
    loops       site of a loop -> the loop; that of one that runs no time stands here alone
    ifs         site of a static `if` -> (condition over the scope's names, taken arm: 0 or 1)
    inputs      name -> value that the caller passed (in?: absent when left out)
    outputs     name -> value that the scope returned
    carries     of an iteration: static name that it re-assigns (`values` has what it is at its
                start, `exprs` of the first one where that is from) -> expression of its new value
    names       value -> what the body of this block calls it (its first name)
    lists       value -> what the body calls the list that it puts it in
    picks       value -> whether the body takes it from such a list counting from the end
    site        where in the parent's body it is called (source order)
    arms        the (if site, arm) pairs of the parent that enclose the call, outermost first
    """

    kind: str
    definition: Definition | None = None
    parent: Scope | None = None
    path: str = ""
    member: str = ""
    index: int | None = None
    call: int = 0
    loop: Loop | None = None
    values: dict[str, Any] = field(default_factory=dict)
    exprs: dict[str, Expr] = field(default_factory=dict)
    loops: dict[int, Loop] = field(default_factory=dict)
    ifs: dict[int, tuple[Expr, int]] = field(default_factory=dict)
    requires: list[Require] = field(default_factory=list)
    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    carries: dict[str, Expr] = field(default_factory=dict)
    names: dict[Value, str] = field(default_factory=dict)
    lists: dict[Value, str] = field(default_factory=dict)
    picks: dict[Value, set[bool]] = field(default_factory=dict)
    site: int = 0
    arms: tuple[tuple[int, int], ...] = ()
    span: Span | None = None
    home: Scope | None = None

    @property
    def block(self) -> Scope:
        """The nearest enclosing model or block, itself included."""
        scope = self
        while scope.kind not in ("model", "block"):
            assert scope.parent is not None
            scope = scope.parent
        return scope

    def ancestors(self) -> Iterator[Scope]:
        """Itself, its parent, and so on to the root."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


@dataclass(eq=False, slots=True)
class Layer:
    """A constructed layer: what a framework would make a module of (its weights, its config).

    `member` is its name in `scope` (`conv1`), `index` its place where the member is a list.
    Applied by zero, one or several nodes, whose `layer` it is.
    """

    op: Op
    scope: Scope
    member: str
    index: int | None
    path: str
    attrs: Mapping[str, Any]
    exprs: Mapping[str, Expr]
    site: int
    weights: dict[str, Weight] = field(default_factory=dict)


# ------------------------------------------------------------------------------------- values


class Value:
    """A tensor: the output of a node, or an Input or a Weight. `name` is the source's, if any.

    `order` is set by the layout pass alone: axis i as it is stored is axis order[i] of `type`.
    `users` are the nodes that take it, each once, in order of first use.
    """

    __slots__ = ("index", "name", "node", "order", "span", "type", "users")

    def __init__(self, type: Type, name: str = "", span: Span | None = None) -> None:
        self.type = type
        self.node: Node | None = None
        self.index = 0
        self.users: dict[Node, None] = {}
        self.name = name
        self.span = span
        self.order: tuple[int, ...] | None = None

    @property
    def uses(self) -> tuple[tuple[Node, int], ...]:
        """The nodes that take this value, each with the place among its inputs."""
        return tuple((n, i) for n in self.users for i, x in enumerate(n.inputs) if x is self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or '_'}: {self.type}>"


class Input(Value):
    """A tensor that the caller gives; `default` (a scalar) where it may be left out, `noise` the
    distribution that it is drawn from anew for each call ("": it is no noise)."""

    __slots__ = ("default", "noise")

    def __init__(
        self, name: str, type: Type, default: Any = None, span: Span | None = None
    ) -> None:
        super().__init__(type, name, span)
        self.default, self.noise = default, ""


@dataclass(frozen=True, slots=True)
class Init:
    """How a weight starts: `kind` with its numbers, as the language fixes it.

    zeros, ones, constant(value), normal(std), uniform(low, high), and the fan-based
    kaiming_uniform(gain) = U(-b, b) with b = gain * sqrt(3 / fan_in), fan_uniform(fan_in) =
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)), xavier_uniform().
    """

    kind: str
    args: tuple[float, ...] = ()


class Weight(Value):
    """A parameter (trainable) or a buffer (not): `path` names it, `data` is its tensor if given.

    `part` is its name within its layer ("weight"), or its own name for a `param` or `state` line.
    `expr` keeps the declared sizes of a `param` line as expressions over the scope's names.
    """

    __slots__ = ("data", "exprs", "init", "layer", "part", "path", "scope", "site", "trainable")

    def __init__(
        self,
        path: str,
        type: Type,
        init: Init,
        *,
        trainable: bool,
        scope: Scope,
        part: str,
        layer: Layer | None = None,
        site: int = 0,
        exprs: tuple[Expr, ...] = (),
        span: Span | None = None,
    ) -> None:
        super().__init__(type, path, span)
        self.path = path
        self.init = init
        self.trainable = trainable
        self.scope = scope
        self.part = part
        self.layer = layer
        self.site = site
        self.exprs = exprs
        self.data: Any = None


# -------------------------------------------------------------------------------------- nodes


class Node:
    """One application of an op. `attrs` holds every config of the op, defaults included.

    inputs  one for each of the op's `inputs` and then of its `weights`, None where an optional one
            is absent; any number for a variadic op
    blocks  graphs without weights that read their own inputs alone: this node's, by position
    exprs   attribute -> expression over the names of `scope`, where it is not a plain literal
    layer   the layer that this node applies, for ops that have weights or are modules (dropout)
    scope, site, arms   where in the source it was written: its scope, its position among the
            scope's statements (equal for all instances of a definition), and the static-if arms
            that enclose it. `rank` orders the nodes of one site.
    """

    __slots__ = (
        "arms",
        "attrs",
        "blocks",
        "exprs",
        "graph",
        "inputs",
        "layer",
        "next",
        "op",
        "outputs",
        "prev",
        "rank",
        "scope",
        "site",
        "span",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        inputs: Sequence[Value | None],
        types: Sequence[Type],
        attrs: Mapping[str, Any] | None = None,
        *,
        exprs: Mapping[str, Expr] | None = None,
        layer: Layer | None = None,
        scope: Scope,
        site: int = 0,
        rank: int = 0,
        arms: tuple[tuple[int, int], ...] = (),
        span: Span | None = None,
        blocks: tuple[Graph, ...] = (),
    ) -> None:
        self.op = op
        self.inputs: tuple[Value | None, ...] = ()
        self.outputs = tuple([Value(t, "", span) for t in types])
        self.attrs = dict(attrs or {})
        self.exprs = dict(exprs or {})
        self.layer = layer
        self.scope = scope
        self.site = site
        self.rank = rank
        self.arms = arms
        self.span = span
        self.blocks = blocks
        self.graph: Graph | None = None
        self.prev: Node = self
        self.next: Node = self
        for i, output in enumerate(self.outputs):
            output.node, output.index = self, i
        self.set_inputs(inputs)

    def set_inputs(self, inputs: Sequence[Value | None]) -> None:
        """Takes these values instead of the present ones; uses follow."""
        for value in self.inputs:
            if value is not None:
                value.users.pop(self, None)
        self.inputs = tuple(inputs)
        for value in self.inputs:
            if value is not None:
                value.users[self] = None

    @property
    def values(self) -> tuple[Value, ...]:
        """The inputs that are there."""
        return tuple(value for value in self.inputs if value is not None)

    @property
    def output(self) -> Value:
        """The only output."""
        (output,) = self.outputs
        return output

    def __repr__(self) -> str:
        return f"<Node {self.op.name} {', '.join(str(o.type) for o in self.outputs)}>"


@dataclass(frozen=True, slots=True)
class Fact:
    """What must hold of sizes for the model to be valid: `left relation right`.

    `relation` is "divides" (left divides right), "==", "<=" or "<". Printed in the signature,
    guarded in emitted code where a framework can, respected by the feed generator.
    """

    relation: str
    left: Dim
    right: Dim

    def __str__(self) -> str:
        relation = "|" if self.relation == "divides" else self.relation
        return f"{self.left} {relation} {self.right}"


class Graph:
    """A model: inputs, weights by path, nodes in order, outputs by name.

    `updates` maps a buffer (a Weight that is not trainable) to the value it takes after a training
    call (`when == "training"`) or after every call (`"always"`). `forwarded` remembers what took
    the place of a value, so that scope records, which copies of a graph share, stay readable.
    `measured` are names for sizes of values, in expressions of nodes that passes have made.
    `warnings` are what the frontend found doubtful. `variants` gives the same model with other
    hyper-parameters, as far as they show what this graph passes by.
    """

    def __init__(self, name: str, root: Scope) -> None:
        self.name = name
        self.root = root
        self.inputs: list[Input] = []
        self.outputs: dict[str, Value] = {}
        self.weights: dict[str, Weight] = {}
        self.layers: list[Layer] = []
        self.facts: list[Fact] = []
        self.updates: dict[Weight, tuple[Value, str]] = {}
        self.forwarded: dict[Value, Value] = {}
        self.measured: dict[str, tuple[Value, int]] = {}
        self.warnings: list[MlcError] = []
        self.variants: Callable[[], Sequence[Graph]] = tuple
        self._head = Node.__new__(Node)
        self._head.prev = self._head.next = self._head
        self._size = 0

    def __iter__(self) -> Iterator[Node]:
        """The nodes in order; nodes may be inserted and erased meanwhile."""
        node = self._head.next
        while node is not self._head:
            following = node.next
            yield node
            node = node.next if node.graph is self else following

    def __reversed__(self) -> Iterator[Node]:
        node = self._head.prev
        while node is not self._head:
            following = node.prev
            yield node
            node = node.prev if node.graph is self else following

    def __len__(self) -> int:
        return self._size

    def nested(self) -> Iterator[Node]:
        """The nodes in order, and before each of them those of its blocks."""
        for node in self:
            for block in node.blocks:
                yield from block.nested()
            yield node

    def append(self, node: Node) -> Node:
        """Puts `node` at the end."""
        return self._insert(node, self._head)

    def insert_before(self, node: Node, place: Node) -> Node:
        """Puts `node` in front of `place`."""
        return self._insert(node, place)

    def insert_after(self, node: Node, place: Node) -> Node:
        """Puts `node` behind `place`."""
        return self._insert(node, place.next)

    def _insert(self, node: Node, place: Node) -> Node:
        node.prev, node.next = place.prev, place
        place.prev.next = node
        place.prev = node
        node.graph = self
        self._size += 1
        return node

    def erase(self, node: Node) -> None:
        """Takes out a node whose outputs nobody uses."""
        assert not any(output.users for output in node.outputs), f"{node} is in use"
        node.set_inputs(())
        node.prev.next, node.next.prev = node.next, node.prev
        node.graph = None
        self._size -= 1

    def replace(self, old: Value, new: Value) -> None:
        """Whoever took `old` takes `new`: nodes, graph outputs, updates."""
        for node in tuple(old.users):
            node.set_inputs([new if value is old else value for value in node.inputs])
        for name, value in self.outputs.items():
            if value is old:
                self.outputs[name] = new
        for weight, (value, when) in self.updates.items():
            if value is old:
                self.updates[weight] = (new, when)
        if not new.name and new.node is not None:
            new.name = old.name
        self.forwarded[old] = new

    def current(self, value: Value) -> Value:
        """The value that now stands for `value`, as a scope record names it."""
        while value in self.forwarded:
            value = self.forwarded[value]
        return value

    def live(self) -> set[Value]:
        """The values that leave the graph: outputs and updates."""
        return {*self.outputs.values(), *(value for value, _ in self.updates.values())}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbolic sizes of the inputs, in order of appearance."""
        sizes: Iterable[Dim] = (size for i in self.inputs for size in i.type.shape)
        return tuple(dict.fromkeys(name for size in sizes for name in symbols(size)))
