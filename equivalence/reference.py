"""The reference: the unoptimised graph and its reverse mode, on NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..compiler.clone import clone
from ..compiler.diagnose import MlcError
from ..compiler.graph import Graph, Input, Node, Value
from ..compiler.passes.dce import dce
from ..compiler.passes.expand import expand
from ..compiler.passes.grad import gradients
from ..compiler.passes.mode import resolve
from ..compiler.run import run

Arrays: TypeAlias = dict[str, Any]
Hook: TypeAlias = Callable[[Node, Any, Any], Any]
Truth: TypeAlias = "dict[Key, Any]"


class Key(NamedTuple):
    """A tensor that is compared: "output", "input gradient", "parameter gradient", "update"."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Feed:
    """What one run is given: inputs and cotangents by name, weights by path, exact in f32."""

    sizes: Mapping[str, int]
    inputs: Arrays
    cotangents: Arrays
    weights: Arrays


@dataclass
class Joint:
    """A graph in one mode, forward and backward in one, as written and with bodies written out.

    `forward` is the forward part alone, `no_gradient` says why there is no other, where there is
    none. `discrete` are the nodes of `expanded` whose results jump, and the same in `graph`.
    """

    forward: Graph
    graph: Graph
    expanded: Graph
    keys: Mapping[str, Key]
    no_gradient: str = ""
    discrete: Mapping[Node, Node] = field(default_factory=dict)

    @cached_property
    def steps(self) -> Joint:
        """Only what the discrete nodes depend on, `expanded`; they are its outputs."""
        graph, values = clone(self.expanded)
        discrete = {_made(values[new.outputs[0]]): old for new, old in self.discrete.items()}
        graph.updates.clear()
        whole = [node for node in graph if any(part in discrete for part in parts(node))]
        graph.outputs = {f"step {i}": node.outputs[0] for i, node in enumerate(whole)}
        dce(graph)
        keys = {name: Key("step", name) for name in graph.outputs}
        return Joint(self.forward, graph, graph, keys, self.no_gradient, discrete)

    def run(self, feed: Feed, *, expanded: bool = False, perturb: Hook | None = None) -> Truth:
        """Every tensor that is compared, in float64, by Key."""
        given = dict(feed.inputs)
        if not self.no_gradient:
            given |= {_cotangent(name): array for name, array in feed.cotangents.items()}
        graph = self.expanded if expanded else self.graph
        result = run(graph, given, feed.weights, perturb=perturb)
        found: Truth = {self.keys[name]: y for name, y in result.outputs.items()}
        return found | {Key("update", path): x for path, x in result.updates.items()}


def joint(graph: Graph, training: bool) -> Joint:
    """The reference of `graph` in one mode; every dropout has rate 0."""
    alone, _ = clone(graph)
    _settle(alone, training)
    made = derive(alone)
    expanded, values = clone(made.graph)
    discrete = {
        _made(values[node.outputs[0]]): node
        for node in made.graph.nested()
        if node.outputs and is_discrete(node)
    }
    expand(expanded, _Spelt())
    return replace(made, expanded=expanded, discrete=discrete)


def derive(forward: Graph) -> Joint:
    """The reference of a graph whose mode is settled, with no bodies written out."""
    keys = {name: Key("output", name) for name in forward.outputs}
    try:
        both = _differentiate(forward, keys)
        reason = ""
    except MlcError as error:
        both, reason = forward, error.message
    return Joint(forward, both, both, keys, reason)


def parts(node: Node) -> Iterator[Node]:
    """The node, and those of its blocks."""
    for block in node.blocks:
        yield from block.nested()
    yield node


def _made(value: Value) -> Node:
    """The node that makes a value."""
    assert value.node is not None
    return value.node


def forward(graph: Graph, training: bool) -> Joint:
    """The reference of `graph` in one mode, without gradients."""
    both, _ = clone(graph)
    _settle(both, training)
    expanded, _ = clone(both)
    expand(expanded, _Spelt())
    keys = {name: Key("output", name) for name in both.outputs}
    return Joint(both, both, expanded, keys, "they were not asked for")


class _Spelt(Container[Any]):
    """The ops whose rounding is known without their body."""

    def __contains__(self, op: object) -> bool:
        return getattr(op, "rounding", "") != "body"


_RATES = ("rate", "dropout", "drop")


def _settle(graph: Graph, training: bool) -> None:
    """Takes the noise out of every random node but those that are given it, and settles the mode.

    A row that takes no gradient is written out, so that a difference can hold it still.
    """
    for node in graph.nested():
        if node.op.effect == "random" and "rate" in node.attrs and node.inputs[1] is None:
            node.attrs.update({name: 0.0 for name in _RATES if name in node.attrs})
    resolve(graph, training)
    expand(graph, lambda node: node.attrs.get("padding") is None)


