"""How PyTorch writes each op: a template, or a function for the ones that need thought."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ...compiler.expr import Expr, literal
from ..source.parts import Parts, Rule
from ..source.tree import is_literal, number, tree


def _cast(p: Parts) -> Expr:
    return p.fill(f"{{x}}.to({DTYPES[p.value('dtype')]})")


DTYPES: Mapping[str, str] = {
    "bool": "torch.bool", "u8": "torch.uint8", "i8": "torch.int8", "i16": "torch.int16",
    "i32": "torch.int32", "i64": "torch.int64", "f16": "torch.float16",
    "bf16": "torch.bfloat16", "f32": "torch.get_default_dtype()", "f64": "torch.float64",
}  # fmt: skip


def _constant(p: Parts) -> Expr:
    """A number stays a number; an array becomes a tensor on the device of nothing in particular."""
    value = p.apply.values.get("value")
    if value is None or not hasattr(value, "tolist") or value.ndim == 0:
        return literal(value.item()) if value is not None and hasattr(value, "item") else p["value"]
    dtype = p.value("dtype")
    if dtype == "f32":
        return p.fill("torch.tensor({value})")
    return p.fill(f"torch.tensor({{value}}, dtype={DTYPES[dtype]})")


def _binary(operator: str) -> Rule:
    return f"{{a}} {operator} {{b}}"


def _extreme(name: str) -> Rule:
    def rule(p: Parts) -> Expr:
        for side, other in (("a", "b"), ("b", "a")):
            if isinstance(p[side], ast.Constant):
                bound = "min" if name == "maximum" else "max"
                return p.fill(f"torch.clamp({{{other}}}, {bound}={{{side}}})")
        return p.fill(f"torch.{name}({{a}}, {{b}})")

    return rule


def _where(p: Parts) -> Expr:
    return p.fill("torch.where({condition}, {a}, {b})")


def _reduce(name: str, axis: str = "dim") -> Rule:
    def rule(p: Parts) -> Expr:
        keep = "" if not p.value("keep") else ", keepdim=True"
        if p["axes"] is None:
            return p.fill(f"{{x}}.{name}()")
        return p.fill(f"{{x}}.{name}({axis}={{axes}}{keep})", axes=_one(p["axes"]))

    return rule


def _one(axes: Expr) -> Expr:
    """`(1,)` as `1`."""
    value = number(axes)
    return literal(value[0]) if isinstance(value, tuple) and len(value) == 1 else axes


def _spread(p: Parts) -> Expr:
    keep = "" if not p.value("keep") else ", keepdim=True"
    axes = "dim={axes}, " if p["axes"] is not None else ""
    return p.fill(f"{{x}}.{p.op.name}({axes}correction={{correction}}{keep})", axes=p["axes"])


def _arg(p: Parts) -> Expr:
    keep = "" if not p.value("keep") else ", keepdim=True"
    return p.fill(f"{{x}}.{p.op.name}(dim={{axis}}{keep}).to(torch.int32)")


def _transpose(p: Parts) -> Expr:
    axes = p.value("axes")
    if axes is None:
        return p.fill("{x}.mT")
    moved = [i for i, axis in enumerate(axes) if i != axis]
    if len(moved) == 2:
        rank = len(axes)
        a, b = moved
        if moved == [rank - 2, rank - 1]:
            return p.fill("{x}.mT") if rank > 1 else p["x"]
        return p.fill("{x}.transpose({a}, {b})", a=literal(a), b=literal(b))
    return p.fill("{x}.permute(*{axes})", axes=[literal(a) for a in axes])


def _reshape(p: Parts) -> Expr:
    return p.fill("{x}.reshape(*{shape})", shape=_elements(p["shape"]))


def _expand(p: Parts) -> Expr:
    return p.fill("{x}.expand(*{shape})", shape=_elements(p["shape"]))


def _elements(node: Expr) -> list[Expr]:
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


def _slice(p: Parts) -> Expr:
    """`x[:, 1:T]`."""
    axes = p.value("axes")
    given = {
        axis: ends
        for axis, *ends in zip(
            axes, *(_elements(p[k]) for k in ("starts", "ends", "steps")), strict=True
        )
    }
    index: list[Expr] = []
    for axis in range(max(axes) + 1):
        start, end, step = given.get(axis, [None, None, None])
        index.append(
            ast.Slice(
                None if start is None or is_literal(start, 0) else start,
                None if end is None or _whole(p, axis, end) else end,
                None if step is None or is_literal(step, 1) else step,
            )
        )
    return ast.Subscript(p["x"], index[0] if len(index) == 1 else ast.Tuple(index, ast.Load()))


def _whole(p: Parts, axis: int, end: Expr) -> bool:
    size = p.x.type.shape[axis]
    value = number(end)
    return isinstance(size, int) and isinstance(value, int) and value >= size


def _split(p: Parts) -> Expr:
    return p.fill("{x}.chunk({parts}, dim={axis})")


def _softmax(name: str) -> Rule:
    return f"F.{name}({{x}}, dim={{axis}})"


def _sdpa(p: Parts) -> Expr:
    causal = True if p.value("causal") else None
    mask, scale = p["mask"], p["scale"]
    return p.fill(
        "F.scaled_dot_product_attention({q}, {k}, {v}, attn_mask={mask}, is_causal={c}, scale={s})",
        mask=mask, s=scale, c=literal(causal) if causal else None,
    )  # fmt: skip


def _gelu(p: Parts) -> Expr:
    if p.value("approximate") == "none":
        return p.fill("F.gelu({x})")
    return p.fill("F.gelu({x}, approximate={approximate})")


def _squeeze(p: Parts) -> Expr:
    return p.fill("{x}.squeeze({axes})", axes=_one(p["axes"]))


def _unsqueeze(p: Parts) -> Expr:
    result: Expr = p["x"]
    for axis in sorted(p.value("axes")):
        result = tree("{x}.unsqueeze({axis})", x=result, axis=literal(axis))
    return result


def _clamp(p: Parts) -> Expr:
    return p.fill("torch.clamp({x}, min={low}, max={high})")


def _concat(p: Parts) -> Expr:
    return p.fill("torch.cat([*{xs}], dim={axis})")


def _iota(p: Parts) -> Expr:
    return p.fill(f"torch.arange({{size}}, dtype={DTYPES[p.value('dtype')]})")


def _flatten(p: Parts) -> Expr:
    end = None if p.value("end") in (-1, p.x.type.rank - 1) else p["end"]
    return p.fill("{x}.flatten({start}, {end})", end=end)


RULES: Mapping[str, Rule] = {
    "constant": _constant, "identity": "{x}", "relayout": "{x}", "cast": _cast,
    "stop_gradient": "{x}.detach()",
    "add": _binary("+"), "sub": _binary("-"), "mul": _binary("*"), "div": _binary("/"),
    "pow": _binary("**"), "floor_div": _binary("//"), "mod": "torch.remainder({a}, {b})",
    "matmul": _binary("@"), "neg": "-{x}",
    "equal": _binary("=="), "not_equal": _binary("!="), "less": _binary("<"),
    "less_equal": _binary("<="), "greater": _binary(">"), "greater_equal": _binary(">="),
    "logical_and": _binary("&"), "logical_or": _binary("|"), "logical_xor": _binary("^"),
    "logical_not": "~{x}",
    "isnan": "torch.isnan({x})", "isinf": "torch.isinf({x})",
    "maximum": _extreme("maximum"), "minimum": _extreme("minimum"), "clamp": _clamp, "where": _where,
    **{name: f"torch.{name}({{x}})" for name in (
        "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin",
        "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "floor", "ceil", "round", "relu",
        "sigmoid", "tanh")},
    "relu6": "F.relu6({x})", "silu": "F.silu({x})", "mish": "F.mish({x})",
    "softplus": "F.softplus({x}, threshold=88)", "softsign": "F.softsign({x})",
    "selu": "F.selu({x})", "elu": "F.elu({x}, {alpha})", "celu": "F.celu({x}, {alpha})",
    "hard_sigmoid": "F.hardsigmoid({x})", "hard_swish": "F.hardswish({x})",
    "hard_tanh": "F.hardtanh({x}, {low}, {high})",
    "leaky_relu": "F.leaky_relu({x}, {slope})", "gelu": _gelu, "glu": "F.glu({x}, dim={axis})",
    "softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "sum": _reduce("sum"), "mean": _reduce("mean"), "max": _reduce("amax"), "min": _reduce("amin"),
    "any": _reduce("any"), "all": _reduce("all"), "logsumexp": _reduce("logsumexp"),
    "var": _spread, "std": _spread, "argmax": _arg, "argmin": _arg,
    "reshape": _reshape, "expand": _expand, "flatten": _flatten, "transpose": _transpose,
    "concat": _concat, "stack": "torch.stack([*{xs}], dim={axis})", "split": _split,
    "squeeze": _squeeze, "unsqueeze": _unsqueeze, "slice": _slice,
    "flip": "{x}.flip({axes})", "tile": "{x}.tile({repeats})",
    "cumsum": "{x}.cumsum(dim={axis})", "tril": "{x}.tril({k})", "triu": "{x}.triu({k})",
    "iota": _iota, "sdpa": _sdpa, "linear": "F.linear({x}, {weight}, {bias_tensor})",
}  # fmt: skip
