"""Draws inputs and weights that make faults visible. All floats are exact in f32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from ..compiler import dim
from ..compiler.dim import Dim
from ..compiler.graph import Graph, Input, Node, Value, Weight
from ..compiler.ops.constant import numpy_dtype
from .sizes import Sizes

Arrays: TypeAlias = dict[str, Any]

MEAN = 0.5
"""The mean of float inputs: not zero, so that a variance computed in a bad way shows."""

SMALL = 10.0
"""The scale of what goes into a normalisation, in roots of its eps: a variance of a hundred eps is
so small that eps shows, and not so small that little is left of what is normalised."""

LEAST = (0.01, 1e-5)
"""The least such scale, of one draw and of another. Where an eps is all but zero, so must be what
shows it; and then little else does: what a layer in front of it adds is lost beside its bias. One
draw leaves such a normalisation's input as it is, the other makes it tiny."""

GAIN = 0.25
"""The least size of a weight that starts constant: what is multiplied by 1e-6 would not be seen."""


# -------------------------------------------------------------------------------------- inputs


def inputs(
    graph: Graph,
    sizes: Sizes,
    rng: np.random.Generator,
    *,
    optional: bool,
    positive: bool = False,
    mean: float = MEAN,
) -> Arrays:
    """An array for each input, or only for those that may not be left out.

    Floats are normal around `mean` (`positive`: uniform between 0.1 and 0.9, for models that are
    defined only there), integers uniform in the range that their users allow, bools mostly true,
    and true at the start of each row: as masks they leave something to attend to. Noise has its own
    distribution.
    """
    feed = {}
    for given in graph.inputs:
        if optional or given.default is None:
            shape = tuple(dim.evaluate(size, sizes) for size in given.type.shape)
            feed[given.name] = _draw(given, shape, sizes, rng, positive, mean)
    return feed


def _draw(
    given: Input,
    shape: tuple[int, ...],
    sizes: Sizes,
    rng: np.random.Generator,
    positive: bool,
    mean: float,
) -> Any:
    dtype = numpy_dtype(given.type.dtype)
    if given.noise:
        drawn = (
            rng.random(shape, np.float32) if given.noise == "uniform" else rng.normal(size=shape)
        )
        return np.asarray(drawn).astype(np.float32)
    if given.type.floating:
        x = rng.uniform(0.1, 0.9, shape) if positive else rng.normal(mean, 1.0, shape)
        return np.asarray(x).astype(np.float32).astype(dtype)
    if given.type.dtype == "bool":
        chosen = rng.random(shape) < 0.75
        flat = chosen.reshape(-1)
        if flat.size > 1:
            flat[-1] = False
            chosen[..., 0] = True
        return chosen
    for into, axis in _scattered(given):
        whole = list(shape)
        whole[axis] = dim.evaluate(into.type.shape[axis], sizes)
        places = rng.random(whole).argsort(axis).take(range(shape[axis]), axis)
        return places.astype(dtype)
    longest = [dim.evaluate(size, sizes) for size in steps(given)]
    if longest:
        return rng.integers(1, min(longest) + 1, shape).astype(dtype)
    bounds = [dim.evaluate(bound, sizes) for bound in _bounds(given)]
    low = 0 if bounds or positive or given.type.dtype[0] == "u" else -4
    return rng.integers(low, min(bounds, default=8), shape).astype(dtype)


def steps(given: Input) -> list[Dim]:
    """How many steps the rows have whose lengths `given` tells, each of which is 1 at least."""
    return [
        node.values[0].type.shape[1]
        for node, slot in given.uses
        if slot < len(node.op.inputs) and node.op.inputs[slot] == "lengths?"
    ]


def _scattered(given: Input) -> list[tuple[Value, int]]:
    """What elements are put into at the places in `given`, none of which may come twice."""
    nodes = [node for node, slot in given.uses if node.op.name == "scatter" and slot == 1]
    return [(node.values[0], node.attrs["axis"]) for node in nodes]


_ALIKE = frozenset(
    {
        *("cast", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "relayout", "slice"),
        *("identity", "expand", "tile", "flip", "concat", "stack", "split", "stop_gradient"),
        *("pad_circular", "pad_symmetric"),
    }
)
"""Ops whose result holds elements of their input."""


def _bounds(value: Value) -> Iterator[Dim]:
    """The sizes of the axes into which the elements of `value` are indices."""
    for node, slot in value.uses:
        for block in node.blocks:
            place = slot - len(node.inputs) + len(block.inputs)
            if place >= 0:
                yield from _bounds(block.inputs[place])
        if node.op.name in _ALIKE:
            for output in node.outputs:
                yield from _bounds(output)
        else:
            bound = _bound(node, slot)
            if bound is not None:
                yield bound


def _bound(node: Node, slot: int) -> Dim | None:
    first = node.inputs[0]
    assert first is not None
    match node.op.name, slot:
        case (("embedding" | "embedding_bag"), 0):
            weight = node.inputs[-1]
            assert weight is not None
            return weight.type.shape[0]
        case (("gather" | "gather_elements" | "scatter_add" | "scatter" | "scatter_max"), 1):
            axis: int = node.attrs["axis"]
            return first.type.shape[axis]
        case (("cross_entropy" | "nll_loss"), 1):
            axis = node.attrs.get("axis", 1 if first.type.rank > 1 else 0)
            return first.type.shape[axis]
        case "dynamic_slice", 1:
            return _starts(first, node.attrs["size"], node.attrs["axis"])
        case "dynamic_update", 2:
            update = node.inputs[1]
            assert update is not None
            return _starts(first, update.type.shape[node.attrs["axis"]], node.attrs["axis"])
        case (("shift_left" | "shift_right"), 1):
            return 8
        case "one_hot", 0:
            count: Dim = node.attrs["depth"]
            return count
    return None


