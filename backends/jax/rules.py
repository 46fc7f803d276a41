"""How JAX writes each op: a template, or a function for the ones that need thought."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping, Sequence
from typing import Any

from ...compiler.expr import Expr, literal
from ...compiler.ops.random import MASKS
from ...compiler.program import Apply
from ..source.draws import shape_of
from ..source.masks import masked
from ..source.parts import Parts, Rule, exponent
from ..source.tree import is_literal, number, tree
from .explicit import conv, conv_transpose
from .images import resize
from .places import PLACES
from .windows import each, elements, pairs, spatial, unpadded

DTYPES: Mapping[str, str] = {
    "bool": "bool", "u8": "jnp.uint8", "i8": "jnp.int8", "i16": "jnp.int16", "i32": "jnp.int32",
    "i64": "jnp.int64", "f16": "jnp.float16", "bf16": "jnp.bfloat16", "f32": "float",
    "f64": "jnp.float64",
}  # fmt: skip
"""Dtypes as JAX names them; floats follow JAX's default."""


def dtype(name: str) -> Expr:
    """The dtype as a tree."""
    return tree(DTYPES[name])


def _constant(p: Parts) -> Expr:
    """A constant that is needed as an array."""
    name = p.apply.outputs[0].type.dtype
    value = p["value"]
    plain = number(value)
    given = None if name in ("f32", "bool") and plain is not None else dtype(name)
    if name == "f32" and isinstance(plain, int):
        value = literal(float(plain))
    return p.fill("jnp.array({value}, dtype={dtype})", value=value, dtype=given)


def _binary(operator: str) -> Rule:
    return f"{{a}} {operator} {{b}}"


def _stack(p: Parts) -> Expr:
    return p.fill("jnp.stack([*{xs}], axis={axis})", axis=p.unless("axis", 0))


def _pow(p: Parts) -> Expr:
    """A whole power is products, which are as exact as any other way only if they are few."""
    return p.fill("{a} ** {n}", n=exponent(p, most=4))


def _unary(name: str) -> Rule:
    return f"{name}({{x}})"


def keep(p: Parts) -> Expr | None:
    """`keepdims=True`, or nothing."""
    return p.unless("keep", False)


def one(axes: Expr | None) -> Expr | None:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def _reduce(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"{{x}}.{name}({{axes}}, keepdims={{k}})", axes=one(p["axes"]), k=keep(p))

    return rule


def _sum(name: str) -> Rule:
    """Sums of small integers stay what they were; `jnp.sum` would widen them."""

    def rule(p: Parts) -> Expr:
        kind = p.x.type.dtype
        narrow = dtype(kind) if kind in ("u8", "i8", "i16") else None
        return p.fill(
            f"{{x}}.{name}({{axes}}, dtype={{d}}, keepdims={{k}})",
            axes=one(p["axes"]), d=narrow, k=keep(p),
        )  # fmt: skip

    return rule


def _logsumexp(p: Parts) -> Expr:
    return p.fill("nnx.logsumexp({x}, {axes}, keepdims={k})", axes=one(p["axes"]), k=keep(p))


def _spread(p: Parts) -> Expr:
    ddof = None if is_literal(p["correction"], 0) else p["correction"]
    return p.fill(
        f"{{x}}.{p.op.name}({{axes}}, ddof={{ddof}}, keepdims={{k}})",
        axes=one(p["axes"]), ddof=ddof, k=keep(p),
    )  # fmt: skip


def _arg(p: Parts) -> Expr:
    return p.fill(f"{{x}}.{p.op.name}({{axis}}, keepdims={{k}}).astype(jnp.int32)", k=keep(p))


def _cast(p: Parts) -> Expr:
    return p.fill("{x}.astype({d})", d=dtype(p.fixed("dtype")))


def _clamp(p: Parts) -> Expr:
    return p.fill("jnp.clip({x}, min={min}, max={max})")


def _order(p: Parts) -> Sequence[int]:
    return p.x.order or range(p.x.type.rank)


def moves(statement: Apply) -> tuple[int, ...] | None:
    """For an op that only reorders axes: which axis of its input, as stored, each of its own is."""
    x = next((v for v in statement.inputs if v is not None), None)
    if x is None or statement.op.name not in ("relayout", "transpose"):
        return None
    rank = x.type.rank
    before = x.order or tuple(range(rank))
    after = statement.outputs[0].order or tuple(range(rank))
    axes = tuple(range(rank))
    if statement.op.name == "transpose":
        axes = statement.values["axes"] or (*axes[:-2], rank - 1, rank - 2)
    return tuple(before.index(axes[axis]) for axis in after)


def _moved(p: Parts) -> Expr:
    order = moves(p.apply)
    assert order is not None
    return permuted(p["x"], order)


