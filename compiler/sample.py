"""The samples of an op's record as graphs of one node; no numbers are drawn, so no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .graph import Graph, Init, Input, Layer, Node, Scope, Type, Value, Weight
from .op import Build, Op, Param, complete

Types: TypeAlias = "dict[str, Type]"
Change: TypeAlias = "Callable[[Types, Mapping[str, Any]], Types]"


def sampled(op: Op, number: int, change: Change | None = None) -> Node:
    """Sample `number` of `op`: the only node of a graph whose inputs and weights it takes.

    `change` makes other types of those of the inputs, given the attributes. Outputs are y0, y1, ...
    """
    spec = op.samples[number]
    names = [name.strip("*?") for name in (*op.inputs, *op.weights)]
    assert set(spec) <= {*op.config, *names}, f"{op.name} takes no {set(spec)}"
    attrs = complete(op, {key: spec[key] for key in op.config if key in spec})
    graph = Graph(op.name, Scope("model"))
    types = {name: type_of(tensor) for name, tensor in tensors(op, number).items()}
    if change is not None:
        types = change(types, attrs)
    graph.inputs = [Input(name, t) for name, t in types.items()]
    values: dict[str, Value] = {value.name: value for value in graph.inputs}
    for name, param in params(op, types, attrs).items():
        values[name] = graph.weights[name] = Weight(
            name, param.type, Init("zeros"), trainable=True, scope=graph.root, part=name
        )
    slots = list(values) if op.variadic else names
    node = Build(graph).node(op, [values.get(name) for name in slots], attrs)
    graph.outputs = {f"y{i}": output for i, output in enumerate(node.outputs)}
    return node


def tensors(op: Op, number: int) -> dict[str, Any]:
    """The inputs that the sample gives, by name; those of a variadic op are numbered."""
    spec = op.samples[number]
    if op.variadic:
        name = op.inputs[0][1:]
        return {f"{name}{i}": tensor for i, tensor in enumerate(spec[name])}
    names = [name.rstrip("?") for name in op.inputs]
    return {name: spec[name] for name in names if name in spec}


def params(op: Op, types: Types, attrs: Mapping[str, Any]) -> Mapping[str, Param]:
    """The weights that a layer makes on inputs of these types."""
    if op.params is None:
        return {}
    return op.params(*(types.get(name.rstrip("?")) for name in op.inputs), **attrs)


def type_of(tensor: Any) -> Type:
    """The type of a sample's tensor (see `Op.samples`)."""
    what, dtype, *_ = parts(tensor)
    return Type(dtype, _shape(what) if isinstance(what, list) else tuple(what))


def parts(tensor: Any) -> tuple[Any, ...]:
    """(shape or values, dtype, low, high) of a sample's tensor; the bounds only where given."""
    if isinstance(tensor, list) or tensor == () or isinstance(tensor[0], int):
        return tensor, "f32"
    return tuple(tensor)


def _shape(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list):
        return ()
    return (len(values), *(_shape(values[0]) if values else ()))


def in_layer(node: Node, name: str) -> Layer:
    """Makes the node that of a layer `name`, whose weights are then called `<name>.<part>`."""
    graph = node.graph
    assert graph is not None
    layer = Layer(node.op, graph.root, name, None, name, node.attrs, {}, 0)
    own = [value for value in node.values if isinstance(value, Weight)]
    for weight in own:
        graph.weights.pop(weight.path, None)
        weight.layer, weight.path = layer, f"{name}.{weight.part}"
        weight.name = weight.path
        weight.trainable = not weight.part.startswith("running")
        layer.weights[weight.part] = weight
        graph.weights[weight.path] = weight
    graph.layers.append(layer)
    node.layer = layer
    return layer
