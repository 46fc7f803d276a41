"""Reshaping and permuting: what moves or repeats elements and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import (
    Build,
    Config,
    Op,
    TypeMismatch,
    require_divides,
    require_equal,
    weights_may_be_symbolic,
)
from .broadcast import unbroadcast

Shape = Sequence[Dim]
Pads = Sequence[Sequence[Dim]]


def product(sizes: Shape) -> Dim:
    """How many elements a tensor of these sizes has."""
    total: Dim = 1
    for size in sizes:
        total = total * size
    return total


def listed(sizes: Shape) -> str:
    """Sizes as they are shown in messages: `[B, 3]`."""
    return f"[{', '.join(map(str, sizes))}]"


def require_sizes(what: str, sizes: Shape) -> None:
    """Raises unless every known size is at least 1."""
    if any(isinstance(size, int) and size < 1 for size in sizes):
        raise TypeMismatch(f"{what} needs sizes of at least 1, and gets {listed(sizes)}")


def require_known(what: str, *sizes: Dim) -> None:
    """Raises unless the sizes are numbers: those that the shapes of weights are made of."""
    for size in sizes:
        if not isinstance(size, int) and not weights_may_be_symbolic():
            raise TypeMismatch(
                f"{what} has weights of size {size}, which is not known",
                help=f"give the axis a number, or make {size} a hyper-parameter",
            )


def _axes(x: Type, axes: Sequence[int], what: str) -> None:
    if len(set(axes)) < len(axes):
        raise TypeMismatch(f"{what} of {x} names an axis twice: {tuple(axes)}", "axis")


# ------------------------------------------------------------------------ reshape and flatten


def resolved_shape(x: Type, shape: Shape) -> tuple[Dim, ...]:
    """The sizes that `reshape` gives `x`: `shape` with its -1 computed; raises on other counts."""
    unknown = [i for i, size in enumerate(shape) if isinstance(size, int) and size == -1]
    others = [size for i, size in enumerate(shape) if i not in unknown]
    message = f"{x} has {product(x.shape)} elements, and is reshaped to {listed(shape)}"
    require_sizes("reshape", others)
    if len(unknown) > 1:
        raise TypeMismatch(f"{message}: one size can be left open, not {len(unknown)}")
    before, after = _without_shared(x.shape, others)
    if not unknown:
        require_equal(product(before), product(after), message)
        return tuple(shape)
    rest = require_divides(product(after), product(before), message)
    return tuple(rest if i in unknown else size for i, size in enumerate(shape))


def _without_shared(before: Shape, after: Shape) -> tuple[list[Dim], list[Dim]]:
    """Both without the sizes that are in both, so that what is left to be shown is simple."""
    rest, new = list(before), []
    for size in after:
        if size in rest:
            rest.remove(size)
        else:
            new.append(size)
    return rest, new


def _carried(x: Type, shape: Shape) -> tuple[str | None, ...]:
    """The labels after a reshape: those of the leading and trailing axes that stay as they are."""
    labels: list[str | None] = [None] * len(shape)
    fewest = min(x.rank, len(shape))
    head = 0
    while head < fewest and x.shape[head] == shape[head]:
        labels[head] = x.labels[head]
        head += 1
    tail = 1
    while head + tail <= fewest and x.shape[-tail] == shape[-tail]:
        labels[-tail] = x.labels[-tail]
        tail += 1
    return tuple(labels)


def _reshape_infer(x: Type, shape: Shape) -> Type:
    sizes = resolved_shape(x, shape)
    return Type(x.dtype, sizes, _carried(x, sizes))


def _reshape_grad(b: Build, g: Value, y: Value, x: Value, **_: Any) -> list[Value]:
    return [b(RESHAPE, g, shape=x.type.shape)]


RESHAPE = Op(
    "reshape",
    inputs=("x",),
    config={"shape": Config("shape", doc="the new sizes; one of them may be -1")},
    infer=_reshape_infer,
    eval=lambda x, shape: np.reshape(x, shape),
    grad=_reshape_grad,
    rounding="exact",
    samples=(
        {"x": (2, 3, 5), "shape": (6, 5)},
        {"x": (2, 3, 5), "shape": (5, -1)},
        {"x": ((7,), "i32"), "shape": (1, 7, 1)},
        {"x": (1, 1), "shape": ()},
    ),
    doc="The elements in the same order (last axis fastest), in another shape.",
)


def _flat(x: Type, start: int, end: int) -> tuple[Dim, ...]:
    if start > end:
        raise TypeMismatch(f"flatten of {x} goes from axis {start} back to axis {end}", "axis")
    return (*x.shape[:start], product(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _flatten_infer(x: Type, start: int, end: int) -> Type:
    merged = x.labels[start] if start == end else None
    labels = (*x.labels[:start], merged, *x.labels[end + 1 :])
    return Type(x.dtype, _flat(x, start, end), labels)


FLATTEN = Op(
    "flatten",
    inputs=("x",),
    config={
        "start": Config("axis", 1, doc="the first axis that is merged"),
        "end": Config("axis", -1, doc="the last one"),
    },
    infer=_flatten_infer,
    eval=lambda x, start, end: np.reshape(x, (*x.shape[:start], -1, *x.shape[end + 1 :])),
    body=lambda b, x, start, end: b(RESHAPE, x, shape=_flat(x.type, start, end)),
    rounding="exact",
    samples=(
        {"x": (2, 3, 5)},
        {"x": (2, 3, 5, 7), "start": 1, "end": 2},
        {"x": (2, 3), "start": 0},
        {"x": (2, 3)},
    ),
    doc="Merges the axes from `start` to `end` into one; by default all but the first.",
)


# ------------------------------------------------------------------------------- permutations


def permutation(rank: int, axes: Sequence[int] | None) -> tuple[int, ...]:
    """What `transpose` does to a tensor of this rank: axis i of the result is axis p[i] of x."""
    if axes is not None:
        return tuple(axes)
    return (*range(rank - 2), rank - 1, rank - 2)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes `order`."""
    return tuple(order.index(i) for i in range(len(order)))


