"""How Keras writes what only moves elements: shapes, slices, padding, and the order of axes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from typing import Any

from ...compiler import expr
from ...compiler.dim import Dim, Size, substitute, symbol, symbols
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Statement, Var, walk
from ..source.computation import taken
from ..source.parts import Parts
from ..source.tree import is_literal, number, real, tree


def elements(node: Expr) -> list[Expr]:
    """The items of a tuple or list; what is none is its own."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def stored(p: Parts) -> Sequence[int]:
    """Which axes of its type the axes of the first input are."""
    return p.x.order or range(p.x.type.rank)


def moved(order: Sequence[int]) -> bool:
    """Whether a permutation does anything."""
    return list(order) != list(range(len(order)))


# ------------------------------------------------------------------- sizes that are not known yet


class Pieces(Parts):
    """One op for a rule, where the sizes in `open` cannot be read, those in `running` change from
    iteration to iteration, and `eager` are tensors already: operators of theirs do not know Keras
    tensors. Those in `rectified` are not below zero, and those in `given` come from outside.
    `inside` a layer there are no Keras tensors.
    """

    open: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    eager: Container[Var] = ()
    rectified: Container[Var] = ()
    given: Container[Var] = ()
    inside: bool = False


def biased(a: Var, b: Var) -> bool:
    """Whether Keras may add `b` to the wrong axis of `a`.

    On TensorFlow its `add` takes a right side with one axis of more than one element for a bias: of
    the last axis of the left side, or else of axis 1, if the sizes are equal, wherever it stands.
    """
    left, right = _sizes(a), _sizes(b)
    if [size == 1 for size in left] == [size == 1 for size in right]:
        return False  # one shape: only an axis of size 1 is stretched
    wide = [i for i, size in enumerate(right) if size != 1]
    if len(left) < 2 or sum(isinstance(right[i], int) for i in wide) > 1:
        return False
    return any(_misplaced(left, right, i, set(wide) - {i}) for i in wide)


def _sizes(var: Var) -> list[Dim]:
    """The sizes as they are stored."""
    return [var.type.shape[axis] for axis in var.order or range(var.type.rank)]


def _misplaced(left: list[Dim], right: list[Dim], at: int, others: set[int]) -> bool:
    """Whether axis `at` of the right side is taken for another, all of its `others` being 1."""
    if any(isinstance(right[i], int) for i in others):
        return False
    ones = {name: 1 for i in others for name in symbols(right[i])}
    last, second = (substitute(left[i], ones) for i in (-1, 1))
    place = at - len(right)
    if place == -1 and last != 1:
        return False
    if _may_be(right[at], last):
        return True
    return place != 1 - len(left) and _may_be(right[at], second)


def _may_be(a: Dim, b: Dim) -> bool:
    """Whether two sizes, of which the first is above 1, may be equal."""
    return a == b if isinstance(a, int) and isinstance(b, int) else b != 1


def opened(names: frozenset[str]) -> Callable[[Expr], bool]:
    """Whether an expression names a size that no Keras tensor knows before it is computed."""
    return lambda expression: bool(expr.names(expression) & names)


def needs_sizes(apply: Apply, names: frozenset[str]) -> bool:
    """Whether the op can only be written where open sizes can be read: inside a layer."""
    is_open = opened(names)
    found = any(is_open(e) for e in apply.attrs.values())
    found = found or any(isinstance(v, Size) for v in apply.values.values())
    if not found and apply.op.name not in ("flatten", "scatter", "scatter_add"):
        return False
    match apply.op.name:
        case "reshape":
            shape = _told(apply, names)[1 if _batch_stays(apply) else 0 :]
            return sum(is_open(size) or is_literal(size, -1) for size in shape) > 1
        case "slice":
            return any(is_open(e) for e in _bounds(apply))
        case "flatten":
            return any(map(is_open, _kept(apply)))
        case "scatter" | "scatter_add":
            x, axis = apply.inputs[0], apply.values["axis"]
            return x is not None and isinstance(x.type.shape[axis], Size)
        case "expand":
            stretched = _stretched(apply)
            return stretched is None or any(map(is_open, stretched.values()))
        case "max_pool" | "avg_pool" | "conv" | "conv_transpose":
            return False
    return True


