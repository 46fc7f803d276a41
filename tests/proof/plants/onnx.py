"""Faults in emitted ONNX files: in the model, and in those with its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from tests.proof.plants.message import Message, attribute, set_attribute

Edit: TypeAlias = Callable[[Message], None]

LAST = np.iinfo(np.int64).max


def plant(data: bytes, edit: Edit) -> bytes | None:
    """The file with the fault in every place that it has; None if there is no such place."""
    message = Message(data)
    edit(message)
    made: bytes = message.model.SerializeToString()
    return made if message.count else None


def _attr(
    kinds: tuple[str, ...], name: str, change: Callable[[Any], Any], default: Any = None
) -> Edit:
    def edit(m: Message) -> None:
        for node in m.nodes(*kinds):
            old = attribute(node, name, default)
            if old is not None and (new := change(old)) != old:
                set_attribute(node, name, new)
                m.count += 1

    return edit


def _become(kind: str, other: str, **attrs: Any) -> Edit:
    """Nodes of a kind become others, of the same inputs."""

    def edit(m: Message) -> None:
        for node in m.nodes(kind):
            m.retype(node, other, list(node.input), **attrs)

    return edit


def _identity(*kinds: str) -> Edit:
    def edit(m: Message) -> None:
        for node in m.nodes(*kinds):
            if len(node.output) == 1:
                m.retype(node, "Identity", [node.input[0]])

    return edit


def _relu6(m: Message) -> None:
    for node in m.nodes("Relu"):
        low, high = m.constant(np.float32(0)), m.constant(np.float32(6))
        m.retype(node, "Clip", [node.input[0], low, high])


def _gated(m: Message, node: Any) -> bool:
    """Whether a sigmoid weighs its own input: it is part of a silu."""
    (x,), (y,) = node.input, node.output
    return any({x, y} == set(each.input) for each in m.nodes("Mul"))


def _hard_swish(m: Message) -> None:
    for node in m.nodes("Mul"):
        for x, y in (tuple(node.input), tuple(node.input)[::-1]):
            maker = m.makers.get(y)
            if maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == x:
                m.retype(node, "HardSwish", [x])
                break


def _hard_sigmoid(m: Message) -> None:
    for node in m.nodes("Sigmoid"):
        if not _gated(m, node):
            m.retype(node, "HardSigmoid", [node.input[0]], alpha=1 / 6, beta=0.5)


def _masks(m: Message) -> list[tuple[Any, bool]]:
    """The nodes that close places of attention, and whether by their order."""
    found = []
    for node in m.nodes("Where"):
        closes = not m.made(node.input[2]) and m.made(node.input[1])
        near = m.makers.get(node.input[1])
        scores = near is not None and near.op_type in ("MatMul", "Softmax", "Add", "Mul")
        if closes and scores:
            maker = m.makers.get(node.input[0])
            found.append((node, maker is not None and maker.op_type == "LessOrEqual"))
    return found


def _unmasked(causal: bool) -> Edit:
    def edit(m: Message) -> None:
        for node, ordered in _masks(m):
            if ordered is causal:
                m.retype(node, "Identity", [node.input[1]])

    return edit


def _inverted(m: Message) -> None:
    for node, ordered in _masks(m):
        if not ordered:
            m.give(node, 0, "Not", [])


def _scale(m: Message) -> None:
    for node in m.nodes("Softmax"):
        m.give(node, 0, "Mul", [m.constant(np.float32(1.01))])


def _positions(m: Message) -> None:
    for node in m.nodes("Slice"):
        if node.input[0] in m.initial and len(node.input) == 4:
            one = m.constant(np.ones(1, np.int64))
            m.give(node, 1, "Add", [one])
            m.give(node, 2, "Add", [one])


def _index(m: Message) -> None:
    kinds = {6: np.int32, 7: np.int64}
    for node in m.nodes("Gather"):
        given = m.types.get(node.input[1])
        if node.input[0] in m.initial and given is not None and given.elem_type in kinds:
            kind = kinds[given.elem_type]
            m.give(node, 1, "Sub", [m.constant(kind(1))])
            m.give(node, 1, "Max", [m.constant(kind(0))])


def _moved(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    return [0] * half + [a + b for a, b in zip(pads[:half], pads[half:], strict=True)]


def _zeros(m: Message) -> None:
    for node in m.nodes("MaxPool"):
        pads = attribute(node, "pads") or []
        if any(pads) and len(node.output) == 1:
            half = len(pads) // 2
            around = [0, 0, *pads[:half], 0, 0, *pads[half:]]
            m.give(node, 0, "Pad", [m.constant(np.array(around, np.int64))])
            set_attribute(node, "pads", [0] * len(pads))


def _counted(m: Message) -> None:
    for node in m.nodes("AveragePool"):
        if any(attribute(node, "pads") or []):
            set_attribute(node, "count_include_pad", 1 - attribute(node, "count_include_pad", 0))
            m.count += 1


def _average(m: Message) -> None:
    for node in m.nodes("MaxPool"):
        if len(node.output) == 1:
            names = ("kernel_shape", "strides", "pads")
            attrs = {name: attribute(node, name) for name in names if attribute(node, name)}
            m.retype(node, "AveragePool", list(node.input), **attrs)


def _resize(m: Message) -> None:
    for node in m.nodes("Resize"):
        other = "linear" if attribute(node, "mode", b"nearest") == b"nearest" else "nearest"
        set_attribute(node, "mode", other)
        m.count += 1


def _sums(m: Message) -> list[Any]:
    """Sums of two computed values of floats and of one shape."""
    return [
        node for node in m.nodes("Add")
        if all(m.made(x) and m.floating(x) for x in node.input) and m.alike(*node.input)
    ]  # fmt: skip


def _residual(m: Message) -> None:
    for node in _sums(m):
        m.retype(node, "Identity", [node.input[1]])


def _exchanged(m: Message) -> None:
    for node in m.nodes("Sub", "Div"):
        if all(map(m.floating, node.input)):
            m.retype(node, node.op_type, list(node.input)[::-1])


def _backwards(m: Message) -> None:
    for node in m.nodes("Concat"):
        if all(map(m.floating, node.input)):
            m.retype(node, "Concat", list(node.input)[::-1], axis=attribute(node, "axis"))


def _second(m: Message) -> None:
    for node in m.nodes("MatMul"):
        shape = m.shape(node.input[1]) or ()
        weight = m.makers.get(node.input[1])
        weighs = weight is not None and weight.op_type == "Transpose"
        if len(shape) > 1 and shape[-1] == shape[-2] and not weighs:
            rank = len(shape)
            m.give(node, 1, "Transpose", [], perm=[*range(rank - 2), rank - 1, rank - 2])


def _flatten(m: Message) -> None:
    for node in m.nodes("Flatten"):
        rank = len(m.shape(node.input[0]) or ())
        if rank > 2 and attribute(node, "axis", 1) == 1:
            m.give(node, 0, "Transpose", [], perm=[0, *range(2, rank), 1])


def _part(m: Message, place: int, name: str, start: int, end: int, step: int = 1) -> str:
    bounds = [m.constant(np.array([v], np.int64)) for v in (start, end, 0, step)]
    return m.insert(place, "Slice", [name, *bounds])


def _batch(m: Message) -> None:
    for name in m.outputs():
        m.behind(name, lambda place, y: _part(m, place, y, -1, -LAST, -1))


def _last_example(m: Message) -> None:
    def make(place: int, y: str) -> str:
        parts = [_part(m, place, y, 0, -1), _part(m, place, y, -2, -1)]
        return m.insert(place + 2, "Concat", parts, axis=0)

    for name in m.outputs():
        m.behind(name, make)


def _rounded(kind: int) -> Edit:
    def edit(m: Message) -> None:
        for node in m.nodes("MatMul", "Gemm", "Conv"):
            m.behind(
                node.output[0],
                lambda place, y: m.insert(
                    place + 1, "Cast", [m.insert(place, "Cast", [y], to=kind)], to=1
                ),
            )

    return edit


def _softmax_axis(m: Message) -> None:
    for node in m.nodes("Softmax"):
        axis = attribute(node, "axis", -1)
        set_attribute(node, "axis", axis - 1 if axis else 1)
        m.count += 1


def _gain(m: Message) -> None:
    for node in m.nodes("LayerNormalization", "BatchNormalization", "GroupNormalization"):
        x, gain, bias, *more = node.input
        node.input[:] = [x, bias, gain, *more]
        m.count += 1


def _no_bias(m: Message) -> None:
    for node in m.nodes("Gemm", "Conv"):
        if len(node.input) == 3:
            del node.input[2]
            m.count += 1


def _by(factor: float, end: str = "") -> Edit:
    """Gradients by what has such a name, multiplied."""

    def edit(m: Message) -> None:
        for name in m.gradients(end):
            number = m.constant(np.float32(factor))
            m.behind(name, lambda place, y, n=number: m.insert(place, "Mul", [y, n]))  # type: ignore[misc]

    return edit


def _moves(factor: float) -> Edit:
    """New buffers that are so many times as far from the old ones."""

    def edit(m: Message) -> None:
        for name, old in m.updates("running_"):
            number = m.constant(np.float32(factor))

            def make(place: int, y: str, old: str = old, number: str = number) -> str:
                way = m.insert(place, "Sub", [y, old])
                far = m.insert(place + 1, "Mul", [way, number])
                return m.insert(place + 2, "Add", [old, far])

            m.behind(name, make)

    return edit


ONNX: Mapping[str, Edit] = {
    "the other GELU": _attr(("Gelu",), "approximate", lambda v: "tanh" if v == b"none" else "none",
                            b"none"),
    "slope of leaky relu": _attr(("LeakyRelu",), "alpha", lambda v: 0.2),
    "relu6 for relu": _relu6,
    "hard swish for silu": _hard_swish,
    "hard sigmoid for sigmoid": _hard_sigmoid,
    "activation left out": _identity("Relu", "Gelu", "Sigmoid", "Tanh", "LeakyRelu"),
    "causal mask dropped": _unmasked(True),
    "mask dropped": _unmasked(False),
    "mask inverted": _inverted,
    "scale of attention 1 % off": _scale,
    "softmax over another axis": _softmax_axis,
    "positions one further on": _positions,
    "indices that count from one": _index,
    "padding on the other side": _attr(("Conv", "MaxPool", "AveragePool"), "pads", _moved),
    "max pool padded with zeros": _zeros,
    "average pool and its padding": _counted,
    "average for max pool": _average,
    "nearest and linear resize": _resize,
    "corners of resize aligned": _attr(("Resize",), "coordinate_transformation_mode",
                                       lambda v: "align_corners"),
    "layer left out": _identity("LayerNormalization", "BatchNormalization", "GroupNormalization"),
    "residual left out": _residual,
    "operands exchanged": _exchanged,
    "concatenated backwards": _backwards,
    "second operand transposed": _second,
    "flattened channels last": _flatten,
    "batch in another order": _batch,
    "last example of a batch": _last_example,
    "sum for mean": lambda m: [
        m.retype(node, "ReduceSum", list(node.input), keepdims=attribute(node, "keepdims", 1))
        for node in m.nodes("ReduceMean")
    ] and None,
    "products in bf16": _rounded(16),
    "products in f16": _rounded(10),
    "eps of layer norm": _attr(("LayerNormalization",), "epsilon", lambda v: 1.2 * v),
    "eps of batch norm": _attr(("BatchNormalization",), "epsilon", lambda v: 1.2 * v),
    "eps of group norm": _attr(("GroupNormalization", "InstanceNormalization"), "epsilon",
                               lambda v: 1.2 * v),
    "gain and bias exchanged": _gain,
    "groups of group norm": _attr(("GroupNormalization",), "num_groups",
                                  lambda v: 1 if v > 1 else 2),
    "bias dropped": _no_bias,
    "momentum 10 % off": _moves(1.1),
    "running statistics not updated": _moves(0.0),
    "gradient by a weight missing": _by(0.0, ".weight"),
    "gradient by a bias missing": _by(0.0, ".bias"),
    "gradient by a bias doubled": _by(2.0, ".bias"),
    "gradient 0.1 % too large": _by(1.001),
}  # fmt: skip
"""Fault -> the edit of the message."""


# -------------------------------------------------------------------------------------- weights


def _weights(m: Message) -> list[tuple[str, tuple[int, ...]]]:
    """What the file holds of the model's weights, and of which sizes."""
    return [(name, tuple(tensor.dims)) for name, tensor in m.initial.items() if m.floating(name)]


