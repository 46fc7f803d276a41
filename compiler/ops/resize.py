"""Resizing the spatial axes of (batch, channels, *spatial), with every convention spelt out.

Place i of the result lies at the place num(i) / den of the axis, a quotient of whole numbers, so
that which elements are taken is exact at every size, and only their shares are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..array import np
from ..dim import Dim, Size, evaluate, maximum
from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch, require_at_most
from .broadcast import require_floating
from .compare import GREATER_EQUAL, LESS, LESS_EQUAL, LOGICAL_AND
from .elementwise import ADD, CAST, DIV, FLOOR_DIV, MAXIMUM, MINIMUM, MUL, SUB, WHERE
from .function import ABS
from .index import GATHER
from .linear import MATMUL
from .reduce import SUM
from .sequence import IOTA, ONE_HOT
from .shape import EXPAND, RESHAPE, TRANSPOSE, listed, require_sizes
from .window import require_spatial

COORDINATES = ("half_pixel", "align_corners", "asymmetric")
ROUNDING = ("half_up", "half_down", "floor", "ceil")


@dataclass(frozen=True, slots=True)
class Line:
    """One axis: its sizes before and after; place i lies at (i * step + start) / den."""

    before: Dim
    after: Dim
    step: Dim
    start: Dim
    den: Dim
    repeats: int = 0
    """How often each element stands in the result, where that is all."""

    @property
    def same(self) -> bool:
        return self.before == self.after


def lines(sizes: Sequence[Dim], size: Any, scale: Any, coordinates: str) -> tuple[Line, ...]:
    """The axes of these sizes; raises TypeMismatch where `size` or `scale` do not fit them."""
    n = len(sizes)
    if (size is None) == (scale is None):
        raise TypeMismatch("resize takes a size or a scale, one of the two")
    given = size if scale is None else scale
    each = (given,) * n if isinstance(given, (int, Size)) else tuple(given)
    what = "a size" if scale is None else "a scale"
    if len(each) != n:
        message = f"resize takes {what} for each of {n} spatial axes, and gets {listed(each)}"
        raise TypeMismatch(message)
    require_sizes("resize", each)
    if scale is not None and not all(isinstance(s, int) for s in each):
        raise TypeMismatch("resize takes scales that are numbers", help="write size = [...]")
    pairs = zip(sizes, each, strict=True)
    return tuple(_line(before, to, scale is not None, coordinates) for before, to in pairs)


def _line(before: Dim, to: Dim, scaled: bool, coordinates: str) -> Line:
    after = before * to if scaled else to
    if not scaled and isinstance(before, int) and isinstance(after, int) and not after % before:
        scaled, to = True, after // before
    repeats = to if scaled and isinstance(to, int) else 0
    if coordinates == "align_corners":
        return _shortened(before, after, before - 1, 0, maximum(after - 1, 1), repeats)
    p, q = (1, to) if scaled else (before, after)
    if coordinates == "asymmetric":
        return _shortened(before, after, p, 0, q, repeats)
    return _shortened(before, after, 2 * p, p - q, 2 * q, repeats)


def _shortened(before: Dim, after: Dim, step: Dim, start: Dim, den: Dim, repeats: int) -> Line:
    """The line with its quotient in lowest terms, where the numbers are known."""
    if isinstance(step, int) and isinstance(start, int) and isinstance(den, int):
        common = math.gcd(step, start, den)
        step, start, den = step // common, start // common, den // common
    return Line(before, after, step, start, den, repeats)


def repeated(line: Line, coordinates: str, rounding: str) -> bool:
    """Whether the nearest elements are each element, `line.repeats` times over."""
    near = coordinates == "half_pixel" and rounding in ("half_up", "half_down")
    return line.repeats > 0 and (near or (coordinates, rounding) == ("asymmetric", "floor"))


def _infer(x: Type, size: Any, scale: Any, mode: str, coordinates: str, **_: Any) -> Type:
    require_spatial("resize", x)
    if mode != "nearest":
        require_floating("resize", x)
    found = lines(x.shape[2:], size, scale, coordinates)
    for line in found:
        require_at_most(1, line.after, f"resize of {x} to {line.after} elements")
    return x.with_(shape=(*x.shape[:2], *(line.after for line in found)))


def _spatial(x: Any, size: Any, scale: Any, coordinates: str) -> list[tuple[int, Line]]:
    """The axes that change, each with its number."""
    found = lines(x.shape[2:], size, scale, coordinates)
    return [(axis, line) for axis, line in enumerate(found, 2) if not line.same]


# ----------------------------------------------------------------------------------------- eval


def _eval(
    x: Any, size: Any, scale: Any, mode: str, coordinates: str, rounding: str, a: float,
    renormalise: bool, antialias: bool,
) -> Any:  # fmt: skip
    for axis, line in _spatial(x, size, scale, coordinates):
        num = np.arange(line.after) * line.step + line.start
        if mode == "nearest":
            x = np.take(x, _nearest(num, line.den, rounding).clip(0, line.before - 1), axis)
            continue
        matrix = _matrix(num, line, mode, a, renormalise, antialias)
        x = np.moveaxis(np.matmul(np.moveaxis(x, axis, -1), matrix.T.astype(x.dtype)), -1, axis)
    return x


def _nearest(num: Any, den: Any, rounding: str) -> Any:
    match rounding:
        case "floor":
            return num // den
        case "ceil":
            return -(-num // den)
        case "half_up":
            return (2 * num + den) // (2 * den)
    return -((den - 2 * num) // (2 * den))


def _matrix(num: Any, line: Line, mode: str, a: float, renormalise: bool, antialias: bool) -> Any:
    """(after, before): the share that each element of the axis has in each of the result."""
    before, step, den = (evaluate(n, {}) for n in (line.before, line.step, line.den))
    wide = max(step / den, 1.0) if antialias else 1.0
    reach = math.ceil(2 * wide) + 1
    matrix = np.zeros((line.after, before))
    rows = np.arange(line.after)
    for tap in range(-reach, reach + 1):
        place = num // den + tap
        share = _kernel(np.abs(place - num / den) / wide, mode, a)
        if renormalise or antialias:
            share = np.where((place >= 0) & (place < before), share, 0)
        np.add.at(matrix, (rows, place.clip(0, before - 1)), share)
    return matrix / matrix.sum(1, keepdims=True) if renormalise or antialias else matrix


def _kernel(d: Any, mode: str, a: float) -> Any:
    """The share of an element at the distance `d`."""
    if mode == "linear":
        return np.maximum(1 - d, 0)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


# ----------------------------------------------------------------------------------------- body


def _whole(b: Build, size: Dim) -> Value | int:
    """A size as an operand beside whole numbers."""
    return size if isinstance(size, int) else b.constant(size, "i32")


def _numerators(b: Build, line: Line) -> Value:
    """num(i), whole numbers (after,)."""
    num: Value = b(IOTA, size=line.after)
    if line.step != 1:
        num = b(MUL, num, _whole(b, line.step))
    return num if line.start == 0 else b(ADD, num, _whole(b, line.start))


def _floor(b: Build, num: Value, den: Dim) -> Value:
    result: Value = num if den == 1 else b(FLOOR_DIV, num, _whole(b, den))
    return result


def _inside(b: Build, place: Value, line: Line) -> Value:
    """The places, those outside the axis moved to its ends."""
    result: Value = b(MAXIMUM, b(MINIMUM, place, _whole(b, line.before - 1)), 0)
    return result


def _places(b: Build, line: Line, rounding: str) -> Value:
    """`_nearest` in the graph: where on the axis each element of the result comes from."""
    num, den = _numerators(b, line), line.den
    if rounding == "ceil":
        num = b(ADD, num, _whole(b, den - 1))
    elif rounding != "floor":
        num, den = b(ADD, b(MUL, num, 2), _whole(b, _half(den, rounding))), 2 * den
    return _inside(b, _floor(b, num, den), line)


def _half(den: Dim, rounding: str) -> Dim:
    """What makes a floor a rounding: halves go up, or down."""
    return den if rounding == "half_up" else den - 1


def _taps(b: Build, x: Value, line: Line, mode: str, a: float, renormalise: bool) -> list[Any]:
    """[(places, shares)] of the elements that go into each of the result, a vector each."""
    num = _numerators(b, line)
    first = _floor(b, num, line.den)
    rest = b(SUB, num, b(MUL, first, _whole(b, line.den)))
    dtype = x.type.dtype
    t = b(DIV, b(CAST, rest, dtype=dtype), _floating(b, line.den, dtype))
    if mode == "linear":
        found = [(0, b(SUB, 1.0, t)), (1, t)]
    else:
        u = b(SUB, 1.0, t)
        found = [(-1, _far(b, b(ADD, t, 1.0), a)), (0, _near(b, t, a)), (1, _near(b, u, a)),
                 (2, _far(b, b(ADD, u, 1.0), a))]  # fmt: skip
    placed = [(first if tap == 0 else b(ADD, first, tap), share) for tap, share in found]
    if renormalise:
        placed = _renormalised(b, placed, line)
    return [(_inside(b, place, line), share) for place, share in placed]


def _floating(b: Build, size: Dim, dtype: str) -> Value | float:
    return float(size) if isinstance(size, int) else b.constant(size, dtype)


def _near(b: Build, d: Value, a: float) -> Value:
    """The cubic's share at a distance up to 1."""
    inner = b(SUB, b(MUL, d, a + 2), a + 3)
    result: Value = b(ADD, b(MUL, b(MUL, inner, d), d), 1.0)
    return result


