"""How PyTorch reshapes, permutes, cuts, joins and pads."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from ...compiler.diagnose import MlcError
from ...compiler.dim import Dim
from ...compiler.expr import Expr, literal
from ...compiler.ops.shape import product
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, real

# ---------------------------------------------------------------------------------------- reshape


def elements(node: Expr) -> list[Expr]:
    """The items of a tuple or list; the tree itself where it is none."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def _reshape(p: Parts) -> Expr:
    """`flatten` where neighbours are joined, `unflatten` where one axis is split."""
    before, after = p.x.type.shape, p.apply.outputs[0].type.shape
    shape = elements(p["shape"])
    if (new := _ones(before, after)) is not None:
        return _with_axes(p, new)
    if (joined := _joined(before, after)) is not None:
        start, end = joined
        return _flattened(p, start, end)
    if len(shape) == len(after) and (split := _joined(after, before)) is not None:
        start, end = split
        sizes = ast.Tuple(_open(shape[start : end + 1]), ast.Load())
        return p.fill("{x}.unflatten({axis}, {sizes})", axis=literal(start), sizes=sizes)
    return p.fill("{x}.reshape(*{shape})", shape=_open(shape) or [p["shape"]])


def _joined(long: Sequence[Dim], short: Sequence[Dim]) -> tuple[int, int] | None:
    """The first and last axis of `long` that are one axis of `short`, all others being equal."""
    more = len(long) - len(short)
    if more < 1 or not short:
        return None
    for start in range(len(short)):
        end = start + more
        same = long[:start] == short[:start] and long[end + 1 :] == short[start + 1 :]
        if same and _makes(long[start : end + 1], short[start]):
            return start, end
    return None


def _makes(parts: Sequence[Dim], whole: Dim) -> bool:
    """Whether the whole is cut into these: by their product, or one of them being a quotient."""
    if product(parts) == whole:
        return True
    others = [product([*parts[:i], *parts[i + 1 :]]) for i in range(len(parts))]
    return any(whole // other == part for part, other in zip(parts, others, strict=True))


def _open(shape: list[Expr]) -> list[Expr]:
    """The sizes with -1 for the only one that is no number, or that must be computed."""
    if any(is_literal(size, -1) for size in shape):
        return shape
    unknown = [i for i, size in enumerate(shape) if number(size) is None]
    computed = [i for i in unknown if not isinstance(shape[i], (ast.Name, ast.Attribute))]
    for found in (unknown, computed):
        if len(found) == 1:
            return [literal(-1) if i in found else size for i, size in enumerate(shape)]
    return shape


def _flattened(p: Parts, start: int, end: int) -> Expr:
    """`x.flatten(1)`."""
    last = end == p.x.type.rank - 1
    return p.fill(
        "{x}.flatten({start}, {end})",
        start=None if start == 0 and last else literal(start), end=None if last else literal(end),
    )  # fmt: skip


def _flatten(p: Parts) -> Expr:
    rank = p.x.type.rank
    return _flattened(p, p.fixed("start") % rank, p.fixed("end") % rank)


def _expand(p: Parts) -> Expr:
    return p.fill("{x}.expand(*{shape})", shape=elements(p["shape"]) or [p["shape"]])


def _squeeze(p: Parts) -> Expr:
    axes = p.fixed("axes")
    return p.fill("{x}.squeeze({axes})", axes=literal(axes[0] if len(axes) == 1 else axes))


def _unsqueeze(p: Parts) -> Expr:
    """`x.unsqueeze(1)`, or `x[:, None, None]`."""
    return _with_axes(p, sorted(p.fixed("axes")))


def _ones(before: Sequence[Dim], after: Sequence[Dim]) -> list[int] | None:
    """The axes of size 1 that are new in `after`, if that is all."""
    new = [i for i, size in enumerate(after) if size == 1]
    others = [size for size in after if size != 1]
    return new if new and list(before) == others else None


def _with_axes(p: Parts, axes: Sequence[int]) -> Expr:
    if len(axes) == 1:
        last = axes[0] == p.x.type.rank > 0
        return p.fill("{x}.unsqueeze({axis})", axis=literal(-1 if last else axes[0]))
    new = [literal(None) if i in axes else ast.Slice() for i in range(max(axes) + 1)]
    return ast.Subscript(p["x"], ast.Tuple(new, ast.Load()), ast.Load())


def _transpose(p: Parts) -> Expr:
    axes = p.fixed("axes")
    rank = p.x.type.rank
    axes = (*range(rank - 2), rank - 1, rank - 2) if axes is None else tuple(axes)
    moved = [i for i, axis in enumerate(axes) if i != axis]
    if not moved:
        found: Expr = p["x"]
        return found
    if moved == [rank - 2, rank - 1]:
        return p.fill("{x}.T" if rank == 2 else "{x}.mT")
    if len(moved) == 2:
        return p.fill("{x}.transpose({a}, {b})", a=literal(moved[0]), b=literal(moved[1]))
    return p.fill("{x}.permute(*{axes})", axes=[literal(axis) for axis in axes])


def _flip(p: Parts) -> Expr:
    axes = p.fixed("axes")
    return p.fill("{x}.flip(*{axes})", axes=[literal(axis) for axis in axes])


def _tile(p: Parts) -> Expr:
    return p.fill("{x}.tile(*{repeats})", repeats=elements(p["repeats"]))


# ------------------------------------------------------------------------------- cutting, joining


def cut(p: Parts, picked: Sequence[int] = ()) -> Expr:
    """`x[:, 1:T]`; of the axes in `picked` a single element, without the axis: `x[:, 0]`."""
    axes = p.fixed("axes")
    steps = elements(p["steps"])
    steps = steps if len(steps) == len(axes) else steps * len(axes)
    ends = zip(elements(p["starts"]), elements(p["ends"]), steps, strict=True)
    given = dict(zip(axes, ends, strict=True))
    index: list[Expr] = [ast.Slice() for _ in range(max(axes) + 1)]
    for axis, (start, end, step) in given.items():
        index[axis] = start if axis in picked else _range(p, axis, start, end, step)
    return ast.Subscript(
        p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()), ast.Load()
    )


