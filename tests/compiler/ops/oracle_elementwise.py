"""Elementwise ops in torch."""

from __future__ import annotations

import torch

DTYPES = {
    "bool": torch.bool,
    "u8": torch.uint8,
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float64,
    "f64": torch.float64,
}
"""Torch's dtypes by the names of the language; f32 is held in float64."""


def floor_div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.floor(a / b) if a.is_floating_point() else torch.floor_divide(a, b)


ELEMENTWISE = {
    "constant": lambda value, dtype: torch.tensor(value, dtype=DTYPES[dtype]),
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "floor_div": floor_div,
    "mod": torch.remainder,
    "clamp": torch.clamp,
    "where": torch.where,
    "cast": lambda x, dtype: x.to(DTYPES[dtype]),
    "identity": lambda x: x.clone(),
    "stop_gradient": lambda x: x.detach(),
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "logical_xor": torch.logical_xor,
    "isnan": torch.isnan,
    "isinf": torch.isinf,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "square": torch.square,
    "pow": torch.pow,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
}
