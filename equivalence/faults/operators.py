"""Faults of operators: an attribute, a convention or an operand that a framework has otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...compiler.graph import Node, Value, Weight
from ...compiler.op import Build
from ...compiler.ops import OPS
from ...compiler.ops.window import Window
from .fault import (
    Edit,
    Fault,
    Sizes,
    behind,
    graph_of,
    instead,
    is_op,
    number,
    set_attrs,
    set_input,
    set_op,
    swap_inputs,
)


def _attr(op: str, key: str, change: Callable[[Any], Any]) -> Edit:
    """The attribute of an op, changed; None leaves it as it is."""

    def edit(node: Node, sizes: Sizes) -> bool:
        if not is_op(node, op):
            return False
        new = change(node.attrs[key])
        return new is not None and set_attrs(node, **{key: new})

    return edit


def _other(op: str, name: str, **attrs: Any) -> Edit:
    """Another op of one tensor."""
    return lambda node, sizes: is_op(node, op) and set_op(node, name, **attrs)


_MASKS = ("keep", "mask")
_ATTENTION = ("attention", "sdpa")


def _slots(node: Node, *names: str) -> list[int]:
    """The slots of inputs of these names that are given."""
    known = [name.rstrip("?") for name in (*node.op.inputs, *node.op.weights)]
    return [i for i, name in enumerate(known) if name in names and node.inputs[i] is not None]


def _mask_dropped(node: Node, sizes: Sizes) -> bool:
    slots = _slots(node, *_MASKS) if is_op(node, *_ATTENTION) else []
    return bool(slots) and swap_inputs(node, dict.fromkeys(slots))


def _mask_inverted(node: Node, sizes: Sizes) -> bool:
    slots = _slots(node, *_MASKS) if is_op(node, *_ATTENTION) else []
    done = [set_input(node, i, lambda b, v: b(OPS["logical_not"], v)) for i in slots]
    return any(done)


def _causal(node: Node, sizes: Sizes) -> bool:
    return is_op(node, *_ATTENTION) and node.attrs["causal"] and set_attrs(node, causal=False)


def _not_causal(node: Node, sizes: Sizes) -> bool:
    plain = is_op(node, *_ATTENTION) and not node.attrs["causal"]
    return plain and set_attrs(node, causal=True)


def _scale(node: Node, sizes: Sizes) -> bool:
    """The queries are scaled; in a projected attention by the weights that make them."""
    if is_op(node, "sdpa"):
        return set_input(node, 0, lambda b, v: b(OPS["mul"], v, 1.01))
    names = ("query.weight", "query.bias")
    slots = _slots(node, *names) if is_op(node, "attention") else []
    return any([set_input(node, i, lambda b, v: b(OPS["mul"], v, 1.01)) for i in slots])


def _heads(node: Node, sizes: Sizes) -> bool:
    """Half as many heads, or twice as many, or all in one."""
    if not is_op(node, "attention") or node.attrs["kv_heads"] is not None:
        return False
    heads = node.attrs["heads"]
    return any(set_attrs(node, heads=n) for n in (2 * heads, heads // 2, 1) if n and n != heads)


def _keys_for_queries(node: Node, sizes: Sizes) -> bool:
    if is_op(node, "sdpa"):
        return swap_inputs(node, {0: node.inputs[1], 1: node.inputs[0]})
    if not is_op(node, "attention"):
        return False
    a, b = ([_slots(node, f"{name}.{p}") for p in ("weight", "bias")] for name in ("query", "key"))
    pairs = [(*x, *y) for x, y in zip(a, b, strict=True) if x and y]
    changes = {i: node.inputs[j] for x, y in pairs for i, j in ((x, y), (y, x))}
    return swap_inputs(node, changes)


def _positions(node: Node, sizes: Sizes) -> bool:
    """A slice of a table of positions, from one further on."""
    if not is_op(node, "slice") or not isinstance(node.inputs[0], Weight):
        return False
    starts, ends = node.attrs["starts"], node.attrs["ends"]
    axes, shape = node.attrs["axes"], node.inputs[0].type.shape
    room = all(
        number(end, sizes) < number(shape[axis], sizes)
        for end, axis in zip(ends, axes, strict=True)
    )
    return room and set_attrs(
        node, starts=tuple(s + 1 for s in starts), ends=tuple(e + 1 for e in ends)
    )


def _index(node: Node, sizes: Sizes) -> bool:
    """Indices that count from one."""
    if not is_op(node, "embedding", "gather"):
        return False
    slot = 0 if is_op(node, "embedding") else 1
    return set_input(node, slot, lambda b, v: b(OPS["maximum"], b(OPS["sub"], v, 1), 0))


def _window(node: Node, sizes: Sizes) -> Window:
    """The window of a convolution or pool, at the sizes that are run."""
    x = node.values[0].type.shape[2:]
    names = ("kernel", "stride", "pad", "dilation", "ceil")
    attrs = {name: node.attrs[name] for name in names if name in node.attrs}
    return Window.of([number(size, sizes) for size in x], **attrs)


def _pads(node: Node, sizes: Sizes) -> list[tuple[int, int]]:
    return [(number(a, sizes), number(b, sizes)) for a, b in _window(node, sizes).pads]


def _pad_side(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "conv", "max_pool", "avg_pool"):
        return False
    pads = _pads(node, sizes)
    moved = tuple((0, a + b) if a == b else (b, a) for a, b in pads)
    return any(map(sum, pads)) and set_attrs(node, pad=moved)


def _padded_with_zeros(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "max_pool"):
        return False
    pads = _pads(node, sizes)
    around = ((0, 0), (0, 0), *pads)
    attrs = {**node.attrs, "pad": 0}
    if not any(map(sum, pads)):
        return False
    return instead(node, lambda b, x: b(OPS["max_pool"], b(OPS["pad"], x, pads=around), **attrs))


def _counts_padding(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "avg_pool") or not any(map(sum, _pads(node, sizes))):
        return False
    return set_attrs(node, count_pad=not node.attrs["count_pad"])


def _average(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "max_pool"):
        return False
    attrs = {name: node.attrs[name] for name in ("kernel", "stride", "pad", "ceil")}
    return instead(node, lambda b, x: b(OPS["avg_pool"], x, **attrs))


def _softmax_axis(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "softmax", "log_softmax"):
        return False
    rank, axis = node.values[0].type.rank, node.attrs["axis"]
    return rank > 1 and set_attrs(node, axis=axis - 1 if axis else 1)


def _resize(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "resize"):
        return False
    mode = "linear" if node.attrs["mode"] == "nearest" else "nearest"
    return set_attrs(node, mode=mode)


def _aligned(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "resize"):
        return False
    now = node.attrs["coordinates"]
    return set_attrs(node, coordinates="align_corners" if now != "align_corners" else "half_pixel")


_ACTIVATIONS = frozenset(
    ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus")
)


def _no_activation(node: Node, sizes: Sizes) -> bool:
    return is_op(node, *_ACTIVATIONS) and set_op(node, "identity")


def _no_layer(node: Node, sizes: Sizes) -> bool:
    """A layer that gives what it takes, and is left out."""
    same = node.layer is not None and node.op.effect != "random"
    return (
        same
        and node.values[0].type.shape == node.outputs[0].type.shape
        and set_op(node, "identity")
    )


def _exchanged(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "sub", "div"):
        return False
    return swap_inputs(node, {0: node.inputs[1], 1: node.inputs[0]})


def _backwards(node: Node, sizes: Sizes) -> bool:
    """What a concatenation joins, from the last to the first."""
    if not is_op(node, "concat", "stack"):
        return False
    return swap_inputs(node, dict(enumerate(reversed(node.inputs))))


def is_residual(node: Node) -> bool:
    """Whether two tensors of the result's size are added, both made by the model."""
    shape = node.outputs[0].type.shape
    operands = node.values if is_op(node, "add") else ()
    return len(operands) == 2 and all(
        value.type.shape == shape and value.node is not None for value in operands
    )