def _range(p: Parts, axis: int, start: Expr, end: Expr, step: Expr) -> ast.Slice:
    first = None if is_literal(start, 0) or _absent(start) else start
    last = None if _absent(end) or _whole(p, axis, end) else end
    return ast.Slice(first, last, None if is_literal(step, 1) else step)


def _absent(end: Expr) -> bool:
    return isinstance(end, ast.Constant) and end.value is None


def _whole(p: Parts, axis: int, end: Expr) -> bool:
    """Whether an end is that of the axis."""
    size, value = p.x.type.shape[axis], number(end)
    return isinstance(size, int) and isinstance(value, int) and value >= size


def _join(name: str, default: int | None) -> Rule:
    def rule(p: Parts) -> Expr:
        value = p.value("axis")
        rank = p.apply.outputs[0].type.rank
        axis = literal(-1) if value is not None and value == rank - 1 > 0 else p["axis"]
        axis = None if value == default else axis
        return p.fill(f"torch.{name}([*{{xs}}], dim={{axis}})", axis=axis)

    return rule


def _split(p: Parts) -> Expr:
    value = p.value("axis")
    last = value is not None and value == p.x.type.rank - 1 > 0
    if p.value("parts") == 1:
        return p.fill("{x}")
    return p.fill("{x}.chunk({parts}, dim={axis})", axis=literal(-1) if last else p["axis"])


def _triangle(p: Parts) -> Expr:
    return p.fill(f"{{x}}.{p.op.name}({{k}})", k=p.unless("k", 0))


# ---------------------------------------------------------------------------------------- padding


def pairs(pads: Expr) -> list[tuple[Expr, Expr]]:
    """Each (low, high); MlcError where they are not written out."""
    if not isinstance(pads, (ast.Tuple, ast.List)):
        what = "pads that depend on hyper-parameters as a whole"
        raise MlcError("unsupported", what, help="write a pair for each axis")
    rows = [elements(row) for row in pads.elts]
    return [(row[0], row[-1]) for row in rows]


def backwards(rows: Sequence[tuple[Expr, Expr]], least: int = 1) -> Expr:
    """Pads as PyTorch takes them: the last axis first, leading axes left out, but for `least`."""
    used = list(rows)
    while len(used) > least and all(is_literal(end, 0) for end in used[0]):
        del used[0]
    return ast.Tuple([end for row in reversed(used) for end in row], ast.Load())


def _pad(p: Parts) -> Expr:
    if p.fixed("mode") != "constant":
        return _mirrored(p)
    value = p.value("value")
    fill: Expr | None = p["value"] if value is None else real(value)
    if value is not None and not p.x.type.floating:
        fill = literal(int(value))
    return p.fill(
        "F.pad({x}, {pads}, value={fill})",
        pads=backwards(pairs(p["pads"])), fill=None if value == 0 else fill,
    )  # fmt: skip


def _mirrored(p: Parts) -> Expr:
    """PyTorch wants one or two axes before those that it reflects or repeats, at most three."""
    rank = p.x.type.rank
    pads = backwards(pairs(p["pads"]), max(rank - 2, 1))
    count = len(elements(pads)) // 2
    if count > 3:
        what = f"PyTorch has no {p.fixed('mode')} padding of {count} axes of {rank}"
        raise MlcError("unsupported", what, help="pad axis by axis, each transposed to the end")
    mode = literal({"reflect": "reflect", "edge": "replicate"}[p.fixed("mode")])
    if rank > count:
        return p.fill("F.pad({x}, {pads}, mode={mode})", pads=pads, mode=mode)
    return p.fill("F.pad({x}.unsqueeze(0), {pads}, mode={mode}).squeeze(0)", pads=pads, mode=mode)


SHAPES: Mapping[str, Rule] = {
    "reshape": _reshape, "flatten": _flatten, "expand": _expand, "squeeze": _squeeze,
    "unsqueeze": _unsqueeze, "transpose": _transpose, "flip": _flip, "tile": _tile,
    "slice": cut, "concat": _join("cat", None), "stack": _join("stack", 0),
    "split": _split, "tril": _triangle, "triu": _triangle, "pad": _pad,
}  # fmt: skip
"""What moves, cuts and joins, by the name of the op."""