def permuted(x: Expr, axes: Sequence[int]) -> Expr:
    """The axes of `x` in another order, as briefly as it can be said."""
    moved = [i for i, axis in enumerate(axes) if i != axis]
    if not moved:
        return x
    if len(axes) == 2:
        return tree("{x}.T", x=x)
    if len(moved) == 2 and moved == [len(axes) - 2, len(axes) - 1]:
        return tree("{x}.mT", x=x)
    if len(moved) == 2:
        return tree("{x}.swapaxes({a}, {b})", x=x, a=literal(moved[0]), b=literal(moved[1]))
    return tree("{x}.transpose(*{axes})", x=x, axes=[literal(axis) for axis in axes])


def _reshape(p: Parts) -> Expr:
    sizes = elements(p["shape"])
    order = p.apply.outputs[0].order or range(len(sizes))
    return p.fill("{x}.reshape(*{shape})", shape=[sizes[axis] for axis in order])


def _flatten(p: Parts) -> Expr:
    """Axes that stay keep their size, and -1 stands for those that are joined."""
    start, end = (p.fixed(name) % p.x.type.rank for name in ("start", "end"))
    sizes: list[Expr] = []
    for axis, size in enumerate(p.x.type.shape):
        if axis == start:
            sizes.append(literal(-1))
        elif axis < start or axis > end:
            known = isinstance(size, int)
            sizes.append(
                literal(size) if known else p.fill("{x}.shape[{axis}]", axis=literal(axis))
            )
    return p.fill("{x}.reshape(*{sizes})", sizes=sizes)


def _expand(p: Parts) -> Expr:
    return p.fill("jnp.broadcast_to({x}, {shape})")


def _squeeze(p: Parts) -> Expr:
    return p.fill("{x}.squeeze({axes})", axes=one(p["axes"]))


def _unsqueeze(p: Parts) -> Expr:
    """`x[:, None]`, or `x[..., None]` at the end."""
    axes = sorted(number(p["axes"]))
    rank = p.x.type.rank + len(axes)
    if axes == [*range(rank - len(axes), rank)] and axes[0] > 0:
        return _index(p["x"], [ast.Constant(...), *[literal(None)] * len(axes)])
    index: list[Expr] = [literal(None) if i in axes else ast.Slice() for i in range(max(axes) + 1)]
    return _index(p["x"], index)


def _index(x: Expr, index: Sequence[Expr]) -> Expr:
    """`x[a, b]`; a weight is read by the index alone."""
    if isinstance(x, ast.Subscript) and isinstance(x.slice, ast.Constant) and x.slice.value is ...:
        x = x.value
    return ast.Subscript(x, index[0] if len(index) == 1 else ast.Tuple(list(index), ast.Load()))


def cut(p: Parts, picked: Container[int] = ()) -> Expr:
    """`x[:, 1:T]`; of the axes in `picked`, as they are stored, only one element: `x[:, 0]`."""
    axes = [_order(p).index(axis) for axis in p.apply.values["axes"]]
    steps = p["steps"]
    each = elements(steps) if isinstance(steps, (ast.Tuple, ast.List)) else [steps] * len(axes)
    columns = zip(axes, elements(p["starts"]), elements(p["ends"]), each, strict=True)
    given = {axis: ends for axis, *ends in columns}
    index: list[Expr] = []
    for axis in range(max(given) + 1):
        start, end, step = given.get(axis, [None, None, None])
        if axis in picked and start is not None:
            index.append(literal(0) if _absent(start) else start)
            continue
        index.append(
            ast.Slice(
                None if start is None or is_literal(start, 0) or _absent(start) else start,
                None if end is None or _absent(end) or _whole(p, axis, end) else end,
                None if step is None or is_literal(step, 1) else step,
            )
        )
    return _index(p["x"], index)