def _transpose_infer(x: Type, axes: Sequence[int] | None) -> Type:
    if axes is None and x.rank < 2:
        raise TypeMismatch(f"transpose swaps the last two axes, and {x} has {x.rank}", "axis")
    order = permutation(x.rank, axes)
    if sorted(order) != list(range(x.rank)):
        raise TypeMismatch(f"transpose of {x} must name each axis once, not {order}", "axis")
    return Type(x.dtype, tuple(x.shape[i] for i in order), tuple(x.labels[i] for i in order))


def _transpose_grad(b: Build, g: Value, y: Value, x: Value, axes: Any) -> list[Value]:
    return [b(TRANSPOSE, g, axes=inverse(permutation(x.type.rank, axes)))]


TRANSPOSE = Op(
    "transpose",
    inputs=("x",),
    config={"axes": Config("axes", None, doc="the axes of x in their new order")},
    infer=_transpose_infer,
    eval=lambda x, axes: np.transpose(x, permutation(x.ndim, axes)),
    grad=_transpose_grad,
    rounding="exact",
    samples=(
        {"x": (2, 3)},
        {"x": (2, 3, 5), "axes": (2, 0, 1)},
        {"x": ((2, 3, 5, 7), "bool")},
    ),
    doc="Permutes axes; without `axes`, swaps the last two.",
)

RELAYOUT = Op(
    "relayout",
    inputs=("x",),
    config={"order": Config("axes", doc="axis i as it is stored is axis order[i] of x")},
    infer=lambda x, order: x,
    eval=lambda x, order: x,
    grad=lambda b, g, y, x, order: [g],
    rounding="exact",
    layout="any",
    samples=({"x": (2, 3, 5), "order": (0, 2, 1)},),
    doc="The same tensor, stored with its axes in another order. Only the layout pass makes it.",
)


def _flip_infer(x: Type, axes: Sequence[int]) -> Type:
    _axes(x, axes, "flip")
    return x


def _flip_grad(b: Build, g: Value, y: Value, x: Value, axes: Any) -> list[Value]:
    return [b(FLIP, g, axes=axes)]


FLIP = Op(
    "flip",
    inputs=("x",),
    config={"axes": Config("axes")},
    infer=_flip_infer,
    eval=lambda x, axes: np.flip(x, axes),
    grad=_flip_grad,
    rounding="exact",
    layout="axes",
    samples=({"x": (2, 3, 5), "axes": (0, 2)}, {"x": ((4, 3), "i32"), "axes": 1}),
    doc="Reverses the elements along the axes.",
)


# ----------------------------------------------------------------------- axes that come and go


def _squeeze_infer(x: Type, axes: Sequence[int]) -> Type:
    _axes(x, axes, "squeeze")
    for axis in axes:
        require_equal(1, x.shape[axis], f"squeeze of {x}: axis {axis} is not of size 1")
    kept = [i for i in range(x.rank) if i not in axes]
    return Type(x.dtype, tuple(x.shape[i] for i in kept), tuple(x.labels[i] for i in kept))


