"""What must hold of every graph, and that a pass changed nothing: checks for MLC_CHECK=1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from .clone import clone
from .dim import Dim, bounds, evaluate
from .graph import Graph, Input, Node, Scope, Type, Value, Weight
from .op import infer
from .passes.mode import resolve
from .passes.noise import as_inputs
from .run import Result, holds, run


class Broken(AssertionError):
    """A pass, or whoever built the graph, made a mistake. Never the user's fault."""


def checked(graph: Graph, step: Callable[[Graph], int]) -> int:
    """Runs one pass; raises Broken, naming it, where the graph is not sound or equal afterwards."""
    before, _ = clone(graph)
    changes = step(graph)
    name = getattr(step, "__name__", repr(step))
    check(graph, name)
    if changes:
        neutral(before, graph, name)
    return changes


def check(graph: Graph, step: str = "") -> None:
    """Raises Broken where an invariant of graphs does not hold; `step` is who is to blame."""
    _Check(graph, step).run()


class _Check:
    def __init__(self, graph: Graph, step: str) -> None:
        self.graph = graph
        self.step = step
        self.known: set[Value] = {*graph.inputs, *graph.weights.values()}
        self.scopes: set[Scope] = set()

    def fail(self, what: str, node: Node | None = None) -> NoReturn:
        after = f" after {self.step}" if self.step else ""
        where = "" if node is None else f", at {node}{f' ({node.span})' if node.span else ''}"
        raise Broken(f"{self.graph.name}{after}{where}: {what}")

    def run(self) -> None:
        """All of the checks, in the order of the list."""
        count = 0
        for node in self.graph:
            count += 1
            self._links(node)
            self._inputs(node)
            self._attributes(node)
            self._types(node)
            self._scope(node)
            self._outputs(node)
            for block in node.blocks:
                self._block(block, node)
        if count != len(self.graph):
            self.fail(f"{count} nodes on the list, and {len(self.graph)} counted")
        for value in self.known:
            self._uses(value)
        self._interface()

    def _links(self, node: Node) -> None:
        if node.graph is not self.graph or node.next.prev is not node or node.prev.next is not node:
            self.fail("the list is torn", node)

    def _inputs(self, node: Node) -> None:
        op = node.op
        names = (*op.inputs, *op.weights)
        if not op.variadic and len(node.inputs) != len(names):
            self.fail(f"{len(node.inputs)} inputs for {len(names)} places", node)
        for i, value in enumerate(node.inputs):
            name = op.inputs[0] if op.variadic else names[i]
            if value is None and not name.endswith("?"):
                self.fail(f"{name} is absent", node)
            if value is not None and value not in self.known:
                self.fail(f"{name} is not made before it is used", node)
            if value is not None and node not in value.users:
                self.fail(f"the use of {name} is not recorded", node)

    def _attributes(self, node: Node) -> None:
        if len(node.blocks) != node.op.blocks:
            self.fail(f"{len(node.blocks)} blocks for {node.op.blocks}", node)
        if set(node.attrs) != set(node.op.config):
            self.fail(f"attributes {sorted(node.attrs)} for {sorted(node.op.config)}", node)
        if not set(node.exprs) <= set(node.attrs):
            self.fail(f"expressions {sorted(node.exprs)} for {sorted(node.attrs)}", node)

    def _types(self, node: Node) -> None:
        given = [None if value is None else value.type for value in node.inputs]
        found = infer(node.op, given, node.attrs, [], blocks=node.blocks)
        if len(found) != len(node.outputs):
            self.fail(f"{len(node.outputs)} outputs for {len(found)}", node)
        for output, type in zip(node.outputs, found, strict=True):
            if not _alike(output.type, type):
                self.fail(f"its type is {output.type}, and should be {type}", node)

    def _scope(self, node: Node) -> None:
        if node.scope in self.scopes:
            return
        *_, root = node.scope.ancestors()
        if root is not self.graph.root:
            self.fail(f"its scope {node.scope.path!r} does not hang on the graph's", node)
        self.scopes.update(node.scope.ancestors())

    def _outputs(self, node: Node) -> None:
        for i, output in enumerate(node.outputs):
            if output.node is not node or output.index != i:
                self.fail(f"output {i} belongs elsewhere", node)
            self.known.add(output)

    def _block(self, block: Graph, node: Node) -> None:
        """A region is a sound graph that reads its inputs alone."""
        if block.root is not self.graph.root:
            self.fail("the scopes of its block do not hang on the graph's", node)
        if block.weights or block.updates:
            self.fail("its block has weights of its own", node)
        check(block, self.step)

    def _uses(self, value: Value) -> None:
        for user in value.users:
            if user.graph is not self.graph or value not in user.inputs:
                self.fail(f"{value} records a use that is not there", user)

    def _interface(self) -> None:
        graph = self.graph
        for name, value in graph.outputs.items():
            if value not in self.known:
                self.fail(f"the output {name} is not in the graph")
        for path, weight in graph.weights.items():
            if weight.path != path:
                self.fail(f"the weight {weight.path} is filed under {path}")
        for buffer, (value, when) in graph.updates.items():
            if graph.weights.get(buffer.path) is not buffer or value not in self.known:
                self.fail(f"the update of {buffer.path} is not in the graph")
            if buffer.trainable or when not in ("training", "always"):
                self.fail(f"{buffer.path} cannot be updated ({when})")
            if not _alike(buffer.type, value.type):
                self.fail(f"{buffer.path} is {buffer.type}, and is updated to {value.type}")