def _batch_stays(apply: Apply) -> bool:
    """Whether an op leaves the first axis as it is, whose size is open: layers know it as such."""
    x, y = apply.inputs[0], apply.outputs[0]
    assert x is not None
    first = [v.type.shape[v.order[0] if v.order else 0] for v in (x, y) if v.type.rank > 1]
    return len(first) == 2 and first[0] == first[1] and isinstance(first[0], Size)


def _told(apply: Apply, names: frozenset[str]) -> list[Expr]:
    """The shape that a reshape is given, in which -1 stands only for what Keras can tell.

    It computes the shape of the result, too, and there no size that is left open.
    """
    x, y = apply.inputs[0], apply.outputs[0]
    assert x is not None
    shape = elements(apply.attrs["shape"])
    order = x.order or range(x.type.rank)
    given = [x.type.shape[axis] for axis in (order[1:] if _batch_stays(apply) else order)]
    if len(shape) != y.type.rank or all(_closed(size, names) for size in given):
        return shape
    return [literal(size) if is_literal(each, -1) and _closed(size, names) else each
            for each, size in zip(shape, y.type.shape, strict=True)]  # fmt: skip


def _closed(size: Dim, names: frozenset[str]) -> bool:
    """Whether it is known while the model is put together, and has a name."""
    return all(n not in names and not n.startswith("size_") for n in symbols(size))


def _kept(apply: Apply) -> list[Expr]:
    """The sizes that a flatten leaves as they are, besides the batch and the one that it joins."""
    (x,) = (v for v in apply.inputs if v is not None)
    start, end = (number(apply.attrs[k]) % x.type.rank for k in ("start", "end"))
    return [literal(s) for i, s in enumerate(x.type.shape) if not start <= i <= end and i > 0]


def _bounds(apply: Apply) -> list[Expr]:
    """The starts and ends of a slice as they are written."""
    rows = _cuts(apply)
    return [e for start, end, _ in rows.values() for e in (start, end) if e is not None]


def _cuts(apply: Apply) -> dict[int, tuple[Expr | None, Expr | None, Expr | None]]:
    """Axis (of the type) -> start, end, step, None where Python needs none."""
    axes = apply.values["axes"]
    steps = apply.attrs["steps"]
    each = elements(steps) if isinstance(steps, (ast.Tuple, ast.List)) else [steps] * len(axes)
    columns = zip(axes, elements(apply.attrs["starts"]), elements(apply.attrs["ends"]), each,
                  strict=True)  # fmt: skip
    (x,) = (v for v in apply.inputs if v is not None)
    return {
        axis: (
            None if is_literal(start, 0) else _counted(start, x.type.shape[axis]),
            _counted(end, x.type.shape[axis]),
            None if is_literal(step, 1) else step,
        )
        for axis, start, end, step in columns
    }


def _counted(place: Expr, size: Any) -> Expr | None:
    """A place of an axis: None for its end, counted from the end where that is a number."""
    if isinstance(place, ast.Constant) and place.value is None:
        return None
    try:
        value = expr.evaluate(place, {name: symbol(name) for name in expr.names(place)})
    except (TypeError, ValueError, KeyError):
        return place
    if value == size:
        return None
    behind = value - size if isinstance(value, Size) else 0
    return literal(behind) if isinstance(behind, int) and behind < 0 else place


# -------------------------------------------------------------------------- the order of axes


def relayout(p: Parts) -> Expr:
    """The same tensor in the order in which the result is stored."""
    before = stored(p)
    after = p.apply.outputs[0].order or range(p.x.type.rank)
    return transposed(p["x"], [list(before).index(axis) for axis in after])


def transposed(x: Expr, axes: Sequence[int]) -> Expr:
    """`x` with its axes in another order."""
    return tree("keras.ops.transpose({x}, {axes})", x=x, axes=literal(tuple(axes)))


