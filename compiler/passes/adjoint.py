"""A graph with its gradients beside its outputs, as one flat list of ordinary nodes.

For targets that have no gradients of their own: what they are given computes outputs and gradients
in one go. Classes and loops of the source do not matter there, so that what is computed twice can
be merged, and what nobody asked for removed, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

from ..diagnose import MlcError
from ..graph import Graph, Input, Node, Scope, Value
from ..op import BODY
from . import CLEAN, apply
from .cse import cse, frozen
from .dce import sweep
from .expand import Recording, apply_body, expand
from .grad import gradients
from .noise import unique

PREFIX = "grad."
"""What the name of a gradient, or of what weighs an output in it, begins with."""


@dataclass(frozen=True, slots=True)
class Adjoint:
    """`graph` computes the outputs of a model and the gradients of sum(output * cotangent).

    cotangents  output -> the input of `graph` that weighs it, of the output's type: `grad.<output>`
    inputs      input -> the output of `graph` that is its gradient: `grad.<input>`
    weights     path -> the output of `graph` that is its gradient: `grad.<path>`

    The inputs of `graph` are the model's, then the cotangents in the order of `cotangents`; its
    outputs are the model's, then the gradients of inputs, then those of weights. A name that
    another input, output or weight has already gets a number behind it (`grad.weight_1`).
    """

    graph: Graph
    cotangents: Mapping[str, str]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]


def adjoint(
    graph: Graph, wrt: Collection[str] | None = None, *, without: Collection[str] = ()
) -> Adjoint:
    """A copy of `graph`, whose modes must be resolved, that also computes gradients.

    `wrt` are names of inputs and paths of weights; None: every float input and every trainable
    float weight but those in `without`, such as masks of dropout; never noise. Every output of
    floats is weighed by a further input. Updates stay. Ops whose gradient goes through their body
    are written out, so that forward and backward share it; ops in the copy have no arm or
    expression, and one scope for each path (of a layer or a block).
    MlcError `gradient`: an op on the way has none (it is named, with its place), no output is of
    floats, or `wrt` names what is no float input or weight.
    """
    copy = _flat(graph)
    leaves = _leaves(copy, wrt, without)
    outputs = [name for name, value in copy.outputs.items() if value.type.floating]
    if not outputs:
        raise MlcError("gradient", f"no output of {graph.name} is of floats")
    expand(copy, _unless_through_body(leaves.values()))
    taken = {*(x.name for x in copy.inputs), *copy.weights, *copy.outputs}
    cotangents = {name: Input(_claim(name, taken), copy.outputs[name].type) for name in outputs}
    copy.inputs += cotangents.values()
    forward = list(copy)
    slopes = gradients(copy, cotangents, list(leaves.values()))
    titles = {name: _claim(name, taken) for name in leaves}
    copy.outputs |= {titles[name]: slopes[value] for name, value in leaves.items()}
    cse(copy)
    _share(copy, forward)
    while apply(copy, CLEAN):
        pass
    weights = {name: title for name, title in titles.items() if name in copy.weights}
    inputs = {name: title for name, title in titles.items() if name not in weights}
    return Adjoint(copy, {name: x.name for name, x in cotangents.items()}, inputs, weights)


def _claim(name: str, taken: set[str]) -> str:
    """`grad.<name>`, or the first of `grad.<name>_1`, ... that nothing else is called."""
    return unique(PREFIX + name, taken)


def _leaves(
    graph: Graph, wrt: Collection[str] | None, without: Collection[str]
) -> dict[str, Value]:
    """What the gradients are by: inputs first, each in the order of the graph."""
    known: dict[str, Value] = {x.name: x for x in graph.inputs if x.type.floating and not x.noise}
    known |= {path: w for path, w in graph.weights.items() if w.type.floating}
    if wrt is None:
        held = {path for path, weight in graph.weights.items() if not weight.trainable}
        return {name: value for name, value in known.items() if name not in {*held, *without}}
    unknown = [name for name in wrt if name not in known]
    if unknown:
        raise MlcError("gradient", f"{graph.name} has no input or weight {unknown[0]} of floats")
    return {name: value for name, value in known.items() if name in wrt}


def _flat(graph: Graph) -> Graph:
    """A copy without what tells one line of the source from another.

    A node of a layer has the layer's path.
    """
    from ..clone import clone

    copy, _ = clone(graph)
    scopes: dict[str, Scope] = {}
    for node in copy.nested():
        path = node.layer.path if node.layer else node.scope.path
        if path not in scopes:
            scopes[path] = Scope("model", parent=copy.root, path=path) if path else copy.root
        node.scope = scopes[path]
        if node.layer is not None:
            node.outputs[0].name = ""
        node.exprs, node.arms = {}, ()
    return copy


SHARE = 2 / 3
"""Of a body's nodes, how many backward must compute for forward to be written as that body too."""


def _share(graph: Graph, forward: Iterable[Node]) -> None:
    """Writes out those of `forward` whose body is mostly computed already, for backward.

    An op's own gradient computes parts of the op once more: the scores of attention, the mean and
    variance of a norm.
    """
    known = {_key(node, {}): node for node in graph if node.op.effect == "pure"}
    for node in forward:
        if node.graph is graph and node.op.rounding == "body" and callable(node.op.grad):
            _write_out(graph, node, known)


def _write_out(graph: Graph, node: Node, known: Mapping[Hashable, Node]) -> None:
    """Puts the body in the place of a node, if that is worth it; its end is the layer's result."""
    b = Recording.like(node)
    results = apply_body(b, node)
    same: dict[Value, Value] = {}
    shared = 0
    for made in b.made:
        twin = known.get(_key(made, same))
        if twin is not None:
            shared += 1
            same.update(zip(made.outputs, twin.outputs, strict=True))
    if shared < SHARE * len(b.made) or not shared:
        sweep(graph, b.made)
        return
    last = results[0].node
    if last is not None and results[0] not in same:
        last.layer = node.layer
    for old, value in zip(node.outputs, results, strict=True):
        graph.replace(old, value)
    graph.erase(node)


def _key(node: Node, same: Mapping[Value, Value]) -> Hashable:
    inputs = tuple(v if v is None else same.get(v, v) for v in node.inputs)
    return node.op, node.scope, inputs, tuple(frozen(value) for value in node.attrs.values())


def _unless_through_body(leaves: Collection[Value]) -> Callable[[Node], bool]:
    """Whether a node, asked in order, stays: it has a gradient of its own, or none is wanted."""
    found = set(leaves)

    def stays(node: Node) -> bool:
        if any(value in found for value in node.values):
            if node.op.grad is BODY and node.op.body is not None:
                return False
            found.update(output for output in node.outputs if output.type.floating)
        return True

    return stays