def _differentiate(alone: Graph, keys: dict[str, Key]) -> Graph:
    """A copy with the gradients of sum(output * cotangent) as further outputs, named in `keys`."""
    graph, _ = clone(alone)
    seeds: dict[str, Value] = {}
    for name, value in graph.outputs.items():
        if value.type.floating:
            seeds[name] = Input(_cotangent(name), value.type)
    leaves: dict[Value, Key] = {
        given: Key("input gradient", given.name)
        for given in graph.inputs
        if given.type.floating and not given.noise
    }
    for path, weight in graph.weights.items():
        if weight.trainable and weight.type.floating:
            leaves[weight] = Key("parameter gradient", path)
    if not seeds:
        raise MlcError("gradient", f"no output of {graph.name} is of floats")
    graph.inputs += [seed for seed in seeds.values() if isinstance(seed, Input)]
    for leaf, gradient in gradients(graph, seeds, list(leaves)).items():
        keys[str(leaves[leaf])] = leaves[leaf]
        graph.outputs[str(leaves[leaf])] = gradient
    return graph


def _cotangent(name: str) -> str:
    """The name of an input that no source can have written."""
    return f"cotangent of {name}"


_STEPS = frozenset(
    {
        *("sign", "floor", "ceil", "round", "trunc", "floor_div", "mod"),
        *("argmax", "argmin", "sort", "top_k"),
    }
)


def is_discrete(node: Node) -> bool:
    """Whether the node's result jumps as its inputs move."""
    if not any(value.type.floating for value in node.values):
        return False
    jumps = any(not output.type.floating for output in node.outputs)
    return jumps or node.op.name in _STEPS


# ------------------------------------------------------------------------ the reference's own test

STEP = 1e-6
"""How far a central difference goes in each direction, relative to the size of a tensor."""

AGREEMENT = 1e-5
"""The relative difference from a central difference above which a gradient is not believed."""


def gradient_error(joint: Joint, feed: Feed, truth: Truth, rng: np.random.Generator) -> float:
    """How far the gradients are from a central difference of the forward, in one direction.

    Relative to the sum of what each tensor contributes. Shorter steps are tried where the first
    disagrees, since a longer one may cross a kink. What `stop_gradient` gives is held still.
    """
    moved = [
        key for key in truth if key.kind.endswith("gradient") and _given(key, feed) is not None
    ]
    directions = {}
    slope = scale = 0.0
    for key in moved:
        base = np.asarray(_given(key, feed), np.float64)
        size = float(np.sqrt(np.mean(base**2))) if base.size else 0.0
        directions[key] = rng.normal(0.0, size or 1.0, base.shape)
        part = truth[key] * directions[key]
        slope += float(np.sum(part))
        scale += float(np.linalg.norm(truth[key]) * np.linalg.norm(directions[key]))
    if not scale:
        return 0.0
    held = _held(joint, feed)
    errors = []
    for step in (STEP, STEP / 10, STEP * 10, STEP / 100):
        ends = [_loss(joint, _moved(feed, directions, h), held) for h in (step, -step)]
        errors.append(abs((ends[0] - ends[1]) / (2 * step) - slope) / scale)
        if errors[-1] < AGREEMENT:
            break
    return min(errors)


def _given(key: Key, feed: Feed) -> Any:
    return (feed.inputs if key.kind == "input gradient" else feed.weights).get(key.name)


def _moved(feed: Feed, directions: Mapping[Key, Any], step: float) -> Feed:
    inputs, weights = dict(feed.inputs), dict(feed.weights)
    for key, direction in directions.items():
        place = inputs if key.kind == "input gradient" else weights
        place[key.name] = np.asarray(place[key.name], np.float64) + step * direction
    return Feed(feed.sizes, inputs, feed.cotangents, weights)


def _held(joint: Joint, feed: Feed) -> dict[Node, list[Any]]:
    """What each stop_gradient gives at `feed`, each time that it runs."""
    held: dict[Node, list[Any]] = {}

    def keep(node: Node, arrays: Any, results: Any) -> Any:
        if node.op.name == "stop_gradient":
            held.setdefault(node, []).append(results)
        return results

    run(joint.forward, feed.inputs, feed.weights, perturb=keep)
    return held


def _loss(joint: Joint, feed: Feed, held: Mapping[Node, Sequence[Any]]) -> float:
    """sum(output * cotangent), with the results in `held` kept as they are."""
    kept = {node: iter(results) for node, results in held.items()}
    result = run(
        joint.forward,
        feed.inputs,
        feed.weights,
        perturb=lambda node, arrays, results: next(kept.get(node, iter(())), results),
    )
    return float(sum(np.sum(result.outputs[name] * c) for name, c in feed.cotangents.items()))
