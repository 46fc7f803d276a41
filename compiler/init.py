"""Starting values of weights: NumPy arrays for every initialiser of the language.

The distributions are PyTorch's; the numbers are not, since no two frameworks draw the same. Each
weight has a stream of its own, so that its values do not depend on the others.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
    return dict(Starts(graph.weights, seed))


class Starts(Mapping[str, "Array"]):
    """The same, each made when it is asked for: all together may be more than memory holds."""

    def __init__(self, weights: Mapping[str, Weight], seed: int = 0) -> None:
        for weight in weights.values():
            if weight.data is None:
                _known(weight)
        self.weights = weights
        self.seed = seed

    def __getitem__(self, path: str) -> Array:
        weight = self.weights[path]
        given: Array | None = weight.data
        return start(weight, self.seed) if given is None else np.asarray(given)

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def start(weight: Weight, seed: int = 0) -> Array:
    """The starting value of one weight, in its dtype; the same for the same path and seed.

    Random numbers are drawn as f32, whatever the dtype. Raises MlcError `limit` for a weight that
    memory does not hold.
    """
    shape = _known(weight)
    random = np.random.default_rng((seed, zlib.crc32(weight.path.encode())))
    try:
        values = _draw(weight.init.kind, weight.init.args, shape, random)
        result: Array = np.asarray(values).astype(numpy_dtype(weight.type.dtype), copy=False)
    except MemoryError:
        raise _too_large(weight) from None
    return result


def _too_large(weight: Weight) -> MlcError:
    text = f"{weight.path} is {weight.type}, and memory does not hold its starting values"
    return MlcError("limit", text, weight.span)


def _known(weight: Weight) -> tuple[int, ...]:
    """The shape of a weight that is drawn."""
    for size in weight.type.shape:
        if not isinstance(size, int):
            text = f"{weight.path} is {weight.type}, and the size {size} is not known"
            raise MlcError("shape", text, weight.span)
    shape = tuple(int(size) for size in weight.type.shape if isinstance(size, int))
    if math.prod(shape) > LARGEST:
        raise _too_large(weight)
    return shape


def _draw(kind: str, args: Sequence[float], shape: tuple[int, ...], random: Any) -> Any:
    if kind == "normal":
        values = np.asarray(random.standard_normal(shape, np.float32))
        values *= np.float32(args[0])
        return values
    if kind in CONSTANTS:
        return np.full(shape, args[0] if args else CONSTANTS[kind])
    low, high = _range(kind, args, shape)
    values = np.asarray(random.random(shape, np.float32))
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


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
