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

ELEMENTWISE = {
    "constant": lambda value, dtype: torch.tensor(value, dtype=DTYPES[dtype]),
}
