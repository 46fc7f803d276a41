"""How Keras writes each op on tensors: `keras.ops`, or a layer that reads better."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.expr import Expr, literal
from ...compiler.ops.random import MASKS
from ..source.draws import shape_of
from ..source.masks import masked
from ..source.parts import Parts, Rule, exponent
from ..source.tree import number, text, tree
from . import images, shapes
from .places import PLACES
from .shapes import Pieces

DTYPES: Mapping[str, str] = {
    "bool": "bool", "u8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "f16": "float16", "bf16": "bfloat16", "f64": "float64",
}  # fmt: skip


def dtype(name: str) -> Expr:
    """The dtype as Keras names it; floats follow `keras.config.floatx()`."""
    return tree("keras.config.floatx()") if name == "f32" else literal(DTYPES[name])


def one(axes: Expr | None) -> Expr | None:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def keep(p: Parts) -> Expr | None:
    """`keepdims=True`, or nothing."""
    return literal(True) if p.value("keep") else None


def _constant(p: Parts) -> Expr:
    """A constant that is needed as a tensor."""
    kind = p.apply.outputs[0].type
    value = p["value"]
    if kind.dtype == "f32" and isinstance(number(value), int):
        value = literal(float(number(value)))
    return p.fill("keras.ops.array({value}, dtype={d})", value=value, d=dtype(kind.dtype))


def _binary(operator: str, name: str) -> Callable[[Parts], Expr]:
    """An operator; the function of that name where the left side is no Keras tensor."""

    def rule(p: Parts) -> Expr:
        eager = isinstance(p, Pieces) and p.var("a") in p.eager and p.var("b") not in p.eager
        return p.fill(f"keras.ops.{name}({{a}}, {{b}})" if eager else f"{{a}} {operator} {{b}}")

    return rule


_SUM: Callable[[Parts], Expr] = _binary("+", "add")
_POWER: Callable[[Parts], Expr] = _binary("**", "power")


def _add(p: Parts) -> Expr:
    """A sum of Keras tensors, the other way round where Keras would take the right for a bias."""
    a, b = p.var("a"), p.var("b")
    if not isinstance(p, Pieces) or p.inside or not (a and b and shapes.biased(a, b)):
        return _SUM(p)
    assert a is not None and b is not None
    if shapes.biased(b, a):
        return p.fill("{a} - -{b}")
    return p.fill("{b} + {a}") if b not in p.eager else p.fill("keras.ops.add({b}, {a})")


def _stack(p: Parts) -> Expr:
    return p.fill("keras.ops.stack([*{xs}], axis={axis})", axis=p.unless("axis", 0))


def _pow(p: Parts) -> Expr:
    whole = exponent(p, most=4)
    return _POWER(p) if whole is p["b"] else p.fill("{a} ** {n}", n=whole)


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


def _split(p: Parts) -> Expr:
    if p.value("parts") == 1:
        return p.fill("{x}")
    return p.fill("keras.ops.split({x}, {parts}, axis={axis})")


def _arg(p: Parts) -> Expr:
    template = (
        f"keras.ops.cast(keras.ops.{p.op.name}({{x}}, axis={{axis}}, keepdims={{k}}), 'int32')"
    )
    return p.fill(template, k=keep(p))


def _gelu(p: Parts) -> Expr:
    approximate = literal(p.fixed("approximate") != "none")
    return p.fill("keras.ops.gelu({x}, approximate={a})", a=approximate)


def _cast(p: Parts) -> Expr:
    return p.fill("keras.ops.cast({x}, {d})", d=dtype(p.fixed("dtype")))


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


def _gather(p: Parts) -> Expr:
    return p.fill("keras.ops.take({x}, {index}, axis={axis})")


def _iota(p: Parts) -> Expr:
    return p.fill("keras.ops.arange({size}, dtype={d})", d=dtype(p.fixed("dtype")))


def _one_hot(p: Parts) -> Expr:
    kind = p.fixed("dtype")
    if kind == "bool":
        return p.fill("keras.ops.cast(keras.ops.one_hot({index}, {depth}), 'bool')")
    given = None if kind == "f32" else dtype(kind)
    return p.fill("keras.ops.one_hot({index}, {depth}, dtype={d})", d=given)


def _triangle(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"keras.ops.{name}({{x}}, {{k}})", k=p.unless("k", 0))

    return rule


def _bce(p: Parts) -> Expr:
    """Keras gives the single losses."""
    each = p.fill("keras.ops.binary_crossentropy({target}, {logits}, from_logits=True)")
    reduction = p.fixed("reduction")
    return each if reduction == "none" else tree(f"keras.ops.{reduction}({{y}})", y=each)


def _masked(p: Parts) -> Expr:
    cast = f"keras.ops.cast({{x}}, {text(dtype(p.x.type.dtype))})"
    return masked(p, "training", cast=cast)


def _noise(p: Parts) -> Expr:
    name = p.fixed("distribution")
    template = f"keras.random.{name}({{shape}}, seed=self.seed_generator)"
    return p.fill(template, shape=shape_of(p))


def _linear(p: Parts) -> Expr:
    """A product with a weight that is not the layer's own."""
    product = p.fill("keras.ops.matmul({x}, keras.ops.transpose({weight}))")
    bias = p["bias_tensor"]
    return product if bias is None else tree("{y} + {bias}", y=product, bias=bias)


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": shapes.relayout, "cast": _cast,
    "stop_gradient": _unary("stop_gradient"),
    "add": _add, "sub": _binary("-", "subtract"), "mul": _binary("*", "multiply"),
    "div": _binary("/", "divide"), "pow": _pow, "neg": "-{x}",
    "floor_div": _binary("//", "floor_divide"), "mod": "keras.ops.mod({a}, {b})",
    "matmul": _binary("@", "matmul"),
    "equal": "keras.ops.equal({a}, {b})", "not_equal": "keras.ops.not_equal({a}, {b})",
    "less": _binary("<", "less"), "less_equal": _binary("<=", "less_equal"),
    "greater": _binary(">", "greater"), "greater_equal": _binary(">=", "greater_equal"),
    "logical_and": "keras.ops.logical_and({a}, {b})",
    "logical_or": "keras.ops.logical_or({a}, {b})", "logical_not": _unary("logical_not"),
    "logical_xor": "keras.ops.logical_xor({a}, {b})",
    "isnan": _unary("isnan"), "isinf": _unary("isinf"),
    "maximum": "keras.ops.maximum({a}, {b})", "minimum": "keras.ops.minimum({a}, {b})",
    "clamp": _clamp, "where": "keras.ops.where({condition}, {a}, {b})",
    **{name: _unary(name) for name in (
        "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square",
        "sin", "cos", "tan", "erf", "floor", "ceil", "round", "tanh", "sigmoid", "sinh", "cosh")},
    "asin": _unary("arcsin"), "acos": _unary("arccos"), "atan": _unary("arctan"),
    "relu": "keras.layers.ReLU()({x})", "relu6": "keras.layers.ReLU(6)({x})",
    "silu": _unary("silu"), "softplus": _unary("softplus"), "softsign": _unary("softsign"),
    "selu": _unary("selu"),
    "elu": _parametric("elu", "alpha", 1.0),
    "leaky_relu": _parametric("leaky_relu", "slope", 0.2), "gelu": _gelu,
    "hard_sigmoid": _unary("hard_sigmoid"), "hard_swish": _unary("hard_silu"),
    "hard_tanh": _unary("hard_tanh"), "glu": "keras.ops.glu({x}, axis={axis})",
    "softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "sum": _widening("sum"), "mean": _mean, "max": _reduce("max"), "min": _reduce("min"),
    "prod": _widening("prod"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _reduce("logsumexp"), "var": _reduce("var"), "std": _reduce("std"),
    "argmax": _arg, "argmin": _arg, "cumsum": _widening("cumsum"),
    "reshape": shapes.reshape, "flatten": shapes.flatten, "transpose": shapes.transpose,
    "concat": "keras.layers.Concatenate(axis={axis})([*{xs}])",
    "stack": _stack, "split": _split, "pad": shapes.pad,
    "squeeze": lambda p: p.fill("keras.ops.squeeze({x}, axis={a})", a=one(p["axes"])),
    "unsqueeze": lambda p: p.fill("keras.ops.expand_dims({x}, {a})", a=one(p["axes"])),
    "flip": lambda p: p.fill("keras.ops.flip({x}, axis={a})", a=one(p["axes"])),
    "slice": shapes.cut,
    "tile": "keras.ops.tile({x}, {repeats})", "expand": shapes.expand,
    "gather": _gather, "iota": _iota, "one_hot": _one_hot,
    "gather_elements": "keras.ops.take_along_axis({x}, {index}, axis={axis})",
    "log_sigmoid": _unary("log_sigmoid"), "tanh_shrink": _unary("tanh_shrink"),
    "soft_shrink": "keras.ops.soft_shrink({x}, {bound})",
    "hard_shrink": "keras.ops.hard_shrink({x}, {bound})",
    "threshold": "keras.ops.threshold({x}, {bound}, {value})", "resize": images.upsampling,
    "tril": _triangle("tril"), "triu": _triangle("triu"), "linear": _linear,
    "bce_with_logits": _bce, **PLACES,
}  # fmt: skip
"""Op -> how it is written on tensors."""


INSIDE: Mapping[str, Rule] = {
    **RULES, "resize": images.repeating,
    "relu": _unary("relu"), "relu6": _unary("relu6"), "mean": _reduce("mean"),
    "concat": "keras.ops.concatenate([*{xs}], axis={axis})", "reshape": shapes.reshape_inside,
    "flatten": shapes.reshape_inside, "slice": shapes.cut_inside, "noise": _noise,
    **dict.fromkeys(MASKS, _masked),
}  # fmt: skip
"""The same inside a layer's `call`, where no layer is made and every size can be read."""
