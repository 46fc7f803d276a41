"""How Keras writes each op on tensors: `keras.ops`, or a layer without weights that reads better."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Any

from ...compiler import expr
from ...compiler.dim import Size, symbol
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Statement, Var, walk
from ..source.computation import taken
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, tree

DTYPES: Mapping[str, str] = {
    "bool": "bool", "u8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "f16": "float16", "bf16": "bfloat16", "f64": "float64",
}  # fmt: skip


def dtype(name: str) -> Expr:
    """The dtype as Keras names it; floats follow `keras.config.floatx()`."""
    return tree("keras.config.floatx()") if name == "f32" else literal(DTYPES[name])


def elements(node: Expr) -> list[Expr]:
    """The items of a tuple or list; what is none is its own."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def one(axes: Expr | None) -> Expr | None:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def stored(p: Parts) -> Sequence[int]:
    """Which axes of its type the axes of the first input are."""
    return p.x.order or range(p.x.type.rank)


def keep(p: Parts) -> Expr | None:
    """`keepdims=True`, or nothing."""
    return literal(True) if p.value("keep") else None


def moved(order: Sequence[int]) -> bool:
    """Whether a permutation does anything."""
    return list(order) != list(range(len(order)))


# ------------------------------------------------------------------- sizes that are not known yet


class Pieces(Parts):
    """One op for a rule, where the sizes in `open` cannot be read, and `eager` are tensors already:
    operators of theirs do not know Keras tensors."""

    open: frozenset[str] = frozenset()
    eager: Container[Var] = ()


def opened(names: frozenset[str]) -> Callable[[Expr], bool]:
    """Whether an expression names a size that no Keras tensor knows before it is computed."""
    return lambda expression: bool(expr.names(expression) & names)


def needs_sizes(apply: Apply, names: frozenset[str]) -> bool:
    """Whether the op can only be written where open sizes can be read: inside a layer."""
    is_open = opened(names)
    found = any(is_open(e) for e in apply.attrs.values())
    found = found or any(isinstance(v, Size) for v in apply.values.values())
    if not found and apply.op.name != "flatten":
        return False
    match apply.op.name:
        case "reshape":
            return sum(map(is_open, elements(apply.attrs["shape"]))) > 1
        case "slice":
            return any(is_open(e) for e in _bounds(apply))
        case "flatten":
            return _kept_open(apply) > 0
        case "max_pool" | "avg_pool" | "conv" | "conv_transpose":
            return False
    return True


def _kept_open(apply: Apply) -> int:
    """How many sizes a flatten leaves open besides the batch and the one that it joins."""
    (x,) = (v for v in apply.inputs if v is not None)
    start, end = (number(apply.attrs[k]) % x.type.rank for k in ("start", "end"))
    kept = [s for i, s in enumerate(x.type.shape) if not start <= i <= end and i > 0]
    return sum(isinstance(s, Size) for s in kept)


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


# ---------------------------------------------------------------------------------- the rules


def _constant(p: Parts) -> Expr:
    """A constant that is needed as a tensor."""
    kind = p.apply.outputs[0].type
    value = p["value"]
    if kind.dtype == "f32" and isinstance(number(value), int):
        value = literal(float(number(value)))
    return p.fill("keras.ops.array({value}, dtype={d})", value=value, d=dtype(kind.dtype))


def _binary(operator: str, name: str) -> Rule:
    """An operator; the function of that name where the left side is no Keras tensor."""

    def rule(p: Parts) -> Expr:
        eager = isinstance(p, Pieces) and p.var("a") in p.eager and p.var("b") not in p.eager
        return p.fill(f"keras.ops.{name}({{a}}, {{b}})" if eager else f"{{a}} {operator} {{b}}")

    return rule


def _unary(name: str) -> Rule:
    return f"keras.ops.{name}({{x}})"