SQUEEZE = Op(
    "squeeze",
    inputs=("x",),
    config={"axes": Config("axes", doc="axes of size 1")},
    infer=_squeeze_infer,
    eval=lambda x, axes: np.squeeze(x, tuple(axes)),
    grad=_reshape_grad,
    rounding="exact",
    layout="axes",
    samples=({"x": (2, 1, 3, 1), "axes": (1, -1)}, {"x": ((1, 5), "i32"), "axes": 0}),
    doc="Takes out axes of size 1.",
)


def _unsqueeze_infer(x: Type, axes: Sequence[int]) -> Type:
    _axes(x, axes, "unsqueeze")
    shape, labels = iter(x.shape), iter(x.labels)
    new = range(x.rank + len(axes))
    return Type(
        x.dtype,
        tuple(1 if i in axes else next(shape) for i in new),
        tuple(None if i in axes else next(labels) for i in new),
    )


UNSQUEEZE = Op(
    "unsqueeze",
    inputs=("x",),
    config={"axes": Config("new_axes", doc="where the new axes stand in the result")},
    infer=_unsqueeze_infer,
    eval=lambda x, axes: np.expand_dims(x, tuple(axes)),
    grad=lambda b, g, y, x, axes: [b(SQUEEZE, g, axes=axes)],
    rounding="exact",
    samples=(
        {"x": (2, 3), "axes": (0, -1)},
        {"x": (2, 3), "axes": 1},
        {"x": ((), "i32"), "axes": (0,)},
    ),
    doc="Puts in axes of size 1.",
)


# ------------------------------------------------------------------------- repeating elements


def _expand_infer(x: Type, shape: Shape) -> Type:
    message = f"{x} does not expand to {listed(shape)}"
    lead = len(shape) - x.rank
    if lead < 0:
        raise TypeMismatch(f"{message}: it has more axes")
    require_sizes("expand", shape)
    for before, now in zip(x.shape, shape[lead:], strict=True):
        if before != 1:
            require_equal(before, now, f"{message}: {before} is not {now}")
    return Type(x.dtype, tuple(shape), (None,) * lead + x.labels)


EXPAND = Op(
    "expand",
    inputs=("x",),
    config={"shape": Config("shape")},
    infer=_expand_infer,
    eval=lambda x, shape: np.broadcast_to(x, shape),
    grad=lambda b, g, y, x, shape: [unbroadcast(b, g, x)],
    rounding="exact",
    samples=(
        {"x": (3, 1), "shape": (2, 3, 5)},
        {"x": (2, 1, 5), "shape": (2, 3, 5)},
        {"x": ((), "i32"), "shape": (2, 3)},
    ),
    doc="Repeats axes of size 1 (and missing leading ones) to the given shape.",
)


def _tile_infer(x: Type, repeats: Shape) -> Type:
    if len(repeats) != x.rank:
        raise TypeMismatch(f"tile of {x} takes {x.rank} numbers, and gets {listed(repeats)}")
    require_sizes("tile", repeats)
    return x.with_(shape=tuple(n * r for n, r in zip(x.shape, repeats, strict=True)))


def _tile_body(b: Build, x: Value, repeats: Shape) -> Value:
    pairs = tuple(zip(repeats, x.type.shape, strict=True))
    y = b(RESHAPE, x, shape=tuple(s for _, n in pairs for s in (1, n)))
    y = b(EXPAND, y, shape=tuple(s for pair in pairs for s in pair))
    result: Value = b(RESHAPE, y, shape=tuple(r * n for r, n in pairs))
    return result


TILE = Op(
    "tile",
    inputs=("x",),
    config={"repeats": Config("shape", doc="how often, for each axis")},
    infer=_tile_infer,
    eval=lambda x, repeats: np.tile(x, repeats),
    body=_tile_body,
    rounding="exact",
    samples=({"x": (2, 3), "repeats": (3, 2)}, {"x": ((2, 3, 5), "i32"), "repeats": (1, 2, 1)}),
    doc="Repeats the whole tensor along each axis.",
)


def zeros(b: Build, like: Type) -> Value:
    """A tensor of zeros of this type."""
    result: Value = b(EXPAND, b.constant(0, like.dtype), shape=like.shape)
    return result


SHAPE = (RESHAPE, FLATTEN, TRANSPOSE, RELAYOUT, FLIP, SQUEEZE, UNSQUEEZE, EXPAND, TILE)