def _alike(a: Type, b: Type) -> bool:
    """Whether the types have one dtype, and shapes that are equal or may be by a fact."""
    return a.dtype == b.dtype and a.rank == b.rank and all(map(_may_equal, a.shape, b.shape))


def _may_equal(a: Dim, b: Dim) -> bool:
    low, high = bounds(a - b)
    return low <= 0 <= high


# ------------------------------------------------------------------------------------ neutrality


def neutral(before: Graph, after: Graph, step: str = "") -> None:
    """Raises Broken where two graphs differ on random inputs, in float64, beyond rounding.

    They run at two sizes of every symbol. Where a mode is left open, inference is compared.
    """
    import numpy as np

    before, after = _inference(before), _inference(after)
    left = {given.name for given in after.inputs}
    for seed, sizes in enumerate(settings(before, 2)):
        random = np.random.default_rng(seed)
        inputs = {given.name: _draw(random, given, sizes) for given in before.inputs}
        weights = {path: _draw(random, weight, sizes) for path, weight in before.weights.items()}
        rest = {name: x for name, x in inputs.items() if name in left}
        one, other = run(before, inputs, weights), run(after, rest, weights)
        for name, a, b in _paired(one, other):
            close = b is not None and a.shape == b.shape and a.dtype == b.dtype
            if not (close and np.allclose(a, b, rtol=1e-9, atol=_floor(a), equal_nan=True)):
                place = ", ".join(f"{key} = {n}" for key, n in sizes.items())
                raise Broken(f"{before.name} after {step}: {name} differs ({place})")


def _inference(graph: Graph) -> Graph:
    copy, _ = clone(graph)
    resolve(copy, training=False)
    as_inputs(copy)
    return copy


def _paired(one: Result, other: Result) -> Iterator[tuple[str, Any, Any]]:
    for a, b in ((one.outputs, other.outputs), (one.updates, other.updates)):
        for name in dict.fromkeys([*a, *b]):
            yield name, a.get(name, b.get(name)), b.get(name) if name in a else None


def _floor(array: Any) -> float:
    """A billionth of the largest number, to forgive cancellation."""
    import numpy as np

    if array.dtype.kind != "f":
        return 0.0
    finite = array[np.isfinite(array)]
    return float(1e-9 * np.max(np.abs(finite), initial=0.0))


def settings(graph: Graph, count: int) -> list[dict[str, int]]:
    """Up to `count` assignments of sizes to the graph's symbols under which it is valid.

    Each gives every symbol another size than the one before, where that can be. One empty
    assignment where there are no symbols.
    """
    import random

    if not graph.symbols:
        return [{}]
    source = random.Random(0)
    steps = {name: _step(graph, name) for name in graph.symbols}
    found: list[dict[str, int]] = []
    for attempt in range(4000):
        low, high = 2 if attempt < 2000 else 1, 4 + attempt // 40
        sizes = {name: step * source.randint(low, high) for name, step in steps.items()}
        fresh = not any(sizes[name] == last[name] for last in found[-1:] for name in sizes)
        if (fresh or attempt > 3000) and _valid(graph, sizes):
            found.append(sizes)
        if len(found) == count:
            return found
    return found


def _step(graph: Graph, name: str) -> int:
    """A number that the symbol must be a multiple of, as far as simple facts say."""
    from math import lcm

    from .dim import symbol

    numbers = (
        fact.left
        for fact in graph.facts
        if fact.relation == "divides" and fact.right == symbol(name) and isinstance(fact.left, int)
    )
    return lcm(*numbers)


def _valid(graph: Graph, sizes: Mapping[str, int]) -> bool:
    if not all(holds(fact, sizes) for fact in graph.facts):
        return False
    values = (*graph.inputs, *(output for node in graph.nested() for output in node.outputs))
    return all(evaluate(size, sizes) >= 1 for value in values for size in value.type.shape)


def _draw(random: Any, value: Input | Weight, sizes: Mapping[str, int]) -> Any:
    """Normal floats (scales and variances near 1), and integers that are small enough to index."""
    shape = tuple(evaluate(size, sizes) for size in value.type.shape)
    if value.type.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if not value.type.floating:
        return random.integers(0, 2, shape)
    if isinstance(value, Weight) and value.init.kind == "ones":
        return random.uniform(0.5, 1.5, shape)
    return random.normal(0, 1 if isinstance(value, Input) else 0.3, shape)