def _reduce(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        template = f"keras.ops.{name}({{x}}, axis={{axes}}, keepdims={{k}})"
        return p.fill(template, axes=one(p["axes"]), k=keep(p))

    return rule


def _widening(name: str) -> Rule:
    """Keras sums small integers in int32; the language keeps their dtype."""

    def rule(p: Parts) -> Expr:
        template = f"keras.ops.{name}({{x}}, axis={{axes}}, keepdims={{k}})"
        axes = p["axes"] if "axes" in p.all else p["axis"]
        k = keep(p) if "keep" in p.all else None
        return _narrowed(p, p.fill(template, axes=one(axes), k=k))

    return rule


def _narrowed(p: Parts, value: Expr) -> Expr:
    kind = p.apply.outputs[0].type.dtype
    if kind not in ("u8", "i8", "i16", "i64"):
        return value
    return tree("keras.ops.cast({y}, {d})", y=value, d=dtype(kind))


def _mean(p: Parts) -> Expr:
    """The mean over all spatial axes of an image is what Keras calls global average pooling."""
    rank = p.x.type.rank
    axes = number(p["axes"])
    if p.x.order and axes == tuple(range(1, rank - 1)) and 3 <= rank <= 5:
        template = f"keras.layers.GlobalAveragePooling{rank - 2}D(keepdims={{k}})({{x}})"
        return p.fill(template, k=keep(p))
    return p.fill("keras.ops.mean({x}, axis={axes}, keepdims={k})", axes=one(p["axes"]), k=keep(p))


def _relayout(p: Parts) -> Expr:
    """`Permute` where the batch stays."""
    before = stored(p)
    after = p.apply.outputs[0].order or range(p.x.type.rank)
    return transposed(p["x"], [list(before).index(axis) for axis in after])


def transposed(x: Expr, axes: Sequence[int]) -> Expr:
    """`x` with its axes in another order."""
    return tree("keras.ops.transpose({x}, {axes})", x=x, axes=literal(tuple(axes)))


def _transpose(p: Parts) -> Expr:
    """Between the orders in which both sides are stored, nothing may be left to do."""
    rank = p.x.type.rank
    given = p.value("axes") or (*range(rank - 2), rank - 1, rank - 2)
    after = p.apply.outputs[0].order or range(rank)
    axes = tuple(list(stored(p)).index(given[axis]) for axis in after)
    if not moved(axes):
        return p["x"]
    if rank == 2:
        return p.fill("keras.ops.transpose({x})")
    if axes == (*range(rank - 2), rank - 1, rank - 2):
        return p.fill("keras.ops.swapaxes({x}, -1, -2)")
    return transposed(p["x"], axes)


def _slice(p: Parts) -> Expr:
    """`x[:, 1:T]`; a Keras tensor takes no slice that stands alone."""
    index = _index(p)
    if len(index) == 1:
        index.append(ast.Constant(...))
    return ast.Subscript(p["x"], ast.Tuple(index, ast.Load()))


def _inside_slice(p: Parts) -> Expr:
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
    starts = dict(zip(p.apply.values["axes"], elements(p.apply.attrs["starts"]), strict=True))
    for axis in axes:
        start = starts[axis]
        none = isinstance(start, ast.Constant) and start.value is None
        index[order.index(axis)] = literal(0) if none else p.place(start)
    if len(index) == 1 and isinstance(index[0], ast.Slice):
        index.append(ast.Constant(...))
    return ast.Subscript(p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()))


def _maybe(p: Parts) -> Callable[[Expr | None], Expr | None]:
    return lambda e: None if e is None else p.place(e)


def _reshape(p: Parts) -> Expr:
    """`Reshape` where the batch stays; at most one size is open, and written as -1."""
    shape = _placed(p, sizes(p, elements(p.apply.attrs["shape"])))
    before, after = p.x.type.shape, p.apply.outputs[0].type.shape
    if before and after and before[0] == after[0] and len(after) > 1:
        minus = sum(is_literal(s, -1) for s in shape[1:])
        if minus <= 1 and isinstance(before[0], Size):
            return p.fill("keras.layers.Reshape((*{sizes},))({x})", sizes=shape[1:])
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=shape)


def _placed(p: Parts, shape: list[Expr]) -> list[Expr]:
    """Sizes in the order in which the result is stored."""
    order = p.apply.outputs[0].order
    return [shape[axis] for axis in order] if order else shape


def sizes(p: Parts, shape: Sequence[Expr]) -> list[Expr]:
    """Sizes to reshape to: those that are open as -1, if there is but one of them."""
    is_open = opened(p.open if isinstance(p, Pieces) else frozenset())
    several = sum(map(is_open, shape)) > 1
    return [literal(-1) if is_open(s) and not several else p.place(s) for s in shape]


def _flatten(p: Parts) -> Expr:
    rank = p.x.type.rank
    start, end = p.value("start") % rank, p.value("end") % rank
    if start == 1 and end == rank - 1 and rank > 2:
        return p.fill("keras.layers.Flatten()({x})")
    if start == end:
        return p["x"]
    joined = [literal(-1) if i == start else literal(size)
              for i, size in enumerate(p.apply.outputs[0].type.shape)]  # fmt: skip
    placed = [s if is_literal(s, -1) else p.place(s) for s in joined]
    if start > 0 and isinstance(p.x.type.shape[0], Size):
        return p.fill("keras.layers.Reshape((*{sizes},))({x})", sizes=placed[1:])
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=placed)