def transpose(p: Parts) -> Expr:
    """Between the orders in which both sides are stored, nothing may be left to do."""
    rank = p.x.type.rank
    given = p.value("axes") or (*range(rank - 2), rank - 1, rank - 2)
    after = p.apply.outputs[0].order or range(rank)
    axes = tuple(list(stored(p)).index(given[axis]) for axis in after)
    if not moved(axes):
        return p.fill("{x}")
    if rank == 2:
        return p.fill("keras.ops.transpose({x})")
    if axes == (*range(rank - 2), rank - 1, rank - 2):
        return p.fill("keras.ops.swapaxes({x}, -1, -2)")
    return transposed(p["x"], axes)


def cut(p: Parts) -> Expr:
    """`x[:, 1:T]`; a Keras tensor takes no slice that stands alone."""
    index = _index(p)
    if len(index) == 1:
        index.append(ast.Constant(...))
    return ast.Subscript(p["x"], ast.Tuple(index, ast.Load()))


def cut_inside(p: Parts) -> Expr:
    index = _index(p)
    return ast.Subscript(p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()))


def _index(p: Parts) -> list[Expr]:
    """Start, end and step of each axis up to the last that is cut."""
    order = list(stored(p))
    rows = {order.index(axis): row for axis, row in _cuts(p.apply).items()}
    return [ast.Slice(*(map(_maybe(p), rows.get(i, ())))) for i in range(max(rows) + 1)]


def picked(body: Sequence[Statement], inside: Collection[Statement]) -> dict[Apply, Apply]:
    """squeeze -> slice, where the two take single elements: `x[:, 0]`."""
    found: dict[Apply, Apply] = {}
    reads: Counter[Var] = Counter(v for s in walk(list(body)) for v in taken(s))
    cuts = {s.outputs[0]: s for s in walk(list(body))
            if isinstance(s, Apply) and s.op.name == "slice" and s not in inside}  # fmt: skip
    for statement in walk(list(body)):
        if isinstance(statement, Apply) and statement.op.name == "squeeze":
            cut = cuts.get(statement.inputs[0])  # type: ignore[arg-type]
            axes = set(statement.values.get("axes", ()))
            if cut and reads[cut.outputs[0]] == 1 and axes and axes <= set(cut.values["axes"]):
                found[statement] = cut
    return found


def element(p: Parts, axes: Collection[int]) -> Expr:
    """A slice in which these axes are cut down to one element each, and taken out."""
    order = list(stored(p))
    index = _index(p)
    rows = _cuts(p.apply)
    for axis in axes:
        start = rows[axis][0]
        index[order.index(axis)] = literal(0) if start is None else p.place(start)
    if len(index) == 1 and isinstance(index[0], ast.Slice):
        index.append(ast.Constant(...))
    return ast.Subscript(p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()))


def _maybe(p: Parts) -> Callable[[Expr | None], Expr | None]:
    return lambda e: None if e is None else p.place(e)


def reshape(p: Parts) -> Expr:
    """`Reshape` where the batch stays; at most one size is open, and written as -1."""
    shape = _placed(p, _told(p.apply, p.open if isinstance(p, Pieces) else frozenset()))
    if _batch_stays(p.apply):
        rest = sizes(p, shape[1:])
        if sum(is_literal(size, -1) for size in rest) <= 1:
            return p.fill("keras.layers.Reshape((*{sizes},))({x})", sizes=rest)
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=sizes(p, shape))


def expand(p: Parts) -> Expr:
    """An axis of size 1 is repeated; what else changes is broadcast."""
    stretched = _stretched(p.apply) or {}
    if len(stretched) != 1:
        return p.fill("keras.ops.broadcast_to({x}, {shape})")
    ((axis, size),) = stretched.items()
    return p.fill("keras.ops.repeat({x}, {n}, axis={axis})", n=p.place(size), axis=literal(axis))


def _stretched(apply: Apply) -> dict[int, Expr] | None:
    """The axes of size 1 that an `expand` makes longer, by their new size; None if one is new."""
    x, y = apply.inputs[0], apply.outputs[0]
    assert x is not None
    if x.type.rank != y.type.rank or x.order or y.order:
        return None
    sizes = elements(apply.attrs["shape"])
    pairs = enumerate(zip(x.type.shape, y.type.shape, strict=True))
    return {axis: sizes[axis] for axis, (before, after) in pairs if before != after}


