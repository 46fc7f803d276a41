"""A graph on NumPy: the reference that every target is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from . import dim
from .diagnose import MlcError
from .dim import Size
from .graph import Fact, Graph, Input, Node, Type, Value

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

Arrays: TypeAlias = "tuple[Array, ...]"
Perturb: TypeAlias = "Callable[[Node, tuple[Array | None, ...], Arrays], Sequence[Array]]"
Tap: TypeAlias = "Callable[[Node, Arrays], None]"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave: outputs by name, new buffers by weight path, sizes by symbol."""

    outputs: dict[str, Array]
    updates: dict[str, Array]
    sizes: dict[str, int]


def run(
    graph: Graph,
    inputs: Mapping[str, Any],
    weights: Mapping[str, Any],
    *,
    dtype: str = "f64",
    perturb: Perturb | None = None,
    tap: Tap | None = None,
) -> Result:
    """The outputs and updates of `graph` for these arrays.

    Every f32 tensor is held in `dtype`; other dtypes stay. `inputs` go by name (one with a default
    may be left out), `weights` by path. `perturb` replaces a node's results, given what went in;
    `tap` only sees them; of nodes in blocks, each time that they run, only `perturb` is told.
    Raises MlcError "feed" for arrays that do not fit the graph.
    """
    import numpy as np

    feed = {name: np.asarray(array) for name, array in inputs.items()}
    sizes = bind(graph, {name: array.shape for name, array in feed.items()})
    values: dict[Value, Array] = {}
    for given in graph.inputs:
        values[given] = _given(given, feed.get(given.name), sizes, dtype)
    for path, weight in graph.weights.items():
        if path in weights:
            array = np.asarray(weights[path])
            values[weight] = _fit(f"weight {path}", weight.type, array, sizes, dtype)
        elif weight.users or weight in graph.updates or weight in graph.live():
            raise MlcError("feed", f"weight {path} is missing", weight.span)
    with np.errstate(all="ignore"):
        _walk(graph, values, sizes, dtype, perturb, tap)
    return Result(
        {name: values[value] for name, value in graph.outputs.items()},
        {weight.path: values[value] for weight, (value, _) in graph.updates.items()},
        sizes,
    )


def _walk(
    graph: Graph,
    values: dict[Value, Array],
    sizes: dict[str, int],
    dtype: str,
    perturb: Perturb | None,
    tap: Tap | None,
) -> None:
    """Evaluates node after node into `values`, and drops what nobody needs any more."""
    waiting = _uses(graph)
    for node in graph:
        arrays = tuple(None if v is None else values[v] for v in node.inputs)
        results = _evaluate(node, arrays, sizes, dtype, perturb)
        if perturb is not None:
            results = tuple(perturb(node, arrays, results))
        if tap is not None:
            tap(node, results)
        values.update(zip(node.outputs, results, strict=True))
        for value in node.values:
            waiting[value] -= 1
        for value in (*node.values, *node.outputs):
            if not waiting.get(value, 0):
                values.pop(value, None)


def _uses(graph: Graph) -> dict[Value, int]:
    waiting = dict.fromkeys(graph.live(), 1)
    for node in graph:
        for value in node.values:
            waiting[value] = waiting.get(value, 0) + 1
    return waiting


def _evaluate(
    node: Node,
    arrays: Sequence[Array | None],
    sizes: dict[str, int],
    dtype: str,
    perturb: Perturb | None,
) -> Arrays:
    """The node's results, each of the shape and the dtype that its type says."""
    import numpy as np

    regions = {}
    if node.blocks:
        regions["blocks"] = tuple(_region(b, sizes, dtype, perturb) for b in node.blocks)
    results = node.op.eval(*arrays, **attributes(node, sizes, dtype), **regions)
    results = results if isinstance(results, tuple) else (results,)
    held = []
    for output, result in zip(node.outputs, results, strict=True):
        shape = tuple(dim.evaluate(size, sizes) for size in output.type.shape)
        array = np.asarray(result)
        assert array.shape == shape, f"{node.op.name} made {array.shape}, not {shape}"
        held.append(array.astype(_held(output.type, dtype), copy=False))
    return tuple(held)


def _region(
    block: Graph, sizes: dict[str, int], dtype: str, perturb: Perturb | None
) -> Callable[..., Arrays]:
    """A block as a function of arrays; `perturb` sees each of its nodes each time it runs."""

    def call(*arrays: Array) -> Arrays:
        values: dict[Value, Array] = dict(zip(block.inputs, arrays, strict=True))
        _walk(block, values, sizes, dtype, perturb, None)
        return tuple(values[value] for value in block.outputs.values())

    return call


def attributes(node: Node, sizes: Mapping[str, int], dtype: str = "f32") -> dict[str, Any]:
    """The node's attributes with the sizes put in, and with f32 as it is held."""
    kinds = node.op.config
    return {
        key: dtype if kinds[key].kind == "dtype" and value == "f32" else _sized(value, sizes)
        for key, value in node.attrs.items()
    }


def _sized(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Size):
        return dim.evaluate(value, sizes)
    if isinstance(value, (tuple, list)):
        return type(value)(_sized(item, sizes) for item in value)
    return value


# ------------------------------------------------------------------------------------- feeding


def bind(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes of the graph's symbols for inputs of these shapes; MlcError "feed" on a clash.

    A bare symbol takes the size it meets first; every other size, and every fact, is checked.
    """
    for name in shapes:
        if all(given.name != name for given in graph.inputs):
            known = ", ".join(given.name for given in graph.inputs) or "none"
            raise MlcError("feed", f"{graph.name} has no input {name}; it has {known}")
    sizes: dict[str, int] = {}
    for given in graph.inputs:
        if given.name in shapes:
            _bind_bare(given, shapes[given.name], sizes)
        elif given.default is None:
            raise MlcError("feed", f"input {given.name} is missing", given.span)
    unbound = [name for name in graph.symbols if name not in sizes]
    if unbound:
        raise MlcError("feed", f"no given input has an axis of size {unbound[0]}")
    for given in graph.inputs:
        if given.name in shapes:
            _check_shape(f"input {given.name}", given.type, shapes[given.name], sizes)
    for fact in graph.facts:
        if not holds(fact, sizes):
            where = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise MlcError("feed", f"{graph.name} needs {fact}, and the feed has {where}")
    return sizes


def _bind_bare(given: Input, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    if len(shape) != given.type.rank:
        wanted = f"input {given.name} is {given.type}"
        raise MlcError("feed", f"{wanted}, and the feed has {len(shape)} axes: {shape}", given.span)
    for size, actual in zip(given.type.shape, shape, strict=True):
        if isinstance(size, Size) and str(size).isidentifier():
            sizes.setdefault(str(size), actual)


def _check_shape(what: str, type: Type, shape: tuple[int, ...], sizes: Mapping[str, int]) -> None:
    wanted = tuple(dim.evaluate(size, sizes) for size in type.shape)
    if wanted != shape:
        raise MlcError("feed", f"{what} is {type}, here {wanted}, and the feed has {shape}")


def holds(fact: Fact, sizes: Mapping[str, int]) -> bool:
    """Whether the fact is true for these sizes."""
    left, right = dim.evaluate(fact.left, sizes), dim.evaluate(fact.right, sizes)
    if fact.relation == "divides":
        return left != 0 and right % left == 0
    return {"==": left == right, "<=": left <= right, "<": left < right}[fact.relation]


def _given(given: Input, array: Array | None, sizes: Mapping[str, int], dtype: str) -> Array:
    import numpy as np

    if array is not None:
        return _fit(f"input {given.name}", given.type, array, sizes, dtype)
    shape = tuple(dim.evaluate(size, sizes) for size in given.type.shape)
    return np.full(shape, given.default, _held(given.type, dtype))


def _fit(what: str, type: Type, array: Array, sizes: Mapping[str, int], dtype: str) -> Array:
    """`array` in the dtype that `type` is held in; refuses another shape or kind of number."""
    import numpy as np

    _check_shape(what, type, array.shape, sizes)
    held = _held(type, dtype)
    if not np.can_cast(array.dtype, held, "same_kind"):
        raise MlcError("feed", f"{what} is {type}, and the feed is {array.dtype}")
    result = array.astype(held, copy=False)
    if held.kind in "iu" and not np.array_equal(result, array):
        raise MlcError("feed", f"{what} is {type}, and the feed has numbers outside {type.dtype}")
    return result


def _held(type: Type, dtype: str) -> np.dtype[Any]:
    from .ops.constant import numpy_dtype

    result: np.dtype[Any] = numpy_dtype(dtype if type.dtype == "f32" else type.dtype)
    return result