def _no_residual(node: Node, sizes: Sizes) -> bool:
    if not is_residual(node):
        return False
    graph_of(node).replace(node.output, node.values[1])
    return True


def _transposed(node: Node, sizes: Sizes) -> bool:
    """A matrix product with the transposed of its second operand."""
    right = node.inputs[1] if is_op(node, "matmul") else None
    if right is None or right.type.rank < 2 or right.type.shape[-1] != right.type.shape[-2]:
        return False
    order = (*range(right.type.rank - 2), right.type.rank - 1, right.type.rank - 2)
    return set_input(node, 1, lambda b, v: b(OPS["transpose"], v, axes=order))


def _flatten(node: Node, sizes: Sizes) -> bool:
    """Places before channels, as what is stored channels last is flattened."""
    if not is_op(node, "flatten"):
        return False
    x, start, end = node.values[0], node.attrs["start"], node.attrs["end"]
    if end <= start:
        return False
    order = (*range(start), *range(start + 1, end + 1), start, *range(end + 1, x.type.rank))
    attrs = dict(node.attrs)
    return instead(
        node, lambda b, x: b(OPS["flatten"], b(OPS["transpose"], x, axes=order), **attrs)
    )


def _last(node: Node) -> bool:
    """Whether the node gives an output of the model, of floats."""
    return node.outputs[:1] != () and any(
        value is node.outputs[0] and value.type.floating and value.type.rank
        for value in graph_of(node).outputs.values()
    )


def _batch(node: Node, sizes: Sizes) -> bool:
    """The examples of a batch come out in another order."""
    return _last(node) and behind(node, lambda b, y: b(OPS["flip"], y, axes=(0,)))


