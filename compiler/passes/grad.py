"""Reverse mode on the graph: the gradient, as ordinary nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..diagnose import MlcError
from ..graph import Graph, Node, Value
from ..op import BODY, REGION, Build
from ..ops.elementwise import ADD
from ..ops.shape import zeros
from .dce import sweep
from .expand import Recording, apply_body
from .region import Given, reverse


def gradients(
    graph: Graph, cotangents: Mapping[str, Value], wrt: Sequence[Value]
) -> dict[Value, Value]:
    """The gradient of the outputs, weighted by `cotangents`, for each value in `wrt`.

    `cotangents` maps names of outputs to values of the output's type (often further inputs). The
    nodes are appended to `graph`, whose modes must be resolved; only what the results need stays.
    A value that no such output depends on has a gradient of zeros. Raises MlcError "gradient"
    where an op on the way has none.
    """
    nodes = tuple(graph)
    made: list[Node] = []
    reverse = _Reverse(graph, dependents(nodes, wrt), made)
    for name, cotangent in cotangents.items():
        reverse.add(graph.outputs[name], cotangent, _builder(graph, made, graph.outputs[name].node))
    reverse.walk(nodes)
    end = _builder(graph, made, None)
    result = {value: reverse.gradients.get(value) or zeros(end, value.type) for value in wrt}
    sweep(graph, made, result.values())
    return result


class _Builder(Recording):
    """Appends to the end, and to one list for all of the reverse pass."""

    def __init__(self, *args: Any, made: list[Node], **options: Any) -> None:
        super().__init__(*args, **options)
        self.made = made


def _builder(
    graph: Graph, made: list[Node], node: Node | None, before: Node | None = None
) -> Recording:
    """A builder at the end of the graph, or in front of a node of it, whose nodes belong where
    `node` does in the source."""
    if node is None:
        return _Builder(graph, made=made)
    return _Builder(
        graph, node.scope, site=node.site, arms=node.arms, span=node.span, rank=node.rank,
        before=before, made=made,
    )  # fmt: skip


def dependents(nodes: Iterable[Node], wrt: Iterable[Value]) -> set[Value]:
    """The values that a change of `wrt` can move, by a derivative."""
    found = {value for value in wrt if value.type.floating}
    for node in nodes:
        if any(value in found for value in node.values):
            found.update(output for output in node.outputs if output.type.floating)
    return found


class _Reverse:
    """The reverse pass: `gradients` holds what has been gathered for each value so far."""

    def __init__(self, graph: Graph, wanted: set[Value], made: list[Node]) -> None:
        self.graph = graph
        self.wanted = wanted
        self.made = made
        self.gradients: dict[Value, Value] = {}

    def add(self, value: Value, gradient: Value, b: Build) -> None:
        """Adds a contribution to the gradient of `value`."""
        if value not in self.wanted:
            return
        before = self.gradients.get(value)
        self.gradients[value] = gradient if before is None else b(ADD, before, gradient)

    def walk(self, nodes: Sequence[Node]) -> None:
        """Passes the gradients of outputs on to inputs, from the last node to the first."""
        for node in reversed(nodes):
            reached = any(output in self.gradients for output in node.outputs)
            if reached and any(value in self.wanted for value in node.values):
                self._step(node)

    def _step(self, node: Node) -> None:
        b = _builder(self.graph, self.made, node)
        if node.op.grad is BODY and node.op.body is not None:
            self._through_body(node, b)
        elif callable(node.op.grad) or node.op.grad is REGION:
            inputs = node.inputs
            found = self._rule(node, b) if callable(node.op.grad) else self._region(node, b)
            for value, gradient in zip(inputs, found, strict=True):
                if value is not None and gradient is not None:
                    _check(node, value, gradient)
                    self.add(value, gradient, b)
        else:
            raise MlcError("gradient", f"{node.op.name} has no gradient", node.span)

    def _rule(self, node: Node, b: Build) -> Sequence[Value | None]:
        """What the op's own rule says, one gradient (or None) an input."""
        grad = node.op.grad
        assert callable(grad)
        given = tuple(self.gradients.get(output) for output in node.outputs)
        g, y = (given, node.outputs) if len(node.outputs) > 1 else (given[0], node.output)
        result = tuple(grad(b, g, y, *node.inputs, **node.attrs))
        return result + (None,) * (len(node.inputs) - len(result))

    def _region(self, node: Node, b: Recording) -> Sequence[Value | None]:
        """What the blocks of the node say."""
        outputs = [self.gradients.get(output) for output in node.outputs]
        wanted = [value in self.wanted for value in node.inputs]
        before = _builder(self.graph, self.made, node, node)
        return reverse(node, Given(outputs, wanted, before, b))

    def _through_body(self, node: Node, b: Recording) -> None:
        """Writes the body beside the node and walks back through that."""
        start = len(self.made)
        results = apply_body(b, node)
        inner = self.made[start:]
        for made in inner:
            if any(value in self.wanted for value in made.values):
                self.wanted.update(output for output in made.outputs if output.type.floating)
        for output, result in zip(node.outputs, results, strict=True):
            if output in self.gradients:
                self.add(result, self.gradients[output], b)
        self.walk(inner)


def _check(node: Node, value: Value, gradient: Value) -> None:
    """A rule that gives a gradient of another shape is a fault of ours."""
    for a, b in zip(value.type.shape, gradient.type.shape, strict=True):
        assert a == b or not (isinstance(a, int) and isinstance(b, int)), (
            f"the gradient of {node.op.name} is {gradient.type} for {value.type}"
        )