def _far(b: Build, d: Value, a: float) -> Value:
    """The cubic's share at a distance from 1 to 2."""
    inner = b(ADD, b(MUL, b(SUB, d, 5.0), d), 8.0)
    result: Value = b(SUB, b(MUL, b(MUL, inner, d), a), 4 * a)
    return result


def _renormalised(b: Build, placed: list[Any], line: Line) -> list[Any]:
    """Shares of nothing outside the axis, and 1 in all."""
    kept = []
    for place, share in placed:
        inside = b(LOGICAL_AND, b(GREATER_EQUAL, place, 0), b(LESS, place, _whole(b, line.before)))
        kept.append((place, b(WHERE, inside, share, 0.0)))
    total = kept[0][1]
    for _, share in kept[1:]:
        total = b(ADD, total, share)
    return [(place, b(DIV, share, total)) for place, share in kept]


def _wide_matrix(b: Build, x: Value, line: Line, mode: str, a: float) -> Value:
    """(after, before): shares by a kernel as wide as the places of the result are apart."""
    num = b(RESHAPE, _numerators(b, line), shape=(line.after, 1))
    places = b(MUL, b(IOTA, size=line.before), _whole(b, line.den))
    wide = maximum(line.den, line.step)
    apart = b(CAST, b(ABS, b(SUB, places, num)), dtype=x.type.dtype)
    d = b(DIV, apart, _floating(b, wide, x.type.dtype))
    if mode == "linear":
        shares = b(MAXIMUM, b(SUB, 1.0, d), 0.0)
    else:
        far = b(WHERE, b(LESS, d, 2.0), _far(b, d, a), 0.0)
        shares = b(WHERE, b(LESS_EQUAL, d, 1.0), _near(b, d, a), far)
    result: Value = b(DIV, shares, b(SUM, shares, axes=(1,), keep=True))
    return result


def _matrix_of(b: Build, taps: list[Any], line: Line, like: Value) -> Value:
    """(after, before): the matrix that takes these taps."""
    total: Value | None = None
    for place, share in taps:
        rows = b(ONE_HOT, place, depth=line.before, dtype=like.type.dtype)
        if share is not None:
            rows = b(MUL, rows, b(RESHAPE, share, shape=(line.after, 1)))
        total = rows if total is None else b(ADD, total, rows)
    assert total is not None
    return total


def along(b: Build, x: Value, axis: int, matrix: Value) -> Value:
    """`x` times the matrix (n, m), whose rows are the axis of `x`."""
    rank = x.type.rank
    order = (*(i for i in range(rank) if i != axis), axis)
    moved = x if axis == rank - 1 else b(TRANSPOSE, x, axes=order)
    y: Value = b(MATMUL, moved, matrix)
    return y if axis == rank - 1 else b(TRANSPOSE, y, axes=tuple(map(order.index, range(rank))))


def _repeat(b: Build, x: Value, axis: int, line: Line) -> Value:
    shape = x.type.shape
    apart = b(RESHAPE, x, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
    apart = b(EXPAND, apart, shape=(*shape[: axis + 1], line.repeats, *shape[axis + 1 :]))
    result: Value = b(RESHAPE, apart, shape=(*shape[:axis], line.after, *shape[axis + 1 :]))
    return result


def _body(
    b: Build, x: Value, size: Any, scale: Any, mode: str, coordinates: str, rounding: str,
    a: float, renormalise: bool, antialias: bool,
) -> Value:  # fmt: skip
    for axis, line in _spatial(x.type, size, scale, coordinates):
        if mode == "nearest" and repeated(line, coordinates, rounding):
            x = _repeat(b, x, axis, line)
        elif mode == "nearest":
            x = b(GATHER, x, _places(b, line, rounding), axis=axis)
        elif antialias:
            x = along(b, x, axis, b(TRANSPOSE, _wide_matrix(b, x, line, mode, a)))
        else:
            x = _blended(b, x, axis, line, _taps(b, x, line, mode, a, renormalise))
    return x


def _blended(b: Build, x: Value, axis: int, line: Line, taps: list[Any]) -> Value:
    """The sum of the elements at each tap's places, times its shares."""
    column = (line.after, *(1,) * (x.type.rank - 1 - axis))
    total: Value | None = None
    for place, share in taps:
        part = b(MUL, b(GATHER, x, place, axis=axis), b(RESHAPE, share, shape=column))
        total = part if total is None else b(ADD, total, part)
    assert total is not None
    return total


def _grad(
    b: Build, g: Value, y: Value, x: Value, size: Any, scale: Any, mode: str, coordinates: str,
    rounding: str, a: float, renormalise: bool, antialias: bool,
) -> list[Value]:  # fmt: skip
    """Axis by axis: the sum over repeats, or a product with the matrix of the taps."""
    for axis, line in reversed(_spatial(x.type, size, scale, coordinates)):
        shape = g.type.shape
        if mode == "nearest" and repeated(line, coordinates, rounding):
            apart = (*shape[:axis], line.before, line.repeats, *shape[axis + 1 :])
            g = b(SUM, b(RESHAPE, g, shape=apart), axes=(axis + 1,))
            continue
        if antialias and mode != "nearest":
            matrix = _wide_matrix(b, g, line, mode, a)
        else:
            taps = [(_places(b, line, rounding), None)]
            if mode != "nearest":
                taps = _taps(b, g, line, mode, a, renormalise)
            matrix = _matrix_of(b, taps, line, g)
        g = along(b, g, axis, matrix)
    return [g]


_LINEAR = {"mode": "linear"}
_CUBIC = {"mode": "cubic"}

RESIZE = Op(
    "resize",
    inputs=("x",),
    config={
        "scale": Config("ints", None, doc="how often larger, for each spatial axis"),
        "size": Config("shape", None, doc="or the new size of each spatial axis"),
        "mode": Config("str", "nearest", ("nearest", "linear", "cubic")),
        "coordinates": Config(
            "str", "half_pixel", COORDINATES,
            "what lies on what: the edges of both, the middles of the outermost elements, or the"
            " middles of the first ones",
        ),
        "rounding": Config("str", "half_up", ROUNDING, "which is the nearest element"),
        "a": Config("float", -0.75, doc="the coefficient of the cubic: -0.75 or -0.5"),
        "renormalise": Config(
            "bool", False, doc="whether elements outside have no share (they are those at the edge)"
        ),
        "antialias": Config("bool", False, doc="whether shrinking takes a mean over all elements"),
    },
    infer=_infer,
    eval=_eval,
    body=_body,
    grad=_grad,
    rounding="sum",
    layout="channels",
    samples=(
        {"x": (2, 3, 4, 5), "scale": 2},
        {"x": (2, 3, 4, 5), "scale": (3, 1), "coordinates": "asymmetric", "rounding": "floor"},
        {"x": (2, 3, 7, 5), "size": (4, 11)},
        {"x": (2, 3, 7, 5), "size": (4, 11), "coordinates": "asymmetric", "rounding": "floor"},
        {"x": (2, 3, 9), "size": (4,), "rounding": "half_down"},
        {"x": (1, 2, 3, 4, 5), "scale": 2},
        {"x": (2, 3, 4, 5), "scale": 2, **_LINEAR},
        {"x": (2, 3, 7, 5), "size": (4, 11), **_LINEAR},
        {"x": (2, 3, 7, 5), "size": (4, 11), **_LINEAR, "coordinates": "align_corners"},
        {"x": (2, 3, 7), "size": (1,), **_LINEAR, "coordinates": "align_corners"},
        {"x": (2, 3, 7), "size": (10,), **_LINEAR, "coordinates": "asymmetric"},
        {"x": (1, 2, 3, 4, 5), "size": (2, 7, 5), **_LINEAR},
        {"x": (2, 3, 7, 5), "size": (4, 11), **_CUBIC},
        {"x": (2, 3, 7, 5), "size": (4, 11), **_CUBIC, "coordinates": "align_corners"},
        {"x": (2, 3, 7, 5), "size": (4, 11), **_CUBIC, "a": -0.5, "renormalise": True},
        {"x": (2, 3, 11, 5), "size": (4, 7), **_LINEAR, "antialias": True},
        {"x": (2, 3, 11, 5), "size": (4, 7), **_CUBIC, "a": -0.5, "antialias": True},
    ),
    doc="The spatial axes of (batch, channels, *spatial) in another size: the nearest elements, or"
    " a blend of 2 (linear) or 4 (cubic) along each axis. By default as jax.image.resize, and"
    " PyTorch's nearest-exact; PyTorch's nearest is asymmetric with the rounding floor.",
)  # fmt: skip

RESIZES = (RESIZE,)
