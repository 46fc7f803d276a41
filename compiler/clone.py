"""Deep copies of graphs."""

from __future__ import annotations

from .graph import Graph, Input, Node, Value, Weight


def clone(graph: Graph) -> tuple[Graph, dict[Value, Value]]:
    """A copy of `graph`, and which value of the copy stands for each value of the original.

    Nodes, values and weights are new; scopes, layers and definitions are shared, and `current` of
    the copy leads from the values that they name to its own.
    """
    values: dict[Value, Value] = {}
    return _clone(graph, values), values


def _clone(graph: Graph, values: dict[Value, Value]) -> Graph:
    copy = Graph(graph.name, graph.root)
    for given in graph.inputs:
        copy.inputs.append(_input(given, values))
    for path, weight in graph.weights.items():
        copy.weights[path] = _weight(weight, values)
    for node in graph:
        copy.append(_node(node, values))
    copy.outputs = {name: values[value] for name, value in graph.outputs.items()}
    copy.layers = list(graph.layers)
    copy.facts = list(graph.facts)
    copy.variants = graph.variants
    copy.forwarded = {**graph.forwarded, **values}
    for weight, (value, when) in graph.updates.items():
        twin = values[weight]
        assert isinstance(twin, Weight)
        copy.updates[twin] = (values[value], when)
    return copy


def _input(given: Input, values: dict[Value, Value]) -> Input:
    copy = Input(given.name, given.type, given.default, given.span)
    copy.order, copy.noise = given.order, given.noise
    values[given] = copy
    return copy


def _weight(weight: Weight, values: dict[Value, Value]) -> Weight:
    copy = Weight(
        weight.path, weight.type, weight.init, trainable=weight.trainable, scope=weight.scope,
        part=weight.part, layer=weight.layer, site=weight.site, exprs=weight.exprs,
        span=weight.span,
    )  # fmt: skip
    copy.name, copy.order, copy.data = weight.name, weight.order, weight.data
    values[weight] = copy
    return copy


def _node(node: Node, values: dict[Value, Value]) -> Node:
    copy = Node(
        node.op,
        [None if value is None else values[value] for value in node.inputs],
        [output.type for output in node.outputs],
        node.attrs, exprs=node.exprs, layer=node.layer, scope=node.scope, site=node.site,
        rank=node.rank, arms=node.arms, span=node.span,
        blocks=tuple(_clone(block, values) for block in node.blocks),
    )  # fmt: skip
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name, new.span, new.order = old.name, old.span, old.order
        values[old] = new
    return copy