def _split(p: Parts) -> Expr:
    return p.fill("keras.ops.split({x}, {parts}, axis={axis})")


def _arg(p: Parts) -> Expr:
    template = (
        f"keras.ops.cast(keras.ops.{p.op.name}({{x}}, axis={{axis}}, keepdims={{k}}), 'int32')"
    )
    return p.fill(template, k=keep(p))


def _gelu(p: Parts) -> Expr:
    approximate = literal(p.value("approximate") != "none")
    return p.fill("keras.ops.gelu({x}, approximate={a})", a=approximate)


def _cast(p: Parts) -> Expr:
    return p.fill("keras.ops.cast({x}, {d})", d=dtype(p.value("dtype")))


def _clamp(p: Parts) -> Expr:
    if p["min"] is None:
        return p.fill("keras.ops.minimum({x}, {max})")
    if p["max"] is None:
        return p.fill("keras.ops.maximum({x}, {min})")
    return p.fill("keras.ops.clip({x}, {min}, {max})")


def _softmax(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        last = number(p["axis"]) == p.x.type.rank - 1
        return p.fill(f"keras.ops.{name}({{x}}, axis={{a}})", a=None if last else p["axis"])

    return rule


def _parametric(name: str, config: str, default: float) -> Rule:
    """An activation with a parameter, which is written where Keras has another default."""

    def rule(p: Parts) -> Expr:
        given = None if number(p[config]) == default else p[config]
        return p.fill(f"keras.ops.{name}({{x}}, {{given}})", given=given)

    return rule


def _pad(p: Parts) -> Expr:
    """`value` as a constant around, or the tensor mirrored."""
    pads = p["pads"]
    rows = elements(pads) if isinstance(pads, (ast.Tuple, ast.List)) else [pads] * p.x.type.rank
    pairs = [row if isinstance(row, ast.Tuple) else tree("({n}, {n})", n=row) for row in rows]
    around = [pairs[axis] for axis in stored(p)]
    if p.value("mode") == "edge":
        return _edged(p["x"], around)
    fill = p["value"] if p.value("mode") == "constant" and number(p["value"]) != 0 else None
    mode = None if p.value("mode") == "constant" else p["mode"]
    return p.fill("keras.ops.pad({x}, {pads}, mode={mode}, constant_values={fill})",
                  pads=ast.Tuple(around, ast.Load()), mode=mode, fill=_finite(fill))  # fmt: skip


def _finite(fill: Expr | None) -> Expr | None:
    """Infinity as Python writes it."""
    value = number(fill)
    if isinstance(value, float) and not math.isfinite(value):
        return tree("float({text})", text=literal(str(value)))
    return fill


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


def _gather(p: Parts) -> Expr:
    return p.fill("keras.ops.take({x}, {index}, axis={axis})")


def _scatter_add(p: Parts) -> Expr:
    """Each update stands in a line of zeros, in the place of its index; the lines are summed."""
    axis = p.apply.values["axis"] % p.x.type.rank
    size = literal(p.x.type.shape[axis])
    line = [literal(-1)] + [literal(1)] * (p.x.type.rank - axis)
    places = p.fill(
        "keras.ops.reshape(keras.ops.arange({n}), (*{line},))", n=p.place(size), line=line
    )
    at = p.fill("keras.ops.equal(keras.ops.expand_dims({index}, {axis}), {places})",
                axis=literal(axis), places=places)  # fmt: skip
    lines = p.fill("keras.ops.where({at}, keras.ops.expand_dims({updates}, {axis}), 0)",
                   at=at, axis=literal(axis))  # fmt: skip
    return p.fill("{x} + keras.ops.sum({lines}, axis={axis})", lines=lines, axis=literal(axis + 1))


def _iota(p: Parts) -> Expr:
    return p.fill("keras.ops.arange({size}, dtype={d})", d=dtype(p.value("dtype")))


def _one_hot(p: Parts) -> Expr:
    kind = p.value("dtype")
    if kind == "bool":
        return p.fill("keras.ops.cast(keras.ops.one_hot({index}, {depth}), 'bool')")
    given = None if kind == "f32" else dtype(kind)
    return p.fill("keras.ops.one_hot({index}, {depth}, dtype={d})", d=given)


def _triangle(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"keras.ops.{name}({{x}}, {{k}})", k=p.unless("k", 0))

    return rule


def _linear(p: Parts) -> Expr:
    """A product with a weight that is not the layer's own."""
    product = p.fill("keras.ops.matmul({x}, keras.ops.transpose({weight}))")
    bias = p["bias_tensor"]
    return product if bias is None else tree("{y} + {bias}", y=product, bias=bias)


def _relu6(p: Parts) -> Expr:
    return p.fill("keras.layers.ReLU(6)({x})")


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": _relayout, "cast": _cast,
    "stop_gradient": _unary("stop_gradient"),
    "add": _binary("+", "add"), "sub": _binary("-", "subtract"), "mul": _binary("*", "multiply"), "div": _binary("/", "divide"),
    "pow": _binary("**", "power"), "floor_div": _binary("//", "floor_divide"), "mod": "keras.ops.mod({a}, {b})",
    "matmul": _binary("@", "matmul"), "neg": "-{x}",
    "equal": "keras.ops.equal({a}, {b})", "not_equal": "keras.ops.not_equal({a}, {b})",
    "less": _binary("<", "less"), "less_equal": _binary("<=", "less_equal"), "greater": _binary(">", "greater"),
    "greater_equal": _binary(">=", "greater_equal"), "logical_and": "keras.ops.logical_and({a}, {b})",
    "logical_or": "keras.ops.logical_or({a}, {b})", "logical_not": _unary("logical_not"),
    "logical_xor": "keras.ops.logical_xor({a}, {b})",
    "isnan": _unary("isnan"), "isinf": _unary("isinf"),
    "maximum": "keras.ops.maximum({a}, {b})", "minimum": "keras.ops.minimum({a}, {b})",
    "clamp": _clamp, "where": "keras.ops.where({condition}, {a}, {b})",
    **{name: _unary(name) for name in (
        "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin",
        "cos", "tan", "erf", "floor", "ceil", "round", "tanh", "sigmoid", "sinh", "cosh")},
    "asin": _unary("arcsin"), "acos": _unary("arccos"), "atan": _unary("arctan"),
    "relu": "keras.layers.ReLU()({x})", "relu6": _relu6, "silu": _unary("silu"),
    "softplus": _unary("softplus"), "softsign": _unary("softsign"), "selu": _unary("selu"),
    "elu": _parametric("elu", "alpha", 1.0), "celu": _parametric("celu", "alpha", 1.0),
    "leaky_relu": _parametric("leaky_relu", "slope", 0.2), "gelu": _gelu,
    "hard_sigmoid": _unary("hard_sigmoid"), "hard_swish": _unary("hard_silu"),
    "hard_tanh": _unary("hard_tanh"), "glu": "keras.ops.glu({x}, axis={axis})",
    "softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "sum": _widening("sum"), "mean": _mean, "max": _reduce("max"), "min": _reduce("min"),
    "prod": _widening("prod"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _reduce("logsumexp"), "var": _reduce("var"), "std": _reduce("std"),
    "argmax": _arg, "argmin": _arg, "cumsum": _widening("cumsum"),
    "reshape": _reshape, "flatten": _flatten, "transpose": _transpose,
    "concat": "keras.layers.Concatenate(axis={axis})([*{xs}])",
    "stack": "keras.ops.stack([*{xs}], axis={axis})", "split": _split, "pad": _pad,
    "squeeze": lambda p: p.fill("keras.ops.squeeze({x}, axis={a})", a=one(p["axes"])),
    "unsqueeze": lambda p: p.fill("keras.ops.expand_dims({x}, {a})", a=one(p["axes"])),
    "slice": _slice, "flip": lambda p: p.fill("keras.ops.flip({x}, axis={a})", a=one(p["axes"])),
    "tile": "keras.ops.tile({x}, {repeats})", "expand": "keras.ops.broadcast_to({x}, {shape})",
    "gather": _gather, "scatter_add": _scatter_add, "iota": _iota, "one_hot": _one_hot,
    "gather_elements": "keras.ops.take_along_axis({x}, {index}, axis={axis})",
    "tril": _triangle("tril"), "triu": _triangle("triu"), "linear": _linear,
}  # fmt: skip
"""Op -> how it is written on tensors."""


def _inside_reshape(p: Parts) -> Expr:
    shape = elements(p["shape"]) if p.op.name == "reshape" else _joined(p)
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=_placed(p, shape))


def _joined(p: Parts) -> list[Expr]:
    rank = p.x.type.rank
    start = p.value("start") % rank
    shape = p.apply.outputs[0].type.shape
    return [literal(-1) if i == start else p.place(literal(s)) for i, s in enumerate(shape)]


INSIDE: Mapping[str, Rule] = {
    **RULES, "relu": _unary("relu"), "relu6": _unary("relu6"), "mean": _reduce("mean"),
    "concat": "keras.ops.concatenate([*{xs}], axis={axis})", "reshape": _inside_reshape,
    "flatten": _inside_reshape, "slice": _inside_slice,
}  # fmt: skip
"""The same inside a layer's `call`, where no layer is made and every size can be read."""
