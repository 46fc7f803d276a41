"""How OpenVINO writes each op: a template, or a function for the ones that need thought."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.ops.window import Window
from ..source.parts import Parts as Plain
from ..source.tree import number, tree
from .places import PLACES
from .sizes import SIZE, Sizes, elements

TYPES: Mapping[str, str] = {
    "bool": "boolean", "u8": "u8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64",
    "f16": "f16", "bf16": "bf16", "f32": "f32",
}  # fmt: skip
"""Element types by OpenVINO's names."""


class Parts(Plain):
    """One op for a rule; `p.sizes` tells sizes that are known only at run time from the others."""

    sizes: Sizes


Rule: TypeAlias = "str | Callable[[Parts], Expr]"


def element_type(name: str) -> str:
    """OpenVINO's name of a dtype; MlcError where its CPU does not compute in it."""
    if name not in TYPES:
        raise MlcError("unsupported", f"OpenVINO does not compute in {name}", help="use f32")
    return TYPES[name]


def scalar(value: Expr, dtype: str) -> Expr:
    """A number as an operand: OpenVINO takes the type of a Python number from nowhere else."""
    kinds = {"bool": "np.bool_", "i32": "np.int32", "f32": "np.float32"}
    if dtype in kinds:
        return tree(f"{kinds[dtype]}({{v}})", v=value)
    return tree(f"ops.constant({{v}}, ov.Type.{element_type(dtype)})", v=value)


def _constant(p: Parts) -> Expr:
    value, dtype = p["value"], p.apply.outputs[0].type.dtype
    if p.sizes.open(value):
        return tree(
            "ops.convert({v}, {t})", v=p.sizes.scalar(value), t=literal(element_type(dtype))
        )
    return tree(f"ops.constant({{v}}, ov.Type.{element_type(dtype)})", v=value)


def _unary(name: str) -> Rule:
    return f"ops.{name}({{x}})"


def _binary(name: str) -> Rule:
    return f"ops.{name}({{a}}, {{b}})"


def _div(p: Parts) -> Expr:
    return p.fill("ops.divide({a}, {b})")


def _floor_div(p: Parts) -> Expr:
    """OpenVINO's division of integers truncates."""
    if p.x.type.floating:
        return p.fill("ops.floor(ops.divide({a}, {b}))")
    return p.fill("ops.divide(ops.subtract({a}, ops.floor_mod({a}, {b})), {b})")


def _cast(p: Parts) -> Expr:
    """To bool by comparing with zero; a conversion would round first."""
    before, after = p.x.type.dtype, p.apply.outputs[0].type.dtype
    if after == "bool" and before != "bool":
        return p.fill("ops.not_equal({x}, {zero})", zero=scalar(literal(0), before))
    return p.fill("ops.convert({x}, {t})", t=literal(element_type(after)))


def _clamp(p: Parts) -> Expr:
    """OpenVINO's own takes two numbers, and only those."""
    low, high = p.value("min"), p.value("max")
    if p.x.type.floating and low is not None and high is not None:
        return p.fill("ops.clamp({x}, {min}, {max})")
    result: Expr = p["x"]
    for name, op in (("min", "maximum"), ("max", "minimum")):
        if p[name] is not None:
            bound = scalar(p[name], p.x.type.dtype)
            result = tree(f"ops.{op}({{x}}, {{b}})", x=result, b=bound)
    return result


def axes(p: Parts) -> list[Expr]:
    """The axes of a reduction; all of them where none is named."""
    given = p["axes"]
    return [literal(i) for i in range(p.x.type.rank)] if given is None else elements(given)


