"""Starting values of weights: NumPy arrays for every initialiser of the language.

The distributions are PyTorch's; the numbers are not, since no two frameworks draw the same. Each
weight has a stream of its own, so that its values do not depend on the others.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .array import np
from .diagnose import MlcError
from .graph import Graph, Weight
from .ops.constant import numpy_dtype

if TYPE_CHECKING:
    from .tensor import Array


LARGEST = 2**32
"""How many numbers a weight may have that is drawn."""


def initialise(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """A starting value for each weight, by path: the weight's own `data` where it has any.

    Raises MlcError `shape` for a weight whose size is not known, `limit` for one that is too large.
    """
    return {
        path: start(weight, seed) if weight.data is None else np.asarray(weight.data)
        for path, weight in graph.weights.items()
    }


def start(weight: Weight, seed: int = 0) -> Array:
    """The starting value of one weight, in its dtype; the same for the same path and seed.

    Random numbers are drawn as f32, whatever the dtype. Raises MlcError `limit` for a weight that
    memory does not hold.
    """
    shape = _known(weight)
    random = np.random.default_rng((seed, zlib.crc32(weight.path.encode())))
    try:
        if math.prod(shape) > LARGEST:
            raise MemoryError
        values = _draw(weight.init.kind, weight.init.args, shape, random)
        result: Array = np.asarray(values).astype(numpy_dtype(weight.type.dtype), copy=False)
    except MemoryError:
        text = f"{weight.path} is {weight.type}, and memory does not hold its starting values"
        raise MlcError("limit", text, weight.span) from None
    return result


def _known(weight: Weight) -> tuple[int, ...]:
    for size in weight.type.shape:
        if not isinstance(size, int):
            text = f"{weight.path} is {weight.type}, and the size {size} is not known"
            raise MlcError("shape", text, weight.span)
    return tuple(int(size) for size in weight.type.shape if isinstance(size, int))


def _draw(kind: str, args: Sequence[float], shape: tuple[int, ...], random: Any) -> Any:
    if kind == "normal":
        return random.standard_normal(shape, np.float32) * np.float32(args[0])
    if kind in CONSTANTS:
        return np.full(shape, args[0] if args else CONSTANTS[kind])
    low, high = _range(kind, args, shape)
    return random.random(shape, np.float32) * np.float32(high - low) + np.float32(low)


CONSTANTS: Mapping[str, float] = {"zeros": 0.0, "ones": 1.0, "constant": 0.0}
"""The kinds that draw nothing, and the value of those that have no argument for it."""


def _range(kind: str, args: Sequence[float], shape: tuple[int, ...]) -> tuple[float, float]:
    """The ends of a uniform distribution."""
    fan_in, fan_out = fans(shape)
    match kind:
        case "uniform":
            return args[0], args[1]
        case "kaiming_uniform":
            bound = (args[0] if args else 1.0) * math.sqrt(3.0 / fan_in)
        case "fan_uniform":
            bound = 1.0 / math.sqrt(args[0] if args else fan_in)
        case "xavier_uniform":
            bound = math.sqrt(6.0 / (fan_in + fan_out))
        case _:
            raise ValueError(f"{kind} is no kind of initialiser")
    return -bound, bound


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs an output of a weight (out, in, *kernel) has, and the reverse.

    As in PyTorch, axis 1 counts as the inputs whatever the layer makes of it; a weight of one axis
    or none counts its elements.
    """
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel
