"""Taking and placing elements by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim, bounds
from ..graph import Init, Node, Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_at_most, require_equal
from .broadcast import require_integer, require_same_dtype
from .compare import EQUAL
from .elementwise import STOP_GRADIENT, WHERE
from .join import PAD, require_alike
from .shape import EXPAND, FLIP, RESHAPE, UNSQUEEZE, product, require_known, zeros

Sizes = Sequence[Dim]

# ---------------------------------------------------------------------------------------- slice


def slices(
    x: Type, starts: Sequence[Dim | None], ends: Sequence[Dim | None], steps: Any, axes: Any
) -> tuple[tuple[int, Dim, Dim, int], ...]:
    """The slices of `x` as (axis, start, end, step), counted from the front and in full.

    Where a step is negative, an end of -1 is the place before the first. Raises where an end lies
    outside the axis (nothing is clipped) or a slice is empty.
    """
    steps = (steps,) * len(axes) if isinstance(steps, int) else steps
    if not len(starts) == len(ends) == len(steps) == len(axes):
        raise TypeMismatch(f"slice of {x} takes a start, an end and a step for each axis")
    if len(set(axes)) < len(axes):
        raise TypeMismatch(f"slice of {x} names an axis twice: {tuple(axes)}", "axis")
    return tuple(
        (axis, *_range(x, x.shape[axis], start, end, step), step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    )


def _range(x: Type, size: Dim, start: Dim | None, end: Dim | None, step: int) -> tuple[Dim, Dim]:
    if step < 0:
        return _backwards(x, size, start, end, step)
    first = _position(0 if start is None else start, size)
    last = _position(size if end is None else end, size)
    message = f"slice {first}:{last} of an axis of size {size} of {x}"
    if step == 0:
        raise TypeMismatch(f"{message} has step 0")
    require_at_most(last, size, f"{message} goes beyond its end")
    require_at_most(0, first, f"{message} starts before it")
    require_at_most(first + 1, last, f"{message} is empty")
    return first, last


def _backwards(
    x: Type, size: Dim, start: Dim | None, end: Dim | None, step: int
) -> tuple[Dim, Dim]:
    first = size - 1 if start is None else _position(start, size)
    last = -1 if end is None else _position(end, size)
    message = f"slice {first}:{'' if end is None else last} of an axis of size {size} of {x}"
    message += f", by step {step},"
    require_at_most(first + 1, size, f"{message} starts behind its end")
    require_at_most(last + 1, first, f"{message} is empty")
    return first, last


def _position(place: Dim, size: Dim) -> Dim:
    return size + place if bounds(place)[1] < 0 else place


def _slice_infer(x: Type, **attrs: Any) -> Type:
    shape = list(x.shape)
    for axis, start, end, step in slices(x, **attrs):
        shape[axis] = _count(start, end, step)
    return x.with_(shape=tuple(shape))


def _count(start: Dim, end: Dim, step: int) -> Dim:
    return (start - end - step - 1) // -step if step < 0 else (end - start + step - 1) // step


def _forward(start: Dim, end: Dim, step: int) -> tuple[Dim, Dim, int]:
    """The slice that takes the same elements from the front."""
    if step > 0:
        return start, end, step
    return start + (_count(start, end, step) - 1) * step, start + 1, -step


def _slice_body(b: Build, x: Value, **attrs: Any) -> Value:
    """Backwards by turning what is taken from the front; from the front by its places."""
    cuts = slices(x.type, **attrs)
    turned = tuple(axis for axis, _, _, step in cuts if step < 0)
    if turned:
        parts = [(axis, *_forward(start, end, step)) for axis, start, end, step in cuts]
        parts = [part for part in parts if part[1:] != (0, x.type.shape[part[0]], 1)]
        if parts:
            axes, starts, ends, steps = zip(*parts, strict=True)
            x = b(SLICE, x, starts=starts, ends=ends, steps=steps, axes=axes)
        result: Value = b(FLIP, x, axes=turned)
        return result
    from .sequence import ARANGE

    for axis, start, end, step in cuts:
        x = b(GATHER, x, b(ARANGE, start=start, end=end, step=step), axis=axis)
    return x


def _slice_eval(x: Any, starts: Any, ends: Any, steps: Any, axes: Sequence[int]) -> Any:
    steps = (steps,) * len(axes) if isinstance(steps, int) else steps
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def forwards(node: Node) -> bool:
    """Whether a slice goes from the front to the back of every axis."""
    steps = node.attrs["steps"]
    return all(step > 0 for step in (steps if isinstance(steps, tuple) else (steps,)))


def _slice_grad(b: Build, g: Value, y: Value, x: Value, **attrs: Any) -> list[Value]:
    pads: list[tuple[Dim, Dim]] = [(0, 0)] * x.type.rank
    cuts = slices(x.type, **attrs)
    turned = tuple(axis for axis, *_, step in cuts if step < 0)
    g = b(FLIP, g, axes=turned) if turned else g
    for axis, begin, end, back in cuts:
        start, _, step = _forward(begin, end, back)
        g = dilate(b, g, axis, step)
        pads[axis] = (start, x.type.shape[axis] - start - g.type.shape[axis])
    return [b(PAD, g, pads=tuple(pads))]


def dilate(b: Build, x: Value, axis: int, step: int) -> Value:
    """`x` with `step - 1` zeros between the elements of an axis: size (n - 1) * step + 1."""
    size = x.type.shape[axis]
    if step == 1 or size == 1:
        return x
    pads = [(0, 0)] * (x.type.rank + 1)
    pads[axis + 1] = (0, step - 1)
    apart = b(PAD, b(UNSQUEEZE, x, axes=(axis + 1,)), pads=tuple(pads))
    shape = (*x.type.shape[:axis], size * step, *x.type.shape[axis + 1 :])
    return cut(b, b(RESHAPE, apart, shape=shape), axis, 0, (size - 1) * step + 1)


def cut(b: Build, x: Value, axis: int, start: Dim, end: Dim, step: int = 1) -> Value:
    """The slice `start:end:step` of one axis; `x` itself where that is all of it."""
    if start == 0 and step == 1 and end == x.type.shape[axis]:
        return x
    result: Value = b(SLICE, x, starts=(start,), ends=(end,), steps=(step,), axes=(axis,))
    return result


SLICE = Op(
    "slice",
    inputs=("x",),
    config={
        "starts": Config("shape", doc="first position, for each axis; negative from the end"),
        "ends": Config("shape", doc="position after the last; None for the whole axis"),
        "steps": Config("ints", 1, doc="a negative one goes backwards"),
        "axes": Config("axes", doc="which axes are cut"),
    },
    infer=_slice_infer,
    eval=_slice_eval,
    body=_slice_body,
    grad=_slice_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (5, 7), "starts": (1,), "ends": (6,), "steps": (2,), "axes": (1,)},
        {"x": (5, 7, 4), "starts": (0, 2), "ends": (3, 7), "steps": (1, 3), "axes": (0, 1)},
        {"x": (5, 7), "starts": (-3, None), "ends": (-1, None), "axes": (1, 0)},
        {"x": ((5,), "i32"), "starts": (4,), "ends": (5,), "axes": (0,)},
        {"x": (5, 7), "starts": (None, 5), "ends": (None, 0), "steps": (-1, -2), "axes": (0, 1)},
        {"x": (2, 7), "starts": (-2,), "ends": (None,), "steps": (-3,), "axes": (1,)},
        {"x": (5, 4), "starts": (3, 1), "ends": (1, 4), "steps": (-1, 2), "axes": (0, 1)},
    ),
    doc="A part of some axes, as x[start:end:step]. Nothing is clipped: ends lie within the axis.",
)

# ----------------------------------------------------------------------------- gather, scatter


def checked(index: Any, size: int) -> Any:
    """`index` if all of it lies in 0 .. size - 1; raises IndexError otherwise."""
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise IndexError(f"indices {index.min()} to {index.max()} into an axis of size {size}")
    return index


def _gather_infer(x: Type, index: Type, axis: int) -> Type:
    require_integer("gather", index)
    return Type(
        x.dtype,
        x.shape[:axis] + index.shape + x.shape[axis + 1 :],
        x.labels[:axis] + index.labels + x.labels[axis + 1 :],
    )


def _gather_grad(b: Build, g: Value, y: Value, x: Value, index: Value, axis: int) -> list[Any]:
    before, after = x.type.shape[:axis], x.type.shape[axis + 1 :]
    count = product(index.type.shape)
    ones = (1,) * len(before), (1,) * len(after)
    flat = b(RESHAPE, index, shape=(*ones[0], count, *ones[1]))
    whole = b(EXPAND, flat, shape=(*before, count, *after))
    updates = b(RESHAPE, g, shape=(*before, count, *after))
    return [b(SCATTER_ADD, zeros(b, x.type), whole, updates, axis=axis), None]


GATHER = Op(
    "gather",
    inputs=("x", "index"),
    config={"axis": Config("axis", 0)},
    infer=_gather_infer,
    eval=lambda x, index, axis: np.take(x, checked(index, x.shape[axis]), axis),
    grad=_gather_grad,
    rounding="exact",
    samples=(
        {"x": (5, 3), "index": ([[0, 4, 2], [2, 2, 1]], "i32")},
        {"x": (2, 5, 3), "index": ((7,), "i64", 0, 5), "axis": 1},
        {"x": (2, 3), "index": ((), "i32", 0, 3), "axis": -1},
        {"x": ((4, 3), "i32"), "index": ([3, 0], "i32")},
    ),
    doc="The elements of an axis at these positions; the axis gives way to the axes of index."
    " An index outside 0 .. size - 1 is an error.",
)


def _like_but(op: str, x: Type, other: Type, axis: int, what: str) -> None:
    message = f"{op} takes {what} of the shape of x but for axis {axis}, and gets {x} and {other}"
    if x.rank != other.rank:
        raise TypeMismatch(message)
    for i, (a, b) in enumerate(zip(x.shape, other.shape, strict=True)):
        if i != axis:
            require_equal(a, b, message)


def _gather_elements_infer(x: Type, index: Type, axis: int) -> Type:
    require_integer("gather_elements", index)
    _like_but("gather_elements", x, index, axis, "an index")
    return x.with_(shape=(*x.shape[:axis], index.shape[axis], *x.shape[axis + 1 :]))


def _gather_elements_grad(
    b: Build, g: Value, y: Value, x: Value, index: Value, axis: int
) -> list[Any]:
    return [b(SCATTER_ADD, zeros(b, x.type), index, g, axis=axis), None]


GATHER_ELEMENTS = Op(
    "gather_elements",
    inputs=("x", "index"),
    config={"axis": Config("axis")},
    infer=_gather_elements_infer,
    eval=lambda x, index, axis: np.take_along_axis(x, checked(index, x.shape[axis]), axis),
    grad=_gather_elements_grad,
    rounding="exact",
    layout="axes",
    samples=(
        {"x": (2, 5, 3), "index": ((2, 7, 3), "i64", 0, 5), "axis": 1},
        {"x": (2, 3), "index": ([[2], [0]], "i32"), "axis": -1},
    ),
    doc="For each position, the element of x that has `index` there for its place on the axis.",
)


def require_scatter(op: str, x: Type, index: Type, updates: Type, axis: int) -> None:
    """Raises unless `index` and `updates` are of one shape, that of `x` but for the axis."""
    require_integer(op, index)
    require_same_dtype(op, x, updates)
    _like_but(op, x, index, axis, "an index")
    require_alike(op, [updates, index.with_(dtype=updates.dtype)])


def _scatter_infer(x: Type, index: Type, updates: Type, axis: int) -> Type:
    require_scatter("scatter_add", x, index, updates, axis)
    return x


def _scatter_eval(x: Any, index: Any, updates: Any, axis: int) -> Any:
    result = np.array(x)
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = checked(index, x.shape[axis])
    np.add.at(result, tuple(places), updates)
    return result


def _scatter_grad(
    b: Build, g: Value, y: Value, x: Value, index: Value, updates: Value, axis: int
) -> list[Any]:
    return [g, None, b(GATHER_ELEMENTS, g, index, axis=axis)]


SCATTER_ADD = Op(
    "scatter_add",
    inputs=("x", "index", "updates"),
    config={"axis": Config("axis")},
    infer=_scatter_infer,
    eval=_scatter_eval,
    grad=_scatter_grad,
    rounding="sum",
    layout="axes",
    samples=(
        {"x": (2, 5, 3), "index": ((2, 7, 3), "i64", 0, 5), "updates": (2, 7, 3), "axis": 1},
        {"x": (3,), "index": ([2, 2, 0, 2], "i32"), "updates": (4,), "axis": 0},
        {"x": ((3,), "i32"), "index": ([2, 2], "i32"), "updates": ((2,), "i32"), "axis": 0},
    ),
    doc="x, to which each element of updates is added, at the place that has `index` on the axis."
    " The adjoint of gather_elements.",
)


def _embedding_infer(
    index: Type, weight: Type, count: Dim, width: Dim, padding: Dim | None
) -> Type:
    require_integer("embedding", index)
    if padding is not None:
        message = f"embedding({count}, {width}) has no row {padding}, which is its padding"
        require_at_most(0, padding, message)
        require_at_most(padding + 1, count, message)
    message = f"embedding({count}, {width}) takes a weight of that shape, and gets {weight}"
    if weight.rank != 2:
        raise TypeMismatch(message)
    require_equal(weight.shape[0], count, message)
    require_equal(weight.shape[1], width, message)
    return Type(weight.dtype, (*index.shape, weight.shape[1]), (*index.labels, None))


def _embedding_params(index: Type, count: Dim, width: Dim, **_: Any) -> dict[str, Param]:
    require_known("embedding", count, width)
    return {"weight": Param(Type("f32", (count, width)), Init("normal", (1.0,)))}


def _embedding_body(
    b: Build, index: Value, weight: Value, count: Dim, width: Dim, padding: Dim | None
) -> Value:
    if padding is None:
        result: Value = b(GATHER, weight, index, axis=0)
        return result
    rows = b(EMBEDDING, index, weight, count=count, width=width)
    place = padding if isinstance(padding, int) else b.constant(padding, index.type.dtype)
    still = b(UNSQUEEZE, b(EQUAL, index, place), axes=(-1,))
    result = b(WHERE, still, b(STOP_GRADIENT, rows), rows)
    return result


EMBEDDING: Op = Op(
    "embedding",
    inputs=("index",),
    weights=("weight",),
    config={
        "count": Config("size", doc="how many rows"),
        "width": Config("size"),
        "padding": Config("size", None, doc="the row that takes no gradient"),
    },
    params=_embedding_params,
    infer=_embedding_infer,
    eval=lambda index, weight, **_: np.take(weight, checked(index, weight.shape[0]), 0),
    body=_embedding_body,
    rounding="exact",
    layer=True,
    samples=(
        {"index": ((2, 3), "i32", 0, 7), "count": 7, "width": 5},
        {"index": ([0, 2, 2], "i64"), "count": 3, "width": 2},
        {"index": ([[0, 2], [2, 1]], "i32"), "count": 4, "width": 3, "padding": 2},
    ),
    doc="A learned row for each index (starts as normal(1)). An index outside 0 .. count - 1 is an"
    " error.",
)

INDEX = (SLICE, GATHER, GATHER_ELEMENTS, SCATTER_ADD, EMBEDDING)
