"""Faults of loaders: a weight that is laid out, rounded or read in another way.

Each change takes a weight and its array in the model's own layout, and gives the faulty array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler.graph import Node, Weight
from .fault import Fault, Sizes, graph_of, is_op, swap_inputs

_CONVOLUTIONS = ("conv", "conv_transpose")


def _is_matrix(weight: Weight) -> bool:
    return weight.trainable and weight.type.rank == 2


def _is_kernel(weight: Weight) -> bool:
    layer = weight.layer
    return layer is not None and layer.op.name in _CONVOLUTIONS and weight.part == "weight"


def _is_bias(weight: Weight) -> bool:
    return weight.part.rpartition(".")[2] == "bias"


def _transposed(weight: Weight, array: Any) -> Any:
    square = _is_matrix(weight) and array.shape[0] == array.shape[1] > 1
    return np.ascontiguousarray(array.T) if square else None


def _flipped(weight: Weight, array: Any) -> Any:
    if not _is_kernel(weight) or array[0, 0].size == 1:
        return None
    return np.flip(array, tuple(range(2, array.ndim))).copy()


def _turned(weight: Weight, array: Any) -> Any:
    square = _is_kernel(weight) and array.ndim == 4 and array.shape[2] == array.shape[3] > 1
    return array.swapaxes(2, 3).copy() if square else None


def _channels_reversed(weight: Weight, array: Any) -> Any:
    return array[:, ::-1].copy() if _is_kernel(weight) and array.shape[1] > 1 else None


def _reshaped(weight: Weight, array: Any) -> Any:
    """A matrix whose transposed was read row by row into its shape."""
    flat = _is_matrix(weight) and 1 not in array.shape and array.shape[0] != array.shape[1]
    return array.T.reshape(array.shape).copy() if flat else None


def _dropped(weight: Weight, array: Any) -> Any:
    return np.zeros_like(array) if _is_bias(weight) else None


def _doubled(weight: Weight, array: Any) -> Any:
    return 2 * array if _is_bias(weight) else None


def _rows_exchanged(weight: Weight, array: Any) -> Any:
    """Two neighbours on the first axis, as gates, classes or channels may be."""
    if not weight.trainable or array.ndim == 0 or array.shape[0] < 2:
        return None
    return np.concatenate([array[1:2], array[:1], array[2:]])


def _gates(weight: Weight, array: Any) -> Any:
    """The gates of a recurrent layer, the second before the first."""
    count = {"lstm": 4, "gru": 3}.get(weight.layer.op.name if weight.layer else "")
    if count is None or array.ndim == 0 or array.shape[0] % count:
        return None
    parts = np.split(array, count)
    return np.concatenate([parts[1], parts[0], *parts[2:]])


def _one_element(weight: Weight, array: Any) -> Any:
    """The element in the middle, 10 % off."""
    if not weight.trainable or array.dtype.kind != "f" or not array.size:
        return None
    new = array.copy()
    new.reshape(-1)[new.size // 2] *= array.dtype.type(1.1)
    return new


def _last_element(weight: Weight, array: Any) -> Any:
    """The last element, left at zero."""
    if not weight.trainable or array.dtype.kind != "f" or not array.size:
        return None
    new = array.copy()
    new.reshape(-1)[-1] = 0
    return new


def _short(dtype: str) -> Any:
    """Weights that were stored in a short dtype."""

    def change(weight: Weight, array: Any) -> Any:
        if not weight.trainable or array.dtype.kind != "f":
            return None
        import ml_dtypes

        kind = np.dtype(np.float16 if dtype == "f16" else ml_dtypes.bfloat16)
        return array.astype(kind).astype(array.dtype)

    return change


def _start(part: str, value: float) -> Any:
    """A buffer that was not loaded."""

    def change(weight: Weight, array: Any) -> Any:
        return np.full_like(array, value) if weight.part == part else None

    return change


def _of_another_layer(node: Node, sizes: Sizes) -> bool:
    """A weight that is read under the name of the next one of its type."""
    graph = graph_of(node)
    for slot, value in enumerate(node.inputs):
        if isinstance(value, Weight) and value.layer is not None:
            same = (
                other
                for other in graph.weights.values()
                if other.part == value.part and other.type.shape == value.type.shape
                and other.layer is not value.layer and other.layer is not None
                and other.layer.op is value.layer.op
            )  # fmt: skip
            other = next(same, None)
            if other is not None and swap_inputs(node, {slot: other}):
                return True
    return False


def _without_bias(node: Node, sizes: Sizes) -> bool:
    """A bias that a layer has and does not add."""
    if not is_op(node, "linear", "conv", "conv_transpose", "layer_norm"):
        return False
    return node.inputs[2] is not None and swap_inputs(node, {2: None})


WEIGHTS: tuple[Fault, ...] = (
    Fault("square weight transposed", "layout", change=_transposed),
    Fault("matrix reshaped, not transposed", "layout", change=_reshaped),
    Fault("kernel flipped", "layout", change=_flipped),
    Fault("axes of a kernel exchanged", "layout", change=_turned),
    Fault("input channels reversed", "layout", change=_channels_reversed),
    Fault("bias dropped", "structure", _without_bias),
    Fault("bias left at zero", "weights", change=_dropped),
    Fault("bias added twice", "structure", change=_doubled),
    Fault("two rows exchanged", "weights", change=_rows_exchanged),
    Fault("gates in another order", "weights", change=_gates),
    Fault("one element 10 % off", "single element", change=_one_element),
    Fault("last element left at zero", "single element", change=_last_element),
    Fault("weights in f16", "precision", change=_short("f16"), everywhere=True),
    Fault("weights in bf16", "precision", change=_short("bf16"), everywhere=True),
    Fault("running mean not loaded", "weights", change=_start("running_mean", 0.0)),
    Fault("running variance not loaded", "weights", change=_start("running_var", 1.0)),
    Fault("weight of another layer", "weights", _of_another_layer),
)
"""Faults of weights."""
