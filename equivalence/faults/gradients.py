"""Faults of gradients alone: every output is right."""

from __future__ import annotations

from ...compiler.graph import Node, Value, Weight
from ...compiler.op import Build
from ...compiler.ops import OPS
from .fault import Edit, Fault, Make, Sizes, behind, instead, is_op, set_input
from .operators import is_residual


def _hold(b: Build, value: Value) -> Value:
    result = b(OPS["stop_gradient"], value)
    assert isinstance(result, Value)
    return result


def _posing(b: Build, shown: Value, felt: Value) -> Value:
    """A value that is `shown`, and whose gradient is that of `felt`."""
    result = b(OPS["add"], felt, _hold(b, b(OPS["sub"], shown, felt)))
    assert isinstance(result, Value)
    return result


def _shared(node: Node, sizes: Sizes) -> bool:
    """One use of a weight that has several."""
    for slot, value in enumerate(node.inputs):
        if isinstance(value, Weight) and value.trainable and len(value.uses) > 1:
            return set_input(node, slot, _hold)
    return False


def _residual(node: Node, sizes: Sizes) -> bool:
    return is_residual(node) and set_input(node, 0, _hold)


def _part(name: str) -> Edit:
    """The gradient by a weight of a layer is missing."""

    def edit(node: Node, sizes: Sizes) -> bool:
        for slot, value in enumerate(node.inputs):
            if not isinstance(value, Weight) or not value.trainable or value.layer is None:
                continue
            if value.part.rpartition(".")[2] == name:
                return set_input(node, slot, _hold)
        return False

    return edit


def _scaled(by: float) -> Make:
    def make(b: Build, y: Value) -> Value:
        return _posing(b, y, b(OPS["mul"], y, by))

    return make


def _doubled(node: Node, sizes: Sizes) -> bool:
    """As where one bias stands for two that are each trained."""
    for slot, value in enumerate(node.inputs):
        if isinstance(value, Weight) and value.trainable and value.part.endswith("bias"):
            return set_input(node, slot, _scaled(2.0))
    return False


def _slightly(node: Node, sizes: Sizes) -> bool:
    """The gradient through a layer, 0.1 % too large."""
    if node.layer is None or not node.outputs[0].type.floating:
        return False
    return behind(node, _scaled(1.001))


def _straight(node: Node, sizes: Sizes) -> bool:
    """A gradient that does not see the kink."""
    if not is_op(node, "relu", "relu6", "leaky_relu"):
        return False
    op, attrs = node.op, dict(node.attrs)
    return instead(node, lambda b, x: _posing(b, b(op, x, **attrs), x))


def _mean(node: Node, sizes: Sizes) -> bool:
    if not is_op(node, "mean"):
        return False
    attrs = dict(node.attrs)
    return instead(
        node, lambda b, x: _posing(b, b(OPS["mean"], x, **attrs), b(OPS["sum"], x, **attrs))
    )


def _softmax(node: Node, sizes: Sizes) -> bool:
    """The normaliser of a softmax as if it were constant."""
    if not is_op(node, "softmax"):
        return False
    op, attrs = node.op, dict(node.attrs)

    def make(b: Build, x: Value) -> Value:
        y = b(op, x, **attrs)
        result = b(OPS["mul"], _hold(b, y), b(OPS["exp"], b(OPS["sub"], x, _hold(b, x))))
        assert isinstance(result, Value)
        return result

    return instead(node, make)


def _gelu(node: Node, sizes: Sizes) -> bool:
    """The gradient of the tanh form, the value of the exact one."""
    if not is_op(node, "gelu") or node.attrs["approximate"] != "none":
        return False
    op = node.op

    def make(b: Build, x: Value) -> Value:
        return _posing(b, b(op, x), b(op, x, approximate="tanh"))

    return instead(node, make)


GRADIENTS: tuple[Fault, ...] = (
    Fault("gradient of a shared weight cut", "gradient", _shared),
    Fault("gradient of a residual cut", "gradient", _residual),
    Fault("gradient by a weight missing", "gradient", _part("weight")),
    Fault("gradient by a bias missing", "gradient", _part("bias")),
    Fault("gradient by a bias doubled", "gradient", _doubled),
    Fault("gradient 0.1 % too large", "gradient", _slightly),
    Fault("gradient past a kink", "gradient", _straight),
    Fault("gradient of a sum for a mean", "gradient", _mean),
    Fault("gradient of softmax without its sum", "gradient", _softmax),
    Fault("gradient of the other GELU", "gradient", _gelu),
)
"""Faults that only gradients show."""
