"""A graph with its reverse mode, written out line by line in one method.

No block of the source says what its reverse mode computes, and most of what that reads is made
inside the blocks. So all of it stands in the order in which it is computed, the parts of the
forward pass that reverse mode reads being the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...compiler import expr
from ...compiler.dim import Size, symbol
from ...compiler.expr import Expr, literal
from ...compiler.graph import Definition, Graph, Input, Node, Scope, Value
from ...compiler.passes import CLEAN, apply
from ...compiler.passes.expand import expand
from ...compiler.program import Apply, Class, Program, Region, Statement, Var
from ..source.names import identifier
from .methods import native
from .states import NEXT


def flatten(graph: Graph) -> Program:
    """The graph as a program of one class; weights become inputs, so that training can feed new
    ones."""
    for weight, (value, _) in graph.updates.items():
        graph.outputs[weight.path + NEXT] = value
    graph.updates.clear()
    layers = {graph.current(node.outputs[0]): node.layer.path for node in graph if node.layer}
    for path, weight in tuple(graph.weights.items()):
        given = Input(path, weight.type)
        graph.inputs.append(given)
        graph.replace(weight, given)
    graph.weights.clear()
    scope = _scope(graph)
    _unite(graph, scope)
    apply(graph, CLEAN)
    while expand(graph, native):
        _unite(graph, scope)
        apply(graph, CLEAN)
    names = {graph.current(value): identifier(path.replace(".", "_"))
             for value, path in reversed(layers.items())}  # fmt: skip
    return Program([_class(graph, scope, names)], {})


def _scope(graph: Graph) -> Scope:
    """The one scope of all nodes: its sizes are known only at run time."""
    sizes = {
        str(size): (given.name, axis)
        for given in reversed(graph.inputs)
        for axis, size in enumerate(given.type.shape)
        if isinstance(size, Size) and size == symbol(str(size))
    }
    known = graph.root.definition or Definition(graph.name, "model")
    names = tuple(given.name for given in graph.inputs)
    definition = replace(
        known, params={}, sizes=sizes, inputs=names, outputs=tuple(graph.outputs), shapes={}
    )
    return Scope("model", definition, values={name: symbol(name) for name in sizes})


def _unite(graph: Graph, scope: Scope) -> None:
    """Puts all nodes into one scope, as if numbers had made them, so that equal ones merge."""
    for node in graph.nested():
        node.scope, node.layer, node.exprs, node.arms = scope, None, {}, ()


def _class(graph: Graph, scope: Scope, names: Mapping[Value, str]) -> Class:
    assert scope.definition is not None
    variables: dict[Value, Var] = {x: Var(x.name, x.type) for x in graph.inputs}
    body: list[Statement] = [_statement(node, variables, names) for node in graph]
    return Class(
        graph.name, scope.definition, [], dict(scope.definition.sizes),
        {x.name: variables[x] for x in graph.inputs},
        {name: variables[y] for name, y in graph.outputs.items()},
        body, [], [], [scope], [],
    )  # fmt: skip


def _statement(node: Node, variables: dict[Value, Var], names: Mapping[Value, str]) -> Apply:
    """A node with its attributes as expressions over the names of sizes."""
    inputs = tuple(None if x is None else variables[x] for x in node.inputs)
    regions = tuple(_region(node, block, variables) for block in node.blocks)
    for output in node.outputs:
        named = names.get(output, "") if len(output.uses) > 1 else ""
        variables[output] = Var(named, output.type)
    attrs: dict[str, Expr] = {
        key: literal(value) for key, value in node.attrs.items() if not hasattr(value, "tobytes")
    }
    values = {
        key: value for key, value in node.attrs.items()
        if key not in attrs or not expr.names(attrs[key])
    }  # fmt: skip
    outputs = tuple(variables[y] for y in node.outputs)
    return Apply(node.op, inputs, outputs, attrs, values, regions=regions)


def _region(node: Node, block: Graph, variables: dict[Value, Var]) -> Region:
    """A block; what it only reads is the tensor outside."""
    own = node.attrs.get("carried", 0) + node.attrs.get("scanned", 0)
    outside = node.values[len(node.values) - len(block.inputs) :]
    for i, (value, given) in enumerate(zip(block.inputs, outside, strict=True)):
        variables[value] = Var(identifier(value.name), value.type) if i < own else variables[given]
    body: list[Statement] = [_statement(inner, variables, {}) for inner in block]
    inputs = tuple(variables[x] for x in block.inputs)
    return Region(inputs, tuple(variables[y] for y in block.outputs.values()), body)
