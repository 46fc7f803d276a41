"""Which nodes PyTorch has as they are; the rest is written out in smaller ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...compiler.graph import Node, Weight
from ...compiler.ops.constant import CONSTANT
from ...compiler.ops.elementwise import STOP_GRADIENT
from ...compiler.ops.index import forwards
from ...compiler.ops.window import Window
from ..source.masks import is_masked
from .images import FITS
from .layers import LAYERS
from .rotary import fits as turns
from .rules import RULES


def native(node: Node) -> bool:
    """Whether PyTorch has exactly this op, with these attributes and on tensors of these types."""
    if node.attrs.get("training") is not None:
        return False  # a module follows the mode of its model
    if node.blocks:
        return True
    name = node.op.name
    made = node.layer is not None and (name in LAYERS or name == "attention")
    fits = _FITS.get(name)
    return (made or name in RULES) and (fits is None or fits(node))


def _trailing(node: Node) -> bool:
    """Norms share a weight over the last axes."""
    axes, rank = node.attrs["axes"], _rank(node)
    return tuple(axes) == tuple(range(rank - len(axes), rank)) and _known(node, *axes)


def _channels(node: Node) -> bool:
    return _known(node, 1)


def _known(node: Node, *axes: int) -> bool:
    """Whether a constructor can be told these sizes of the first input."""
    x = node.inputs[0]
    assert x is not None
    return all(isinstance(x.type.shape[axis], int) for axis in axes)


def _rank(node: Node) -> int:
    x = node.inputs[0]
    assert x is not None
    return x.type.rank


def _symmetric(node: Node) -> bool:
    """Pools pad both ends alike: what is added before them counts as part of the image."""
    x = node.inputs[0]
    assert x is not None
    names = {key: node.attrs[key] for key in ("kernel", "stride", "pad", "dilation", "ceil")
             if key in node.attrs}  # fmt: skip
    window = Window.of(x.type.shape[2:], **names)
    return all(low == high for low, high in window.pads)


def _max_pool(node: Node) -> bool:
    return not node.attrs["ceil"] or _symmetric(node)


def _avg_pool(node: Node) -> bool:
    counted = node.attrs["count_pad"] and not node.attrs["ceil"]
    return bool(counted) or _symmetric(node)


def _windows(node: Node) -> bool:
    return not node.attrs["ceil"] and _each(node.attrs["dilation"], 1)


def _each(value: Any, wanted: int) -> bool:
    return all(v == wanted for v in (value if isinstance(value, tuple) else (value,)))


def _sdpa(node: Node) -> bool:
    """Its tensors have all axes but the last two in common, and its mask or bias at least two."""
    q, k, v, mask, bias = (None if value is None else value.type for value in node.inputs)
    assert q is not None
    assert k is not None
    assert v is not None
    until = -3 if node.attrs["grouped"] else -2
    alike = q.shape[:until] == k.shape[:until] == v.shape[:until]
    return alike and all(given is None or given.rank >= 2 for given in (mask, bias))


def _attention(node: Node) -> bool:
    """The file's own class has as many heads of keys and values as of queries."""
    return node.attrs["kv_heads"] is None


def _dropout(node: Node) -> bool:
    return node.inputs[1] is None or is_masked(node)


def _prelu(node: Node) -> bool:
    """PyTorch's has a slope for axis 1, and none for a number."""
    return _rank(node) > (1 if node.attrs["per_channel"] else 0)


def _kl_div(node: Node) -> bool:
    """PyTorch's has no gradient for a target of 0."""
    target = node.inputs[1]
    assert target is not None
    return target.node is not None and target.node.op is STOP_GRADIENT


def _lp_norm(node: Node) -> bool:
    """PyTorch's powers overflow."""
    return bool(node.attrs["power"] <= 4)


def _classes(node: Node) -> bool:
    """PyTorch's has no derivative by the weights of classes."""
    weight = node.inputs[2]
    if weight is None or (isinstance(weight, Weight) and not weight.trainable):
        return True
    return weight.node is not None and weight.node.op in (STOP_GRADIENT, CONSTANT)


def _reducible(node: Node) -> bool:
    return _rank(node) > 0


_FITS: Mapping[str, Callable[[Node], bool]] = {
    "layer_norm": _trailing, "rms_norm": _trailing, "max_pool": _max_pool,
    "avg_pool": _avg_pool, "windows": _windows, "sdpa": _sdpa, "attention": _attention,
    "dropout": _dropout, "channel_dropout": _dropout, "drop_path": _dropout,
    "prelu": _prelu, "slice": forwards, "lp_norm": _lp_norm, "cross_entropy": _classes,
    "logsumexp": _reducible, "kl_div": _kl_div, "rotary": turns,
    "group_norm": _channels, "instance_norm": _channels, **FITS,
}  # fmt: skip
"""Where having the name is not enough."""