def _last_example(node: Node, sizes: Sizes) -> bool:
    """The last example of a batch is that before it: a loop that ends too early."""
    if not _last(node):
        return False
    count = node.outputs[0].type.shape[0]
    if number(count, sizes) < 2:
        return False

    def make(b: Build, y: Value) -> Value:
        kept = b(OPS["slice"], y, starts=(0,), ends=(count - 1,), axes=(0,))
        again = b(OPS["slice"], y, starts=(count - 2,), ends=(count - 1,), axes=(0,))
        result = b(OPS["concat"], kept, again, axis=0)
        assert isinstance(result, Value)
        return result

    return behind(node, make)


def _sum(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "mean"):
        return False
    attrs = dict(node.attrs)
    return instead(node, lambda b, x: b(OPS["sum"], x, **attrs))


def _other_axis(node: Node, sizes: Sizes) -> bool:
    """A reduction that leaves out the last of its axes but one element."""
    if not is_op(node, "mean", "sum", "max", "min") or not node.attrs["axes"]:
        return False
    axis = node.attrs["axes"][-1]
    size = node.values[0].type.shape[axis]
    if number(size, sizes) < 2:
        return False
    return set_short(node, axis, size)


def set_short(node: Node, axis: int, size: Any) -> bool:
    """Takes the last element on an axis from what a reduction gets."""
    value = node.values[0]
    b = Build.like(node)
    short = b(OPS["slice"], value, starts=(0,), ends=(size - 1,), axes=(axis,))
    return swap_inputs(node, {0: short})


def _correction(node: Node, sizes: Sizes) -> bool:
    return is_op(node, "var", "std") and set_attrs(node, correction=1 - node.attrs["correction"])


_PRODUCTS = ("matmul", "linear", "conv", "conv_transpose", "einsum", "sdpa", "attention")


def _rounded(dtype: str) -> Edit:
    """A product that a framework computes in a short dtype."""

    def edit(node: Node, sizes: Sizes) -> bool:
        if not is_op(node, *_PRODUCTS):
            return False
        kept = node.outputs[0].type.dtype
        cast = OPS["cast"]
        return behind(node, lambda b, y: b(cast, b(cast, y, dtype=dtype), dtype=kept))

    return edit


def _gelu(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "gelu"):
        return False
    return set_attrs(node, approximate="tanh" if node.attrs["approximate"] == "none" else "none")


def _slope(slope: float) -> float | None:
    return 0.2 if slope != 0.2 else 0.3


OPERATORS: tuple[Fault, ...] = (
    Fault("the other GELU", "convention", _gelu),
    Fault("slope of leaky relu", "convention", _attr("leaky_relu", "slope", _slope)),
    Fault("relu6 for relu", "convention", _other("relu", "relu6")),
    Fault("hard swish for silu", "convention", _other("silu", "hard_swish")),
    Fault("hard sigmoid for sigmoid", "convention", _other("sigmoid", "hard_sigmoid")),
    Fault("activation left out", "structure", _no_activation),
    Fault("causal mask dropped", "attention", _causal),
    Fault("causal where it is not", "attention", _not_causal),
    Fault("mask dropped", "attention", _mask_dropped),
    Fault("mask inverted", "attention", _mask_inverted),
    Fault("scale of attention 1 % off", "attention", _scale),
    Fault("number of heads", "attention", _heads),
    Fault("queries and keys exchanged", "attention", _keys_for_queries),
    Fault("softmax over another axis", "layout", _softmax_axis),
    Fault("positions one further on", "structure", _positions),
    Fault("indices that count from one", "structure", _index),
    Fault("padding on the other side", "convention", _pad_side),
    Fault("max pool padded with zeros", "convention", _padded_with_zeros),
    Fault("average pool and its padding", "convention", _counts_padding),
    Fault("average for max pool", "convention", _average),
    Fault("nearest and linear resize", "convention", _resize),
    Fault("corners of resize aligned", "convention", _aligned),
    Fault("layer left out", "structure", _no_layer),
    Fault("residual left out", "structure", _no_residual),
    Fault("operands exchanged", "structure", _exchanged),
    Fault("concatenated backwards", "layout", _backwards),
    Fault("second operand transposed", "layout", _transposed),
    Fault("flattened channels last", "layout", _flatten),
    Fault("batch in another order", "layout", _batch),
    Fault("last example of a batch", "single element", _last_example),
    Fault("sum for mean", "convention", _sum),
    Fault("last element of a reduction", "single element", _other_axis),
    Fault("variance with n - 1", "convention", _correction),
    Fault("products in bf16", "precision", _rounded("bf16")),
    Fault("products in f16", "precision", _rounded("f16")),
)
"""Faults at a node, whatever its weights."""