def _absent(node: Expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _whole(p: Parts, axis: int, end: Expr) -> bool:
    size, value = p.x.type.shape[_order(p)[axis]], number(end)
    return isinstance(size, int) and isinstance(value, int) and value >= size


def _pad(p: Parts) -> Expr:
    pads = p["pads"]
    rows = elements(pads) if isinstance(pads, (ast.Tuple, ast.List)) else [pads] * p.x.type.rank
    pairs = [row if isinstance(row, ast.Tuple) else tree("({n}, {n})", n=row) for row in rows]
    stored = ast.Tuple([pairs[axis] for axis in _order(p)], ast.Load())
    mode = p.fixed("mode")
    fill = None if mode != "constant" or number(p["value"]) == 0 else p["value"]
    return p.fill(
        "jnp.pad({x}, {pads}, mode={mode}, constant_values={fill})",
        pads=stored, mode=None if mode == "constant" else literal(mode), fill=fill,
    )  # fmt: skip


def _concat(p: Parts) -> Expr:
    return p.fill("jnp.concatenate([*{xs}], axis={axis})")


def _split(p: Parts) -> Expr:
    if p.value("parts") == 1:
        return p.fill("{x}")
    return p.fill("jnp.split({x}, {parts}, axis={axis})")


def _gather(p: Parts) -> Expr:
    if p.value("axis") == 0:
        return p.fill("jnp.take({x}, {index}, axis=0)")
    return p.fill("jnp.take({x}, {index}, axis={axis})")


def _scatter_add(p: Parts) -> Expr:
    """Every axis but one is indexed by its own positions."""
    var = p.var("index")
    assert var is not None
    axis, rank = p.apply.values["axis"], var.type.rank
    index = [p["index"] if i == axis else _positions(p, i, rank) for i in range(rank)]
    return p.fill(
        "{x}.at[{i}].add({updates})", i=ast.Tuple(index, ast.Load()) if rank > 1 else index[0]
    )


def _positions(p: Parts, axis: int, rank: int) -> Expr:
    line = p.fill("jnp.arange({index}.shape[{axis}])", axis=literal(axis))
    after = rank - 1 - axis
    return _index(line, [ast.Slice(), *[literal(None)] * after]) if after else line


def masks(mode: str, *, still: bool = False) -> Mapping[str, Rule]:
    """Dropout by a mask, see `masked`."""
    return dict.fromkeys(MASKS, lambda p: masked(p, mode, still=still))


def drawn(key: str) -> Rule:
    """How noise is drawn by this key."""

    def rule(p: Parts) -> Expr:
        name = p.fixed("distribution")
        return p.fill(f"jax.random.{name}({key}, {{shape}})", shape=shape_of(p))

    return rule


def _iota(p: Parts) -> Expr:
    return p.fill("jnp.arange({size}, dtype={d})", d=dtype(p.fixed("dtype")))


def _one_hot(p: Parts) -> Expr:
    name = p.fixed("dtype")
    return p.fill(
        "nnx.one_hot({index}, {depth}, dtype={d})", d=None if name == "f32" else dtype(name)
    )


def _cumsum(p: Parts) -> Expr:
    kind = p.x.type.dtype
    narrow = dtype(kind) if kind in ("u8", "i8", "i16") else None
    return p.fill("{x}.cumsum({axis}, dtype={d})", d=narrow)


def _triangle(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"jnp.{name}({{x}}, {{k}})", k=None if is_literal(p["k"], 0) else p["k"])

    return rule


def _gelu(p: Parts) -> Expr:
    """JAX's own default is the approximation by tanh."""
    how = p.value("approximate")
    by_tanh = (
        tree("{how} == 'tanh'", how=p["approximate"]) if how is None else literal(how == "tanh")
    )
    return p.fill("nnx.gelu({x}, approximate={a})", a=by_tanh)


def _softmax(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        last = p.value("axis") == p.x.type.rank - 1
        return p.fill(f"nnx.{name}({{x}}, axis={{axis}})", axis=None if last else _stored_axis(p))

    return rule


def _stored_axis(p: Parts) -> Expr:
    axis: Expr = p["axis"]
    return axis


def _elu(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        alpha = None if number(p["alpha"]) == 1 else p["alpha"]
        return p.fill(f"nnx.{name}({{x}}, {{alpha}})", alpha=alpha)

    return rule


def _leaky_relu(p: Parts) -> Expr:
    slope = None if number(p["slope"]) == 0.01 else p["slope"]
    return p.fill("nnx.leaky_relu({x}, {slope})", slope=slope)


def _linear(p: Parts) -> Expr:
    product = p.fill("{x} @ {weight}.T")
    return product if p["bias_tensor"] is None else p.fill("{y} + {bias_tensor}", y=product)


def sdpa(p: Parts, told: bool = True) -> Expr:
    """By a function of the file, which must be `told` that it is causal where it may not be."""
    causal = p.unless("causal", False) if told else None
    return p.fill("sdpa({q}, {k}, {v}, {mask}, causal={c}, scale={scale})", c=causal)


# ----------------------------------------------------------------------- windows over images


def _pool(p: Parts) -> tuple[int, Expr | None, Expr | None]:
    """Spatial axes, strides, and padding (None where there is none)."""
    count = spatial(p.x.type)
    for name in ("ceil", "dilation"):
        if name in p.op.config:
            p.fixed(name)
    stride = p["kernel"] if p["stride"] is None else p["stride"]
    pad = p["pad"]
    if is_literal(pad, "same"):
        return count, each(stride, count), literal("SAME")
    return count, each(stride, count), None if unpadded(pad) else pairs(pad, count)


def _max_pool(p: Parts) -> Expr:
    count, stride, pad = _pool(p)
    kernel = each(p["kernel"], count)
    return p.fill(
        "nnx.max_pool({x}, {kernel}, strides={stride}, padding={pad})",
        kernel=kernel, stride=stride, pad=pad,
    )  # fmt: skip


def _avg_pool(p: Parts) -> Expr:
    count, stride, pad = _pool(p)
    counted = None if pad is None else p.unless("count_pad", True)
    return p.fill(
        "nnx.avg_pool({x}, {kernel}, strides={stride}, padding={pad}, count_include_pad={c})",
        kernel=each(p["kernel"], count), stride=stride, pad=pad, c=counted,
    )  # fmt: skip


def pools(op: str, attrs: Mapping[str, Any]) -> bool:
    """Whether NNX's own pooling can say it; the rest is written out."""
    del op
    dilation = attrs.get("dilation", 1)
    plain = dilation == 1 or set(dilation if isinstance(dilation, tuple) else ()) == {1}
    return plain and not attrs["ceil"]


def _bce(p: Parts) -> Expr:
    """By functions whose slope at 0 is right: that of `jnp.abs` is 1 there."""
    loss = p.fill(
        "{target} * nnx.log_sigmoid({logits}) + (1 - {target}) * nnx.log_sigmoid(-{logits})"
    )
    reduction = p.fixed("reduction")
    return (
        tree("-({y})", y=loss) if reduction == "none" else tree(f"-({{y}}).{reduction}()", y=loss)
    )


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": _moved, "cast": _cast,
    "stop_gradient": "jax.lax.stop_gradient({x})",
    "add": _binary("+"), "sub": _binary("-"), "mul": _binary("*"), "div": _binary("/"),
    "pow": _pow, "floor_div": _binary("//"), "mod": _binary("%"),
    "matmul": _binary("@"), "neg": "-{x}",
    "equal": _binary("=="), "not_equal": _binary("!="), "less": _binary("<"),
    "less_equal": _binary("<="), "greater": _binary(">"), "greater_equal": _binary(">="),
    "logical_and": _binary("&"), "logical_or": _binary("|"), "logical_xor": _binary("^"),
    "logical_not": "~{x}",
    "maximum": "jnp.maximum({a}, {b})", "minimum": "jnp.minimum({a}, {b})", "clamp": _clamp,
    "where": "jnp.where({condition}, {a}, {b})",
    **{name: _unary(f"jnp.{name}") for name in (
        "isnan", "isinf", "abs", "sign", "floor", "ceil", "round", "exp", "expm1", "log", "log1p",
        "sqrt", "reciprocal", "square", "sin", "cos", "tan", "sinh", "cosh")},
    "asin": _unary("jnp.arcsin"), "acos": _unary("jnp.arccos"), "atan": _unary("jnp.arctan"),
    "erf": _unary("jax.lax.erf"), "rsqrt": _unary("jax.lax.rsqrt"),
    **{name: _unary(f"nnx.{name}") for name in (
        "tanh", "sigmoid", "relu", "relu6", "silu", "softplus", "selu", "hard_sigmoid",
        "hard_swish", "hard_tanh")},
    "softsign": _unary("nnx.soft_sign"), "mish": _unary("jax.nn.mish"),
    "elu": _elu("elu"), "celu": _elu("celu"), "leaky_relu": _leaky_relu, "gelu": _gelu,
    "glu": "nnx.glu({x}, axis={axis})",
    "softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "sum": _sum("sum"), "prod": _sum("prod"), "mean": _reduce("mean"), "max": _reduce("max"),
    "min": _reduce("min"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _logsumexp, "var": _spread, "std": _spread, "argmax": _arg, "argmin": _arg,
    "reshape": _reshape, "expand": _expand, "flatten": _flatten, "transpose": _moved,
    "squeeze": _squeeze, "unsqueeze": _unsqueeze, "slice": cut, "pad": _pad,
    "flip": "jnp.flip({x}, {axes})", "tile": "jnp.tile({x}, {repeats})",
    "bce_with_logits": _bce, "concat": _concat, "stack": _stack, "split": _split,
    "gather": _gather, "gather_elements": "jnp.take_along_axis({x}, {index}, axis={axis})",
    "scatter_add": _scatter_add, "iota": _iota, "noise": drawn("self.rngs.noise()"),
    **masks("self.deterministic", still=True),
    "one_hot": _one_hot, "cumsum": _cumsum,
    "tril": _triangle("tril"), "triu": _triangle("triu"), "linear": _linear,
    "max_pool": _max_pool, "avg_pool": _avg_pool, "sdpa": sdpa, "resize": resize,
    "conv": conv, "conv_transpose": conv_transpose,
    **PLACES,
    "log_sigmoid": _unary("nnx.log_sigmoid"),
}  # fmt: skip
