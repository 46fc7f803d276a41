"""Faults of normalisations: their eps, their statistics, and what training makes of those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ...compiler.graph import Node, Value, Weight
from ...compiler.op import Build
from ...compiler.ops import OPS
from .fault import Edit, Fault, Sizes, graph_of, is_op, number, set_attrs, swap_inputs

Statistics: TypeAlias = "Callable[[Build, Value, Value, Value], tuple[Value, Value]]"
"""(b, x, mean, variance) -> the centred x, and what it is multiplied by."""


def _eps(*ops: str) -> Edit:
    def edit(node: Node, sizes: Sizes) -> bool:
        return is_op(node, *ops) and set_attrs(node, eps=1.2 * node.attrs["eps"])

    return edit


def _trains(node: Node) -> bool:
    return is_op(node, "batch_norm") and node.attrs["training"] is True


def _momentum(change: Callable[[float], float]) -> Edit:
    def edit(node: Node, sizes: Sizes) -> bool:
        new = change(node.attrs["momentum"]) if _trains(node) else None
        return new is not None and set_attrs(node, momentum=new)

    return edit


def _frozen(node: Node, sizes: Sizes) -> bool:
    return _trains(node) and set_attrs(node, training=False)


def _of_the_batch(node: Node, sizes: Sizes) -> bool:
    rests = is_op(node, "batch_norm") and node.attrs["training"] is False
    return rests and set_attrs(node, training=True)


def _updated(node: Node, make: Callable[[Build, Value, Weight], Value], outputs: int) -> bool:
    """Puts what `make` builds of a new buffer and the old in the place of the new one."""
    if not _trains(node):
        return False
    graph, done = graph_of(node), False
    for weight, (value, when) in tuple(graph.updates.items()):
        if value in node.outputs[1 : 1 + outputs]:
            b = Build.like(node, before=node.next)
            graph.updates[weight] = make(b, value, weight), when
            done = True
    return done


def _not_updated(node: Node, sizes: Sizes) -> bool:
    return _updated(node, lambda b, new, old: old, 2)


def _count(node: Node, sizes: Sizes, axes: Sequence[int]) -> int:
    """How many elements a statistic is over."""
    shape = node.values[0].type.shape
    return math.prod(number(shape[axis], sizes) for axis in axes)


def _biased(node: Node, sizes: Sizes) -> bool:
    """A running variance that takes in the biased variance of the batch, not the unbiased one."""
    if not _trains(node):
        return False
    rank = node.values[0].type.rank
    n = _count(node, sizes, (0, *range(2, rank)))
    kept, share = 1 - node.attrs["momentum"], (n - 1) / n

    def make(b: Build, new: Value, old: Weight) -> Value:
        if "var" not in old.part:
            return new
        rest = b(OPS["mul"], old, kept * (1 - share))
        result = b(OPS["add"], b(OPS["mul"], new, share), rest)
        assert isinstance(result, Value)
        return result

    return _updated(node, make, 2)


# ------------------------------------------------------------------ statistics, spelt out


def _axes(node: Node) -> tuple[int, ...]:
    """The axes that a normalisation is over; none where its statistics are given."""
    rank = node.values[0].type.rank if node.values else 0
    if is_op(node, "layer_norm"):
        axes: tuple[int, ...] = node.attrs["axes"]
        return axes if axes == tuple(range(rank - len(axes), rank)) else ()
    if _trains(node):
        return (0, *range(2, rank))
    return tuple(range(2, rank)) if is_op(node, "instance_norm") else ()


def _spelt(statistics: Callable[[Node, Sizes], Statistics]) -> Edit:
    """A normalisation that is written out, with other statistics."""

    def edit(node: Node, sizes: Sizes) -> bool:
        axes = _axes(node)
        if not axes or _count(node, sizes, axes) < 2:
            return False
        new = _written(node, axes, statistics(node, sizes))
        graph_of(node).replace(node.outputs[0], new)
        return True

    return edit


def _written(node: Node, axes: tuple[int, ...], statistics: Statistics) -> Value:
    b = Build.like(node)
    x, gain, bias = node.inputs[:3]
    assert x is not None
    mean = b(OPS["mean"], x, axes=axes, keep=True)
    variance = b(OPS["mean"], b(OPS["square"], b(OPS["sub"], x, mean)), axes=axes, keep=True)
    y = b(OPS["mul"], *statistics(b, x, mean, variance))
    for op, weight in (("mul", gain), ("add", bias)):
        if weight is not None:
            if x.type.rank > 2 and not is_op(node, "layer_norm"):
                weight = b(OPS["unsqueeze"], weight, axes=tuple(range(1, x.type.rank - 1)))
            y = b(OPS[op], y, weight)
    assert isinstance(y, Value)
    return y


def _outside(node: Node, sizes: Sizes) -> Statistics:
    eps = node.attrs["eps"]

    def made(b: Build, x: Value, mean: Value, variance: Value) -> tuple[Value, Value]:
        root = b(OPS["add"], b(OPS["sqrt"], variance), eps)
        return b(OPS["sub"], x, mean), b(OPS["reciprocal"], root)

    return made


def _unbiased(node: Node, sizes: Sizes) -> Statistics:
    eps, n = node.attrs["eps"], _count(node, sizes, _axes(node))

    def made(b: Build, x: Value, mean: Value, variance: Value) -> tuple[Value, Value]:
        wider = b(OPS["add"], b(OPS["mul"], variance, n / (n - 1)), eps)
        return b(OPS["sub"], x, mean), b(OPS["rsqrt"], wider)

    return made


def _constant(node: Node, sizes: Sizes) -> Statistics:
    eps = node.attrs["eps"]

    def made(b: Build, x: Value, mean: Value, variance: Value) -> tuple[Value, Value]:
        factor = b(OPS["rsqrt"], b(OPS["add"], variance, eps))
        hold = OPS["stop_gradient"]
        return b(OPS["sub"], x, b(hold, mean)), b(hold, factor)

    return made


def _not_centred(node: Node, sizes: Sizes) -> Statistics:
    eps = node.attrs["eps"]

    def made(b: Build, x: Value, mean: Value, variance: Value) -> tuple[Value, Value]:
        return x, b(OPS["rsqrt"], b(OPS["add"], variance, eps))

    return made


_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


def _gain_and_bias(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, *_NORMS) or None in node.inputs[1:3]:
        return False
    return swap_inputs(node, {1: node.inputs[2], 2: node.inputs[1]})


def _groups(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "group_norm"):
        return False
    groups = node.attrs["groups"]
    return any(set_attrs(node, groups=n) for n in (2 * groups, groups // 2) if n)


NORMS: tuple[Fault, ...] = (
    Fault("eps of layer norm", "convention", _eps("layer_norm")),
    Fault("eps of batch norm", "convention", _eps("batch_norm")),
    Fault("eps of group norm", "convention", _eps("group_norm", "instance_norm")),
    Fault("eps of rms norm", "convention", _eps("rms_norm")),
    Fault("eps outside of the root", "convention", _spelt(_outside)),
    Fault("normalised with n - 1", "convention", _spelt(_unbiased)),
    Fault("normalised without the mean", "convention", _spelt(_not_centred)),
    Fault("statistics held constant", "gradient", _spelt(_constant)),
    Fault("gain and bias exchanged", "weights", _gain_and_bias),
    Fault("groups of group norm", "convention", _groups),
    Fault("momentum 10 % off", "training mode", _momentum(lambda m: 1.1 * m)),
    Fault("momentum the other way", "training mode", _momentum(lambda m: 1 - m)),
    Fault("statistics frozen", "training mode", _frozen),
    Fault("statistics of the batch in inference", "training mode", _of_the_batch),
    Fault("running statistics not updated", "training mode", _not_updated),
    Fault("running variance biased", "training mode", _biased),
)
"""Faults of normalisations."""
