"""The block of a scan, a loop or a choice while its body is elaborated: what it takes from outside
becomes its inputs, wherever it is read."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.diagnose import MlcError, Span
from ...compiler.graph import Graph, Input, Node, Scope, Type, Value
from ...compiler.op import Op
from ...compiler.passes.dce import sweep


class Region:
    """One block, with a scope of its own in `home`, that of the statement.

    `captured` maps what is read from outside to the input that it is inside.
    """

    def __init__(self, keyword: str, graph: Graph, home: Scope) -> None:
        self.keyword = keyword
        self.scope = Scope("region", parent=home, path=home.path)
        self.graph = Graph(graph.name, self.scope)
        self.own: set[Value] = set()
        self.captured: dict[Value, Input] = {}

    def input(self, name: str, type: Type, span: Span) -> Input:
        """A tensor that the block is given anew each time."""
        made = Input(name, type, span=span)
        self.graph.inputs.append(made)
        self.own.add(made)
        return made

    def inside(self, value: Value) -> Value:
        """What a value is in here."""
        if value in self.own:
            return value
        if value not in self.captured:
            self.captured[value] = Input(value.name, value.type, span=value.span)
        return self.captured[value]

    def append(self, node: Node) -> Node:
        """Puts a node, which takes values from anywhere, at the end."""
        node.set_inputs([None if v is None else self.inside(v) for v in node.inputs])
        self.own.update(node.outputs)
        return self.graph.append(node)

    def close(self, results: Mapping[str, Value]) -> None:
        """Ends the block: it gives these values, and computes nothing else."""
        self.graph.outputs = {name: self.inside(value) for name, value in results.items()}
        sweep(self.graph, list(self.graph))

    def reads(self, value: Value) -> bool:
        """Whether a value from outside is read."""
        given = self.captured.get(value)
        return given is not None and (bool(given.users) or given in self.graph.live())

    def require(self, op: Op, span: Span) -> None:
        """Raises for an op that does not do the same each time that it runs."""
        if op.effect != "pure":
            random = op.effect == "random"
            what = "draws noise" if random else "changes its buffers"
            text = f"{op.name} {what} in training, and stands in the body of a `{self.keyword}`"
            other = (
                "multiply by a mask that is an input" if random else "take a norm without buffers"
            )
            raise MlcError("unsupported", text, span, help=f"apply it before or after, or {other}")


def sealed(*regions: Region) -> tuple[tuple[Graph, ...], list[Value]]:
    """The blocks of one node, and what they all take from outside behind their own inputs."""
    captured = dict.fromkeys(value for region in regions for value in region.captured)
    outside = [value for value in captured if any(region.reads(value) for region in regions)]
    for region in regions:
        for value in outside:
            region.inside(value)
            region.graph.inputs.append(region.captured[value])
    return tuple(region.graph for region in regions), outside