def _each(make: Callable[[Message, int, str, tuple[int, ...]], str | None]) -> Edit:
    """Weights that go through what `make` inserts, where it has a place."""

    def edit(m: Message) -> None:
        for name, shape in _weights(m):
            before = len(m.graph.node)
            probe: list[str | None] = []

            def put(
                place: int, given: str, shape: tuple[int, ...] = shape, probe: Any = probe
            ) -> str:
                made = make(m, place, given, shape)
                probe.append(made)
                return made or given

            m.behind(name, put)
            m.count -= probe == [None] and len(m.graph.node) == before

    return edit


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def _transposed(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    square = len(shape) == 2 and shape[0] == shape[1] > 1
    return m.insert(place, "Transpose", [name], perm=[1, 0]) if square else None


def _reshaped(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    if len(shape) != 2 or shape[0] == shape[1] or 1 in shape:
        return None
    turned = m.insert(place, "Transpose", [name], perm=[1, 0])
    return m.insert(place + 1, "Reshape", [turned, m.constant(np.array(shape, np.int64))])


def _backward(m: Message, place: int, name: str, axes: tuple[int, ...]) -> str:
    bounds = ([-1] * len(axes), [-LAST] * len(axes), list(axes), [-1] * len(axes))
    return m.insert(place, "Slice", [name, *(m.constant(np.array(b, np.int64)) for b in bounds)])


def _flipped(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    kernel = len(shape) == 4 and max(shape[2:]) > 1
    return _backward(m, place, name, (2, 3)) if kernel else None


def _channels(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    return _backward(m, place, name, (1,)) if len(shape) == 4 and shape[1] > 1 else None


def _turned(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    square = len(shape) == 4 and shape[2] == shape[3] > 1
    return m.insert(place, "Transpose", [name], perm=[0, 1, 3, 2]) if square else None


def _times(factor: float, end: str, plus: float = 0.0) -> Edit:
    """Weights whose names end so, multiplied."""

    def make(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
        if not name.endswith(end):
            return None
        made = m.insert(place, "Mul", [name, m.constant(np.float32(factor))])
        return m.insert(place + 1, "Add", [made, m.constant(np.float32(plus))]) if plus else made

    return _each(make)


def _rows(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    if not shape or shape[0] < 2 or _is_statistic(name):
        return None
    order = np.array([1, 0, *range(2, shape[0])], np.int64)
    return m.insert(place, "Gather", [name, m.constant(order)], axis=0)


def _gates(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
    if "lstm" not in name or shape[0] % 4:
        return None
    order = np.arange(shape[0], dtype=np.int64).reshape(4, -1)[[1, 0, 2, 3]].reshape(-1)
    return m.insert(place, "Gather", [name, m.constant(order)], axis=0)


def _element(at: Callable[[int], int], factor: float) -> Edit:
    """One element of the largest weight, multiplied."""

    def edit(m: Message) -> None:
        name, shape = max(_weights(m), key=lambda each: int(np.prod(each[1])))
        by = np.ones(shape, np.float32)
        by.reshape(-1)[at(by.size)] = factor
        m.behind(name, lambda place, given: m.insert(place, "Mul", [given, m.constant(by)]))

    return edit


def _short(kind: int) -> Edit:
    def make(m: Message, place: int, name: str, shape: tuple[int, ...]) -> str | None:
        if _is_statistic(name):
            return None
        return m.insert(place + 1, "Cast", [m.insert(place, "Cast", [name], to=kind)], to=1)

    return _each(make)


def _another(m: Message) -> None:
    kinds: dict[Any, list[str]] = {}
    for name, shape in _weights(m):
        if not _is_statistic(name):
            kinds.setdefault((name.rpartition(".")[2], shape), []).append(name)
    for names in kinds.values():
        for i, name in enumerate(names) if len(names) > 1 else ():
            m.behind(name, lambda place, _, n=names[i - 1]: m.insert(place, "Identity", [n]))  # type: ignore[misc]


WEIGHTS: Mapping[str, Edit] = {
    "square weight transposed": _each(_transposed),
    "matrix reshaped, not transposed": _each(_reshaped),
    "kernel flipped": _each(_flipped),
    "axes of a kernel exchanged": _each(_turned),
    "input channels reversed": _each(_channels),
    "bias left at zero": _times(0.0, "bias"),
    "bias added twice": _times(2.0, "bias"),
    "two rows exchanged": _each(_rows),
    "gates in another order": _each(_gates),
    "one element 10 % off": _element(lambda n: n // 2, 1.1),
    "last element left at zero": _element(lambda n: n - 1, 0.0),
    "weights in f16": _short(10),
    "weights in bf16": _short(16),
    "running mean not loaded": _times(0.0, "running_mean"),
    "running variance not loaded": _times(0.0, "running_var", 1.0),
    "weight of another layer": _another,
}
"""Faults of what the file holds."""
