"""How Keras writes each op on tensors: `keras.ops`, or a layer without weights where that reads better."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, tree

DTYPES: Mapping[str, str] = {
    "bool": "bool", "u8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "f16": "float16", "bf16": "bfloat16", "f64": "float64",
}  # fmt: skip


def dtype(name: str) -> Expr:
    """The dtype as Keras names it; floats follow `keras.config.floatx()`."""
    return tree("keras.config.floatx()") if name == "f32" else literal(DTYPES[name])


def _constant(p: Parts) -> Expr:
    value = p.apply.values.get("value")
    if value is not None and hasattr(value, "tolist") and value.ndim:
        return p.fill("keras.ops.array({value}, dtype={d})", d=dtype(p.value("dtype")))
    return literal(value.item()) if value is not None and hasattr(value, "item") else p["value"]


def _binary(operator: str) -> Rule:
    return f"{{a}} {operator} {{b}}"


def _unary(name: str) -> Rule:
    return f"keras.ops.{name}({{x}})"


def _keep(p: Parts) -> Expr | None:
    return literal(True) if p.value("keep") else None


def _reduce(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        template = f"keras.ops.{name}({{x}}, axis={{axes}}, keepdims={{k}})"
        return p.fill(template, axes=one(p["axes"]), k=_keep(p))

    return rule


def one(axes: Expr | None) -> Expr | None:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def _mean(p: Parts) -> Expr:
    """The mean over all spatial axes of an image is what Keras calls global average pooling."""
    rank = p.x.type.rank
    axes = number(p["axes"])
    if p.x.order and axes == tuple(range(1, rank - 1)) and 3 <= rank <= 5:
        keep = _keep(p)
        return p.fill(
            f"keras.layers.GlobalAveragePooling{rank - 2}D(keepdims={{k}})({{x}})", k=keep
        )
    return _reduce("mean")(p)  # type: ignore[operator]


def _relayout(p: Parts) -> Expr:
    before = p.x.order or tuple(range(p.x.type.rank))
    after = p.apply.outputs[0].order or tuple(range(p.x.type.rank))
    return p.fill("keras.ops.transpose({x}, {axes})",
                  axes=literal(tuple(before.index(axis) for axis in after)))  # fmt: skip


def _elements(node: Expr) -> list[Expr]:
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def _slice(p: Parts) -> Expr:
    keys = ("starts", "ends", "steps")
    columns = zip(number(p["axes"]), *(_elements(p[k]) for k in keys), strict=True)
    given = {axis: ends for axis, *ends in columns}
    index: list[Expr] = []
    for axis in range(max(given) + 1):
        start, end, step = given.get(axis, [None, None, None])
        index.append(ast.Slice(
            None if start is None or is_literal(start, 0) else start,
            None if end is None or _whole(p, axis, end) else end,
            None if step is None or is_literal(step, 1) else step,
        ))  # fmt: skip
    return ast.Subscript(p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()))


def _whole(p: Parts, axis: int, end: Expr) -> bool:
    order = p.x.order or tuple(range(p.x.type.rank))
    size, value = p.x.type.shape[order[axis]], number(end)
    return isinstance(size, int) and isinstance(value, int) and value >= size


def _reshape(p: Parts) -> Expr:
    """`Reshape` where the batch stays and at most one size is open, as Keras wants it."""
    before, after = p.x.type.shape, p.apply.outputs[0].type.shape
    sizes = [number(e) for e in _elements(p["shape"])]
    if before and after and before[0] == after[0]:
        rest = [literal(s) if isinstance(s, int) else literal(-1) for s in sizes[1:]]
        if sum(not isinstance(s, int) or s == -1 for s in sizes[1:]) <= 1:
            return p.fill("keras.layers.Reshape((*{sizes},))({x})", sizes=rest)
    return p.fill("keras.ops.reshape({x}, {shape})")


def _flatten(p: Parts) -> Expr:
    if p.value("start") == 1 and p.value("end") in (-1, p.x.type.rank - 1):
        return p.fill("keras.layers.Flatten()({x})")
    sizes = [
        literal(s) if isinstance(s, int) else literal(-1) for s in p.apply.outputs[0].type.shape
    ]
    return p.fill("keras.ops.reshape({x}, (*{sizes},))", sizes=sizes)


def _unsqueeze(p: Parts) -> Expr:
    return p.fill("keras.ops.expand_dims({x}, {axes})", axes=one(p["axes"]))


def _split(p: Parts) -> Expr:
    return p.fill("keras.ops.split({x}, {parts}, axis={axis})")


def _arg(p: Parts) -> Expr:
    return p.fill(f"keras.ops.cast(keras.ops.{p.op.name}({{x}}, axis={{axis}}, keepdims={{k}}), 'int32')",
                  k=_keep(p))  # fmt: skip


def _gelu(p: Parts) -> Expr:
    return p.fill(
        "keras.ops.gelu({x}, approximate={a})", a=literal(p.value("approximate") != "none")
    )


def _cast(p: Parts) -> Expr:
    return p.fill("keras.ops.cast({x}, {d})", d=dtype(p.value("dtype")))


def _clamp(p: Parts) -> Expr:
    if p["low"] is None:
        return p.fill("keras.ops.minimum({x}, {high})")
    if p["high"] is None:
        return p.fill("keras.ops.maximum({x}, {low})")
    return p.fill("keras.ops.clip({x}, {low}, {high})")


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": _relayout, "cast": _cast,
    "stop_gradient": _unary("stop_gradient"),
    "add": _binary("+"), "sub": _binary("-"), "mul": _binary("*"), "div": _binary("/"),
    "pow": _binary("**"), "floor_div": _binary("//"), "mod": "keras.ops.mod({a}, {b})",
    "matmul": _binary("@"), "neg": "-{x}",
    "equal": "keras.ops.equal({a}, {b})", "not_equal": "keras.ops.not_equal({a}, {b})",
    "less": _binary("<"), "less_equal": _binary("<="), "greater": _binary(">"),
    "greater_equal": _binary(">="), "logical_and": "keras.ops.logical_and({a}, {b})",
    "logical_or": "keras.ops.logical_or({a}, {b})", "logical_not": _unary("logical_not"),
    "logical_xor": "keras.ops.logical_xor({a}, {b})",
    "isnan": _unary("isnan"), "isinf": _unary("isinf"),
    "maximum": "keras.ops.maximum({a}, {b})", "minimum": "keras.ops.minimum({a}, {b})",
    "clamp": _clamp, "where": "keras.ops.where({condition}, {a}, {b})",
    **{name: _unary(name) for name in (
        "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin",
        "cos", "tan", "erf", "floor", "ceil", "round", "tanh", "sigmoid")},
    "asin": _unary("arcsin"), "acos": _unary("arccos"), "atan": _unary("arctan"),
    "sinh": _unary("sinh"), "cosh": _unary("cosh"),
    "relu": "keras.layers.ReLU()({x})", "relu6": _unary("relu6"), "silu": _unary("silu"),
    "softplus": _unary("softplus"), "softsign": _unary("softsign"), "selu": _unary("selu"),
    "elu": "keras.ops.elu({x}, {alpha})", "celu": "keras.ops.celu({x}, {alpha})",
    "leaky_relu": "keras.ops.leaky_relu({x}, {slope})", "gelu": _gelu,
    "hard_sigmoid": _unary("hard_sigmoid"), "hard_swish": _unary("hard_silu"),
    "softmax": "keras.ops.softmax({x}, axis={axis})",
    "log_softmax": "keras.ops.log_softmax({x}, axis={axis})",
    "sum": _reduce("sum"), "mean": _mean, "max": _reduce("max"), "min": _reduce("min"),
    "prod": _reduce("prod"), "any": _reduce("any"), "all": _reduce("all"),
    "logsumexp": _reduce("logsumexp"), "argmax": _arg, "argmin": _arg,
    "reshape": _reshape, "flatten": _flatten, "transpose": "keras.ops.transpose({x}, {axes})",
    "concat": "keras.layers.Concatenate(axis={axis})([*{xs}])",
    "stack": "keras.ops.stack([*{xs}], axis={axis})", "split": _split,
    "squeeze": "keras.ops.squeeze({x}, axis={axes})", "unsqueeze": _unsqueeze, "slice": _slice,
    "flip": "keras.ops.flip({x}, axis={axes})", "tile": "keras.ops.tile({x}, {repeats})",
    "expand": "keras.ops.broadcast_to({x}, {shape})", "cumsum": "keras.ops.cumsum({x}, axis={axis})",
    "tril": "keras.ops.tril({x}, {k})", "triu": "keras.ops.triu({x}, {k})",
}  # fmt: skip