def _reduce(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        if not p.x.type.rank:
            return p.fill("{x}")
        given = ast.List(axes(p), ast.Load())
        return p.fill(
            f"ops.reduce_{name}({{x}}, {{axes}}, keep_dims={{k}})",
            axes=given, k=literal(bool(p.value("keep"))),
        )  # fmt: skip

    return rule


def _arg(p: Parts) -> Expr:
    mode = literal(p.op.name.removeprefix("arg"))
    found = p.fill(
        "ops.topk({x}, np.int32(1), {axis}, {mode}, 'value', stable=True).output(1)", mode=mode
    )
    made = "ops.identity({y})" if p.value("keep") else "ops.squeeze({y}, [{axis}])"
    return p.fill(made, y=found)


# -------------------------------------------------------------------------------------- shapes


def _relayout(p: Parts) -> Expr:
    return p.fill("{x}")


def _transpose(p: Parts) -> Expr:
    rank = p.x.type.rank
    order = p.value("axes") or (*range(rank - 2), rank - 1, rank - 2)
    return p.fill("ops.transpose({x}, {order})", order=literal(list(order)))


def _reshape(p: Parts) -> Expr:
    """To a number by taking the axes away: the CPU plugin of 2026.4 may crash otherwise."""
    if not p.apply.outputs[0].type.rank:
        axes = literal([*range(p.x.type.rank)])
        return p.fill("ops.squeeze({x}, {axes})", axes=axes) if p.x.type.rank else p.fill("{x}")
    return p.fill(
        "ops.reshape({x}, {shape}, special_zero={zero})",
        **p.sizes.reshaped(p.x.type.shape, p.apply.outputs[0].type.shape, elements(p["shape"])),
    )


def _flatten(p: Parts) -> Expr:
    before, after = p.x.type.shape, p.apply.outputs[0].type.shape
    joined = p.value("start") % max(len(before), 1)
    shape = []
    for i, size in enumerate(after):
        if not p.sizes.nameless(size):
            shape.append(p.place(literal(size)))
        elif i == joined:
            shape.append(literal(-1))
        else:
            axis = i if i < joined else i + len(before) - len(after)
            shape.append(tree(SIZE, x=p.ref(p.x), axis=literal(axis)))
    return p.fill(
        "ops.reshape({x}, {shape}, special_zero={zero})",
        **p.sizes.reshaped(before, after, shape),
    )


def _expand(p: Parts) -> Expr:
    return p.fill("ops.broadcast({x}, {shape})", shape=p.sizes.shape(elements(p["shape"])))


def _tile(p: Parts) -> Expr:
    return p.fill("ops.tile({x}, {repeats})", repeats=p.sizes.shape(elements(p["repeats"])))


def _squeeze(p: Parts) -> Expr:
    return p.fill("ops.squeeze({x}, {axes})", axes=ast.List(elements(p["axes"]), ast.Load()))


def _unsqueeze(p: Parts) -> Expr:
    return p.fill("ops.unsqueeze({x}, {axes})", axes=ast.List(elements(p["axes"]), ast.Load()))


END = 2**31 - 1
"""Where a slice ends that goes to the end of an axis of unknown size."""

FRONT = -(2**31)
"""Where one ends that goes backwards to the first element: the size stays one without a bound."""


def _slice(p: Parts) -> Expr:
    chosen = [int(axis) for axis in p.apply.values["axes"]]
    steps = elements(p["steps"]) * (len(chosen) if not isinstance(p["steps"], ast.Tuple) else 1)
    starts = [literal(0) if number(s) is None and _absent(s) else s for s in elements(p["starts"])]
    ends = [
        _end(p, axis) if _absent(end) else end
        for axis, end in zip(chosen, elements(p["ends"]), strict=True)
    ]
    return p.fill(
        "ops.slice({x}, {starts}, {ends}, {steps}, {axes})",
        starts=p.sizes.shape(starts), ends=p.sizes.shape(ends),
        steps=ast.List(steps, ast.Load()), axes=literal(chosen),
    )  # fmt: skip


def _flip(p: Parts) -> Expr:
    """A slice that goes backwards, from the last element to before the first."""
    flipped = elements(p["axes"])
    count = len(flipped)
    return p.fill(
        "ops.slice({x}, {last}, {first}, {back}, {axes})",
        last=literal([-1] * count), first=literal([FRONT] * count), back=literal([-1] * count),
        axes=ast.List(flipped, ast.Load()),
    )  # fmt: skip


def _absent(node: Expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _end(p: Parts, axis: int) -> Expr:
    size = p.x.type.shape[axis]
    return literal(size if isinstance(size, int) else END)


def _pad(p: Parts) -> Expr:
    pads = p["pads"]
    rows = elements(pads) if isinstance(pads, ast.Tuple) else [pads] * p.x.type.rank
    pairs = [elements(row) * (1 if isinstance(row, ast.Tuple) else 2) for row in rows]
    mode = p.fixed("mode")
    fill = scalar(p["value"], p.x.type.dtype) if mode == "constant" else None
    return p.fill(
        "ops.pad({x}, {low}, {high}, {mode}, {fill})",
        low=p.sizes.shape([a for a, _ in pairs]), high=p.sizes.shape([b for _, b in pairs]),
        mode=literal(mode), fill=fill,
    )  # fmt: skip


def _stack(p: Parts) -> Expr:
    """OpenVINO joins along an axis that is there."""
    if not any(isinstance(each, ast.Starred) for each in p["xs"]):
        rows = [tree("ops.unsqueeze({x}, [{axis}])", x=x, axis=p["axis"]) for x in p["xs"]]
        return p.fill("ops.concat([*{rows}], {axis})", rows=rows)
    return p.fill("ops.concat([ops.unsqueeze(each, [{axis}]) for each in [*{xs}]], {axis})")


def _split(p: Parts) -> Expr:
    if p.value("parts") == 1:
        return p.fill("{x}")
    return p.fill("ops.split({x}, {axis}, {parts}).outputs()")


def _iota(p: Parts) -> Expr:
    stop = p.sizes.scalar(p["size"])
    dtype = p.apply.outputs[0].type.dtype
    counted = tree("ops.range(0, {n}, 1, 'i32')", n=stop)
    if dtype == "i32":
        return counted
    return tree("ops.convert({x}, {t})", x=counted, t=literal(element_type(dtype)))


def _linear(p: Parts) -> Expr:
    product = p.fill("ops.matmul({x}, {weight}, transpose_a=False, transpose_b=True)")
    if p["bias_tensor"] is None:
        return product
    return p.fill("ops.add({y}, {bias_tensor})", y=product)


def _softmax(name: str) -> Rule:
    return f"ops.{name}({{x}}, {{axis}})"


def _gelu(p: Parts) -> Expr:
    mode = "erf" if p.fixed("approximate") == "none" else "tanh"
    return p.fill("ops.gelu({x}, {mode})", mode=literal(mode))


def _sdpa(p: Parts) -> Expr:
    """A method sees to queries that may attend to nothing, and to what is causal besides."""
    causal = None if p.value("causal") is False else p["causal"]
    factor = None if p["scale"] is None else scalar(p["scale"], p.x.type.dtype)
    if p["mask"] is not None:
        return p.fill(
            "self.masked_attention({q}, {k}, {v}, {mask}, {factor}, causal={c})",
            factor=factor, c=causal,
        )  # fmt: skip
    q, k = p.var("q"), p.var("k")
    if causal is not None and q and k and q.type.shape[-2] != k.type.shape[-2]:
        what = "OpenVINO source for attention to another sequence, causal by a hyper-parameter"
        raise MlcError("unsupported", what, help="write causal as a literal")
    return p.fill(
        "ops.scaled_dot_product_attention({q}, {k}, {v}, scale={factor}, causal={c})",
        factor=factor, c=causal,
    )  # fmt: skip


def _softplus(p: Parts) -> Expr:
    """OpenVINO's own, and any log(1 + exp(x)) that it finds, is off by 2e-6 for negative x."""
    return p.fill("ops.subtract(ops.relu({x}), ops.log(ops.sigmoid(ops.abs({x}))))")


def _bce(p: Parts) -> Expr:
    """Of logits, with softplus as above."""
    each = p.fill(
        "ops.subtract(ops.subtract(ops.relu({logits}), ops.multiply({logits}, {target})), "
        "ops.log(ops.sigmoid(ops.abs({logits}))))"
    )
    return _reduced(p, each)


def _reduced(p: Parts, each: Expr) -> Expr:
    """What becomes of single losses."""
    reduction, axes = p.fixed("reduction"), literal([*range(p.x.type.rank)])
    if reduction == "none" or not p.x.type.rank:
        return each
    return tree(f"ops.reduce_{reduction}({{y}}, {{axes}}, keep_dims=False)", y=each, axes=axes)


def _with_number(name: str, attribute: str) -> Rule:
    def rule(p: Parts) -> Expr:
        return p.fill(f"ops.{name}({{x}}, {{n}})", n=scalar(p[attribute], p.x.type.dtype))

    return rule


# ------------------------------------------------------------------------------------- windows


def windows(p: Parts) -> dict[str, Expr]:
    """Kernel, strides, dilations and padding of a window, a list each."""
    names = ("kernel", "stride", "pad", "dilation", "ceil")
    given = {name: p.fixed(name) for name in names if name in p.op.config}
    window = Window.of(p.x.type.shape[2:], **given)
    lists = {
        "kernel": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "begin": [low for low, _ in window.pads],
        "end": [high for _, high in window.pads],
    }
    return {name: literal(list(values)) for name, values in lists.items()}


def _max_pool(p: Parts) -> Expr:
    """The first version of the op where that will do: it has no second output."""
    if number(p["dilation"]) in (1, (1,) * (p.x.type.rank - 2)):
        return p.fill("ov.opset1.max_pool({x}, {strides}, {begin}, {end}, {kernel})", **windows(p))
    return p.fill(
        "ops.identity(ops.max_pool({x}, {strides}, {dilations}, {begin}, {end}, {kernel})"
        ".output(0))",
        **windows(p),
    )


def _avg_pool(p: Parts) -> Expr:
    """Without dilations the CPU plugin of 2026.4 crashes."""
    ones = literal([1] * (p.x.type.rank - 2))
    return p.fill(
        "ops.avg_pool({x}, {strides}, {begin}, {end}, {kernel}, exclude_pad={outside}, "
        "dilations={ones})",
        **{**windows(p), "outside": literal(not p.value("count_pad")), "ones": ones},
    )


ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
"""The constants of selu."""

assert math.isclose(ALPHA * SCALE, 1.7580993408473766)


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": _relayout, "cast": _cast,
    "stop_gradient": "{x}",
    "add": _binary("add"), "sub": _binary("subtract"), "mul": _binary("multiply"), "div": _div,
    "pow": _binary("power"), "floor_div": _floor_div, "mod": _binary("floor_mod"),
    "matmul": "ops.matmul({a}, {b}, transpose_a=False, transpose_b=False)",
    "neg": _unary("negative"), "linear": _linear,
    **{name: _binary(name) for name in (
        "equal", "not_equal", "less", "less_equal", "logical_and", "logical_or", "logical_xor",
        "maximum", "minimum")},
    "greater": "ops.less({b}, {a})", "greater_equal": "ops.less_equal({b}, {a})",
    "logical_not": _unary("logical_not"), "isnan": _unary("is_nan"), "isinf": _unary("is_inf"),
    "clamp": _clamp, "where": "ops.select({condition}, {a}, {b})",
    **{name: _unary(name) for name in (
        "abs", "sign", "floor", "exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan",
        "sinh", "cosh", "tanh", "erf", "relu", "sigmoid", "mish", "softsign")},
    "hard_swish": _unary("hswish"), "ceil": _unary("ceiling"),
    "round": "ops.round({x}, 'half_to_even')",
    "bce_with_logits": _bce, "softplus": _softplus,
    "silu": "ops.swish({x})", "gelu": _gelu, "elu": "ops.elu({x}, {alpha})",
    "leaky_relu": _with_number("prelu", "slope"),
    "selu": f"ops.selu({{x}}, np.float32({ALPHA!r}), np.float32({SCALE!r}))",
    "hard_sigmoid": "ops.hard_sigmoid({x}, np.float32(1 / 6), np.float32(0.5))",
    "softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "sum": _reduce("sum"), "mean": _reduce("mean"), "prod": _reduce("prod"),
    "max": _reduce("max"), "min": _reduce("min"), "any": _reduce("logical_or"),
    "all": _reduce("logical_and"), "argmax": _arg, "argmin": _arg,
    "reshape": _reshape, "flatten": _flatten, "expand": _expand, "tile": _tile,
    "transpose": _transpose, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "slice": _slice,
    "flip": _flip, "concat": "ops.concat([*{xs}], {axis})", "stack": _stack,
    "split": _split, "pad": _pad,
    "gather": "ops.gather({x}, {index}, {axis})",
    "gather_elements": "ops.gather_elements({x}, {index}, {axis})",
    "scatter_add": "ops.scatter_elements_update({x}, {index}, {updates}, {axis}, 'sum')",
    "iota": _iota, "cumsum": "ops.cumsum({x}, {axis})",
    "max_pool": _max_pool, "avg_pool": _avg_pool, "sdpa": _sdpa, **PLACES,
}  # fmt: skip

__all__ = ["RULES", "Parts", "Rule", "Sequence", "element_type", "expr", "scalar", "windows"]
