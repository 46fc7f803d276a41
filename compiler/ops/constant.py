"""Constants."""

from __future__ import annotations

from typing import Any

from ..graph import Type
from ..op import Config, Op


def numpy_dtype(dtype: str) -> Any:
    """The NumPy dtype of a dtype of the language (bf16 from ml_dtypes)."""
    import numpy as np

    if dtype == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    names = {"f": "float", "i": "int", "u": "uint"}
    return np.dtype(np.bool_ if dtype == "bool" else f"{names[dtype[0]]}{dtype[1:]}")


def _infer(value: Any, dtype: str) -> Type:
    return Type(dtype, tuple(getattr(value, "shape", ())))


def _eval(value: Any, dtype: str) -> Any:
    import numpy as np

    return np.asarray(value, dtype=numpy_dtype(dtype))


CONSTANT = Op(
    "constant",
    inputs=(),
    config={"value": Config("value"), "dtype": Config("dtype", "f32")},
    infer=_infer,
    eval=_eval,
    grad=None,
    rounding="exact",
    layout="any",
    samples=({"value": 2.5}, {"value": 3, "dtype": "i32"}),
    doc="A number, or an array, that the source or a pass wrote down.",
)