def _placed(p: Parts, shape: list[Expr]) -> list[Expr]:
    """Sizes in the order in which the result is stored."""
    order = p.apply.outputs[0].order
    return [shape[axis] for axis in order] if order else shape


def sizes(p: Parts, shape: Sequence[Expr]) -> list[Expr]:
    """Sizes to reshape to: those that are open as -1, if there is but one of them."""
    is_open = opened(p.open if isinstance(p, Pieces) else frozenset())
    several = sum(map(is_open, shape)) > 1
    return [literal(-1) if is_open(s) and not several else p.place(s) for s in shape]


def flatten(p: Parts) -> Expr:
    rank = p.x.type.rank
    start, end = p.value("start") % rank, p.value("end") % rank
    if start == 1 and end == rank - 1 and rank > 2:
        return p.fill("keras.layers.Flatten()({x})")
    if start == end:
        return p.fill("{x}")
    joined = [literal(-1) if i == start else literal(size)
              for i, size in enumerate(p.apply.outputs[0].type.shape)]  # fmt: skip
    placed = [s if is_literal(s, -1) else p.place(s) for s in joined]
    if start > 0 and isinstance(p.x.type.shape[0], Size):
        return p.fill("keras.layers.Reshape((*{sizes},))({x})", sizes=placed[1:])
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=placed)


def reshape_inside(p: Parts) -> Expr:
    shape = elements(p["shape"]) if p.op.name == "reshape" else _joined(p)
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=_placed(p, shape))


def _joined(p: Parts) -> list[Expr]:
    """The sizes that a flatten leaves as they are, read from its tensor, and -1 for the others."""
    rank = p.x.type.rank
    start, end = p.value("start") % rank, p.value("end") % rank
    kept = [size_of(p, i) for i in range(rank) if not start <= i <= end]
    return [*kept[:start], literal(-1), *kept[start:]]


def size_of(p: Parts, axis: int) -> Expr:
    """A size of the first input: a number, or what its tensor has."""
    size = p.x.type.shape[axis]
    if isinstance(size, int):
        return literal(size)
    return p.fill("keras.ops.shape({t})[{axis}]", t=p.ref(p.x), axis=literal(axis))


def pad(p: Parts) -> Expr:
    """`value` as a constant around, or the tensor mirrored."""
    pads = p["pads"]
    rows = elements(pads) if isinstance(pads, (ast.Tuple, ast.List)) else [pads] * p.x.type.rank
    pairs = [row if isinstance(row, ast.Tuple) else tree("({n}, {n})", n=row) for row in rows]
    around = [pairs[axis] for axis in stored(p)]
    if p.fixed("mode") == "edge":
        return _edged(p["x"], around)
    value = number(p["value"])
    fill = p["value"] if value is None else real(value) if value != 0 else None
    constant = p.fixed("mode") == "constant"
    mode, fill = (None, fill) if constant else (p["mode"], None)
    return p.fill("keras.ops.pad({x}, {pads}, mode={mode}, constant_values={fill})",
                  pads=ast.Tuple(around, ast.Load()), mode=mode, fill=fill)  # fmt: skip


def _edged(x: Expr, around: Sequence[Expr]) -> Expr:
    """The first and last elements of each axis repeated; Keras pads by no such rule."""
    for axis, pair in enumerate(around):
        parts: list[Expr] = []
        for side, count in zip(("0:1", "-1:"), elements(pair), strict=True):
            if not is_literal(count, 0):
                index = expr.parse(f"x[{':, ' * axis}{side}, ...]")
                assert isinstance(index, ast.Subscript)
                parts.append(tree("keras.ops.repeat({e}, {n}, axis={axis})", n=count,
                                  e=ast.Subscript(x, index.slice), axis=literal(axis)))  # fmt: skip
            if side == "0:1":
                parts.append(x)
        if len(parts) > 1:
            x = tree("keras.ops.concatenate([*{xs}], axis={axis})", xs=parts, axis=literal(axis))
    return x