def _starts(x: Value, size: Dim, axis: int) -> Dim:
    """How many places there are for a part of that size on an axis."""
    return x.type.shape[axis] - size + 1


# ------------------------------------------------------------------------------------- weights


def weights(graph: Graph, rng: np.random.Generator, *, least: float = LEAST[0]) -> Arrays:
    """An array for each weight: no gain is 1, no bias 0, and activations keep about unit scale.

    What makes the input of a normalisation is scaled as SMALL says, its running statistics with it,
    where that is at least `least`.
    """
    small = _in_front_of_norms(graph, least)
    result = {}
    for path, weight in graph.weights.items():
        x = _weight(weight, rng)
        if weight in small:
            x = x * small[weight] ** (2 if weight.part == "running_var" else 1)
        kind = numpy_dtype(weight.type.dtype)
        result[path] = np.asarray(x).astype(np.float32).astype(kind)
    return result


def varied(graph: Graph) -> bool:
    """Whether weights that are scaled by less show more: some eps is so small."""
    usual, tiny = (_in_front_of_norms(graph, least) for least in LEAST)
    return usual != tiny


def _weight(weight: Weight, rng: np.random.Generator) -> Any:
    shape = tuple(int(size) for size in weight.type.shape if isinstance(size, int))
    assert len(shape) == weight.type.rank, f"the weight {weight.path} has a symbolic size"
    if not weight.type.floating:
        return rng.integers(0, 2, shape)
    match weight.part:
        case "running_var":
            return rng.uniform(0.5, 2.0, shape)
        case "running_mean":
            return rng.normal(0.0, 1.0, shape)
    match weight.init.kind:
        case "ones":
            return rng.uniform(0.5, 1.5, shape)
        case "constant":
            value = weight.init.args[0]
            return math.copysign(max(abs(value), GAIN), value) * rng.uniform(0.8, 1.2, shape)
        case "normal" if weight.init.args:
            return rng.normal(0.0, weight.init.args[0], shape)
        case "uniform":
            low, high = weight.init.args
            return rng.uniform(low, high, shape)
        case "zeros":
            return rng.normal(0.0, 0.2, shape)
    return rng.normal(0.0, _scale(weight, shape), shape)


def _scale(weight: Weight, shape: tuple[int, ...]) -> float:
    """The deviation with which a sum over the fan-in has unit scale; less for a bias."""
    if len(shape) < 2:
        return 0.2
    transposed = weight.layer is not None and weight.layer.op.name == "conv_transpose"
    fan = math.prod(shape[:1] + shape[2:]) if transposed else math.prod(shape[1:])
    return 1 / math.sqrt(max(fan, 1))


_NORMS = frozenset(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"))
_LINEAR = _ALIKE | frozenset(
    {
        *("add", "sub", "neg", "relu", "dropout", "mean", "sum", "maximum", "where", "pad"),
        *("max_pool", "avg_pool", "leaky_relu", "channel_dropout", "drop_path"),
    }
)
"""Ops that scale their result as they scale all their inputs."""


def _in_front_of_norms(graph: Graph, least: float) -> dict[Weight, float]:
    """The weights that set the scale of what is normalised, the statistics that go with it, and the
    scale: of several, the largest."""
    found: dict[Weight, float] = {}
    for node in graph:
        given = node.inputs[0] if node.inputs and node.op.name in _NORMS else None
        scaling = _scaling(given) if given is not None else set()
        if scaling:
            scaling.update(v for v in node.inputs if isinstance(v, Weight) and _is_statistic(v))
            scale = _scale_of(node.attrs["eps"], least)
            found |= {weight: max(scale, found.get(weight, 0.0)) for weight in scaling}
    return found


def _scale_of(eps: float, least: float) -> float:
    """The scale at which an eps shows, or 1 where that would be less than `least`."""
    scale = min(1.0, SMALL * math.sqrt(eps))
    return scale if scale >= least * (1 - 1e-6) else 1.0


def _is_statistic(weight: Weight) -> bool:
    return weight.part in ("running_mean", "running_var")


def _scaling(value: Value) -> set[Weight]:
    """The weights that set the scale of `value`, through whatever passes it on."""
    found: set[Weight] = set()
    seen: set[Value] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if isinstance(value, Weight):
            found.add(value)
        elif value.node is not None and value.node.op.name in _LINEAR:
            waiting += value.node.values
        elif value.node is not None:
            found.update(_last(value.node))
    return found


def _last(node: Node) -> Iterator[Weight]:
    """The weights of a node that its result is linear in, taken together."""
    for value in node.inputs:
        if isinstance(value, Weight) and not _is_statistic(value):
            projection, _, part = value.part.rpartition(".")
            ends = projection in ("", "output") and part in ("weight", "bias")
            if ends or (value.layer is None and node.op.name in ("matmul", "mul")):
                yield value


def cotangents(graph: Graph, sizes: Sizes, rng: np.random.Generator) -> Arrays:
    """A fixed random weight for each element of each float output."""
    return {
        name: rng.normal(
            0.0, 1.0, tuple(dim.evaluate(size, sizes) for size in value.type.shape)
        ).astype(np.float32)
        for name, value in graph.outputs.items()
        if value.type.floating
    }


def seeded(*numbers: int) -> np.random.Generator:
    """The generator of these numbers: seed, and what it is for."""
    return np.random.default_rng(numbers)
